//! Which demands a tenant may have of its pulses: their form in the file of tenants, their bounds,
//! and what a JSON Schema compiles to. What reads the file and what writes it ask the same code.
//! Judges no pulse, opens no file and fetches nothing.

mod compile;
mod definition;
#[cfg(test)]
mod tests;

pub use compile::compile;
pub use definition::{
    Bounds, Demand, NAME_BYTES_MAX, OnFailure, PATH_NAMES_MAX, SchemaText, Wrong, read,
};
