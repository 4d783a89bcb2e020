//! Accepts pulses, keeps them in a crash-proof log and writes them in batches to sinks.

pub mod code;
pub mod fs;
pub mod log;
pub mod metrics;
pub mod pulse;
pub mod reservation;
pub mod sink;
pub mod store;
pub mod submission;
