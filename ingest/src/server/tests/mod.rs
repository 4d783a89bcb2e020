//! The server over real connections, with an intake and a store that do as they are told.

mod bodies;
mod connections;
mod http2;
mod keys;
mod limits;
mod requests;
mod stopping;
mod tls;

mod fake;
mod harness;
