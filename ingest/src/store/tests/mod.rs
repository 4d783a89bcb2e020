//! Tests of the stores: against a plain model, and of what only the embedded store promises.

mod embedded;
mod fixture;
mod load;
mod model;
