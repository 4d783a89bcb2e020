//! Tests of the decoder: tables of outcomes, properties, and its speed.

mod bodies;
mod golden;
mod properties;
mod speed;
