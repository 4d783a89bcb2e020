//! Decisions of topology.
