//! Limits that are shared through a real Redis, which is killed, paused and refused to:
//! `cargo xtask test redis`. Each test has a Redis of its own.

mod faults;
mod login;
mod rates;
mod servers;
mod support;
