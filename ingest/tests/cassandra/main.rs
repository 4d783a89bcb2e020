//! Tests against a real Cassandra of three nodes that the environment names, one after the
//! other: `cargo xtask test cassandra`. Each makes the cluster whole before it begins.

mod connect;
mod erase;
mod flow;
mod letters;
mod nodes;
mod once;
mod outage;
mod read;
mod session;
mod support;
