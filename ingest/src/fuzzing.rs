//! What must hold for every input of a part that reads foreign bytes, as functions that panic
//! where it does not. `fuzz/` calls them with what libFuzzer makes up, tests with what proptest
//! does. Not for production code.

use crate::decode::compression::{Encoding, ExpandLimits, RATIO_FREE_BYTES, decompress as expand};
use crate::decode::{Decoder, decode_event};
use crate::log::frame::{BODY_BYTES_MAX, Frame, HEADER_BYTES, MAGIC, seal};
use crate::pulse::{EVENT_BYTES_MAX, METADATA_ENTRIES_MAX, PAYLOAD_BYTES_MAX, Pulse, Shape};
use crate::submission::Format;

/// Decodes a body. Its first byte chooses the shape and the format.
///
/// # Panics
/// Where the events are not parts of the body in its order, where an event means something else
/// alone, or where a pulse exceeds its bounds.
pub fn decode_body(input: &[u8]) {
    let Some((selector, body)) = input.split_first() else { return };
    let shape = Shape::from_number(selector % 3).unwrap_or(Shape::Pulse);
    let format = if selector & 4 == 0 { Format::Json } else { Format::Lines };
    let mut decoder = Decoder::new(shape, format, body);
    let (mut events, mut behind) = (0, 0);
    for decoded in decoder.by_ref() {
        let start = decoded.raw.as_ptr() as usize - body.as_ptr() as usize;
        assert!(start >= behind && start + decoded.raw.len() <= body.len(), "raw is out of place");
        behind = start + decoded.raw.len();
        events += 1;
        let alone = decode_event(shape, decoded.raw);
        match (&decoded.pulse, alone) {
            (Ok(pulse), alone) => {
                assert_eq!(alone.as_ref(), Ok(pulse), "the event means something else alone");
                check_bounds(pulse, decoded.raw);
            }
            (Err(reject), Err(alone)) => {
                assert!(reject.message.len() < 512, "the message has no bound");
                let is_last = behind == body.len();
                assert!(is_last || *reject == alone, "{reject:?} is {alone:?} alone");
            }
            // The rest of a body of which nobody knows what it is.
            (Err(_), Ok(_)) => assert_eq!(behind, body.len(), "an event is refused in company"),
        }
    }
    assert!(decoder.next().is_none(), "the iteration goes on behind its end");
    assert!(!decoder.is_single() || events == 1, "{events} events are one");
}

fn check_bounds(pulse: &Pulse<'_>, raw: &[u8]) {
    assert!(raw.len() <= EVENT_BYTES_MAX && !pulse.service.is_empty() && !pulse.kind.is_empty());
    assert!(pulse.metadata.len() <= METADATA_ENTRIES_MAX);
    for (index, (key, _)) in pulse.metadata.iter().enumerate() {
        assert!(pulse.metadata[..index].iter().all(|(other, _)| other != key), "a key twice");
    }
    assert!([pulse.latency_ms, pulse.value].into_iter().flatten().all(f64::is_finite));
    if let Some(payload) = &pulse.payload {
        assert!(payload.len() <= PAYLOAD_BYTES_MAX);
        let sound = serde_json::from_str::<&serde_json::value::RawValue>(payload);
        assert!(sound.is_ok(), "the payload is no JSON");
    }
}

/// Decompresses a body. Its first byte chooses the encoding.
///
/// # Panics
/// Where more comes out than the bounds allow.
pub fn decompress(input: &[u8]) {
    let Some((selector, body)) = input.split_first() else { return };
    let encoding = if selector & 1 == 0 { Encoding::Gzip } else { Encoding::Zstd };
    let limits = ExpandLimits { bytes_max: 4 * RATIO_FREE_BYTES, ratio_max: 100 };
    if let Ok(output) = expand(encoding, body, limits) {
        let by_ratio = (body.len() * limits.ratio_max).max(RATIO_FREE_BYTES);
        assert!(output.len() <= limits.bytes_max.min(by_ratio), "the output exceeds its bound");
        assert!(output.capacity() <= limits.bytes_max + 1, "the buffer exceeds its bound");
    }
}

/// Reads bytes as a frame of the log, and again as the body of a frame whose checksums are
/// right, since no chance finds those; its first byte is then the number of pulses.
///
/// # Panics
/// Where a frame is accepted that exceeds its bounds or its bytes.
pub fn read_frame(input: &[u8]) {
    check_frame(input);
    let Some((count, body)) = input.split_first() else { return };
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(body);
    bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
    bytes[16..20].copy_from_slice(&u32::from(*count).to_le_bytes());
    bytes[20..24].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    seal(&mut bytes, 0);
    check_frame(&bytes);
}

fn check_frame(bytes: &[u8]) {
    let Ok(frame) = Frame::read(bytes) else { return };
    let header = frame.header();
    assert!(header.frame_bytes() <= bytes.len(), "the frame is longer than its bytes");
    assert!(header.frame_bytes() <= HEADER_BYTES + BODY_BYTES_MAX, "the frame exceeds its bound");
    let mut entries = 0;
    for (offset, record) in frame.entries() {
        entries += 1;
        assert_eq!(frame.entry(offset), Some(record.entry), "the entry is another at its offset");
        assert!(record.entry.raw.len() < bytes.len(), "the event is longer than its frame");
    }
    assert!(entries <= header.count, "{entries} entries in a frame of {}", header.count);
}
