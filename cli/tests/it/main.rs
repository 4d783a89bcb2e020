//! The command line from outside: the real program against real servers on free ports.

mod help;
mod query;
mod send;
mod support;
