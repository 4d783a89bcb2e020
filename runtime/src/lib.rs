//! What every PulseMesh process shares: logs and traces, the admin listener, metrics of the
//! process, named tasks and the stop signal. Knows nothing of pulses or of Kubernetes.

pub mod admin;
pub mod process;
pub mod stop;
pub mod tasks;
pub mod telemetry;
pub mod units;
pub mod version;
