//! The tables: their definitions by version, and how a keyspace is brought to the newest.
