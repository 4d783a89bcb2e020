//! Tests of the write path: what a batch becomes, and what a real database makes of it.

mod planning;
mod speed;
