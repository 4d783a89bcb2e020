//! The rules of shared ids and keys, against a real Redis and a real Cassandra.

mod cassandra;
mod process;
mod redis;
mod rules;
