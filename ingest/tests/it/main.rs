//! The whole server from outside: the real binary as a child process on free ports with a data
//! directory of its own, asked over HTTP. Nothing here uses the library.

mod crash;
mod endpoints;
mod erasures;
mod full;
mod hostile;
mod isolation;
mod letters;
mod limits;
mod log_tools;
mod metrics;
mod query;
mod repeats;
mod schemas;
mod search;
mod start;
mod stop;
mod support;
mod tenants;
