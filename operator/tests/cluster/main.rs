//! Tests in a real cluster, as a user sees the operator: resources are applied with kubectl and
//! Helm, pulses are posted from pods, rows are read from the database. Ignored unless
//! `cargo xtask test cluster` runs them, which starts the cluster that they share.

mod charts;
mod definitions;
mod ingest;
mod life;
mod many;
mod monitoring;
mod operator;
mod owned;
mod store;
mod support;
mod tenants;
