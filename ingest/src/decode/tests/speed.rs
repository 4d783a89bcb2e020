//! How long a pulse takes. Not a test of a bound: machines differ.
//! `cargo test --release -p pulsemesh-ingest --lib decode::tests::speed -- --ignored --nocapture`

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use crate::decode::Decoder;
use crate::pulse::Shape;
use crate::submission::Format;

const SAMPLE: &str = concat!(
    r#"{"service_name":"checkout","event_time":"2026-11-21T08:00:00.123Z","latency_ms":12.5,"#,
    r#""status":"ok","metadata":{"region":"eu","v":"1"}}"#
);

/// The best of several rounds, in nanoseconds for each pulse.
fn ns_per_pulse(format: Format, body: &[u8]) -> f64 {
    let round = || {
        let start = Instant::now();
        let mut pulses = 0;
        while pulses < 400_000 {
            for decoded in Decoder::new(Shape::Pulse, format, black_box(body)) {
                assert!(black_box(&decoded).pulse.is_ok());
                pulses += 1;
            }
        }
        start.elapsed().as_nanos() as f64 / f64::from(pulses)
    };
    (0..7).map(|_| round()).fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "measures; prints"]
fn a_pulse_takes_so_long() {
    let lines = format!("{SAMPLE}\n").repeat(512);
    let array = format!("[{}{SAMPLE}]", format!("{SAMPLE},").repeat(511));
    for (name, format, body) in [
        ("single", Format::Json, SAMPLE),
        ("512 lines", Format::Lines, &lines),
        ("512 lines as JSON", Format::Json, &lines),
        ("array of 512", Format::Json, &array),
    ] {
        let ns = ns_per_pulse(format, body.as_bytes());
        writeln!(std::io::stderr(), "{name}: {ns:.0} ns/pulse").expect("write to stderr");
    }
}
