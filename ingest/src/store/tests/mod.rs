//! Tests of the stores: against a plain model, and of what only the embedded store promises.

mod classes;
mod crash;
mod embedded;
mod erase;
pub(crate) mod fixture;
mod load;
pub(crate) mod model;
mod named;
