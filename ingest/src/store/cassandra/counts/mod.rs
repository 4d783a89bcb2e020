//! Counts as absolute sums: written twice, they are the same.
