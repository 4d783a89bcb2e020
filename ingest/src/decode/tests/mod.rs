//! Tests of the decoder: a table of outcomes, properties, and its speed.

mod speed;
