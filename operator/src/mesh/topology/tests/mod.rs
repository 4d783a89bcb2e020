//! Decisions of topology: single ones, and runs of a model of a cluster in which everything that
//! can go wrong does at any moment.

mod cases;
mod cluster;
mod observe;
mod perform;
pub(crate) mod plan;
mod runs;
