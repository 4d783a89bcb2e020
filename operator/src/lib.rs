//! Makes a running, healing system of each `PulseMesh` resource. Reads everything, decides
//! without a client, applies what differs, tells how it is. Never writes a spec.

pub mod check;
pub mod cli;
pub mod mesh;
pub mod nodes;
