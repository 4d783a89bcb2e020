//! The append-only log that a pulse is in before its answer.

pub mod frame;
