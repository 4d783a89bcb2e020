//! The log as its users see it.
