//! Orders against an API server that is a function.
