//! What is shared as bytes and names.
