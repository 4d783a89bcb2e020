//! Any bytes as a body in every shape and format: decoding ends, never panics, and gives no
//! more events than a batch may have. `cargo +nightly fuzz run decode -- -rss_limit_mb=512`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pulsemesh_ingest::decode::Decoder;
use pulsemesh_ingest::pulse::{BATCH_EVENTS_MAX, Shape};
use pulsemesh_ingest::submission::Format;

fuzz_target!(|body: &[u8]| {
    for number in 0..=2 {
        let Some(shape) = Shape::from_number(number) else { continue };
        for format in [Format::Json, Format::Lines] {
            let events = Decoder::new(shape, format, body).take(BATCH_EVENTS_MAX + 2).count();
            // One more tells that the batch is too long.
            assert!(events <= BATCH_EVENTS_MAX + 1);
        }
    }
});
