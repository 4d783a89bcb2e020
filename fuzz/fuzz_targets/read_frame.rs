//! Feeds made-up frames of the log to [`pulsemesh_ingest::fuzzing::read_frame`], which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pulsemesh_ingest::fuzzing::read_frame(input));
