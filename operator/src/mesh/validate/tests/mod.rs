//! Tests of the plan: what is refused, what is made of what is not said.

mod generated;
mod known;
mod plans;
mod read_back;
mod refusals;
