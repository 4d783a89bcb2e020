//! The objects of a store as they are applied, one snapshot for each case.

mod fixture;
mod objects;
mod settings;
