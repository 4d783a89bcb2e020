//! Tests of the objects.

mod drains;
mod restricted;
mod snapshots;
mod workload;
