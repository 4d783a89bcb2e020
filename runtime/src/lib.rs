//! What every PulseMesh process shares: logs and traces, the admin listener, metrics of the
//! process, named tasks, the stop signal, the form of API keys and of retention classes. Knows
//! nothing of pulses or of Kubernetes.

pub mod admin;
pub mod api_key;
pub mod process;
pub mod retention;
pub mod stop;
pub mod tasks;
pub mod telemetry;
pub mod units;
pub mod version;
