//! The command line from outside: the real program against real servers on free ports.

mod check;
mod contract;
mod counts;
mod erase;
mod help;
mod letters;
mod query;
mod search;
mod send;
mod support;
mod tenant;
