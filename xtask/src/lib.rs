//! What tests and benchmarks share: the product as a child process, an HTTP client, a load
//! generator, a real Cassandra, a real Redis, Helm. Knows the product's flags and endpoints, and
//! none of its code.

pub mod built;
pub mod cache;
pub mod cassandra;
pub mod client;
pub mod disk;
pub mod events;
pub mod flags;
pub mod helm;
pub mod http;
pub mod images;
pub mod kube;
pub mod ledger;
pub mod load;
pub mod openapi;
pub mod processor;
pub mod redis;
pub mod request;
pub mod rows;
pub mod samples;
pub mod server;
pub mod tenants;
