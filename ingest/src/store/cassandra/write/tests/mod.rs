//! Tests of the write path: what a batch becomes, and what a real database makes of it.

mod database;
pub(in crate::store::cassandra) mod fixture;
mod planning;
mod refusals;
mod speed;
