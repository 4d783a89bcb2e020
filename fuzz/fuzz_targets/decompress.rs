//! Feeds made-up compressed bodies to the library, which says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pulsemesh_ingest::fuzzing::decompress(input));
