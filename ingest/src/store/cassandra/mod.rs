//! The store in Cassandra or Scylla. Rows lie in partitions by tenant, service, ten minutes of
//! event time and shard; every key is made from the log's record alone, so that a row written
//! twice is one row. A database that is slow, half gone or gone costs no pulse: the log keeps
//! what is not written yet.

#![allow(dead_code, reason = "its parts come one by one")]

mod counts;
mod error;
#[cfg(test)]
mod error_tests;
pub mod layout;
mod link;
mod live;
pub mod metrics;
mod pace;
mod read;
mod schema;
pub mod settings;
pub mod sharder;
mod statements;
mod write;
