//! Queries: pages of rows, one row by its id, counts.
