//! Limits, ids and keys that are shared through a real Redis, which is killed, paused and refused
//! to: `cargo xtask test redis`. Each test has a Redis of its own.

mod distinct;
mod faults;
mod login;
mod once;
mod rates;
mod servers;
mod support;
