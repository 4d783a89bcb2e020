//! Tests of reading: the walk over partitions that are only thought of, and everything over a
//! real database.

mod classes;
mod database;
mod fake;
mod slices;
mod stored;
mod walk;
