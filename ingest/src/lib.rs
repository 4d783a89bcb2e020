//! Accepts pulses, keeps them in a crash-proof log and writes them in batches to sinks.

pub mod admission;
pub mod cli;
pub mod clock;
pub mod code;
pub mod decode;
pub mod erasure;
pub mod fs;
pub mod fuzzing;
pub mod ingestor;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod probe;
pub mod pulse;
pub mod query;
mod reconnect;
pub mod reload;
pub mod reservation;
pub mod response;
pub mod routes;
pub mod schema;
pub mod server;
pub mod settings;
pub mod sharing;
pub mod sink;
pub mod store;
pub mod submission;
pub mod tenant;
pub mod text;

pub use pulsemesh_runtime::retention;
