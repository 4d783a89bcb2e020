//! Writes batches: rows grouped by partition, sent at the pace of the database, tried again.
