//! Tests of the objects.

mod restricted;
mod snapshots;
