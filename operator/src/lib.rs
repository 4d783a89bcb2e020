//! Makes a running, healing system of each `PulseMesh` resource. Reads everything, decides
//! without a client, applies what differs, tells how it is. Never writes a spec.

pub mod apply;
pub mod check;
pub mod cli;
pub mod client;
pub mod controller;
pub mod events;
#[cfg(test)]
mod fake;
pub mod health;
pub mod mesh;
pub mod metrics;
pub mod nodes;
pub mod rbac;
pub mod settings;
mod tenants;
