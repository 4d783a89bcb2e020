//! What holds for every input. The same functions are the fuzzing targets.

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;
use uuid::Uuid;

use crate::code::Code;
use crate::decode::{Decoded, Decoder, decode_event};
use crate::fuzzing;
use crate::log::frame::{Entry, Envelope, FrameBuilder, HEADER_BYTES};
use crate::pulse::Shape;
use crate::submission::Format;

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![Just(Shape::Pulse), Just(Shape::Ingest), Just(Shape::Events)]
}

/// Pieces of JSON and of what is nearly JSON.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "\t",
    "\"",
    "\\",
    "null",
    "true",
    "false",
    "NaN",
    "-Infinity",
    "0",
    "1",
    "-1",
    "01",
    "1.5",
    "1e999",
    "1E-2",
    ".",
    "-",
    "\"\"",
    "\"a\"",
    "\"é\"",
    "\"\\u0041\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud800\"",
    "\"\\x\"",
    "\u{1}",
    "\u{feff}",
    "\"service\"",
    "\"service\":\"s\"",
    "\"type\":\"t\"",
    "\"id\":\"a\"",
    "\"time\":1",
    "\"tags\":{",
    "\"usage\":{",
    "\"sku\":\"a\"",
    "\"amount\":1",
    "\"data\":",
    "\"value\":",
    "{\"service\":\"s\"}",
    "{\"service\":\"s\",",
    "{\"type\":\"t\"}\n",
];

/// Bytes that come near to being a body, and some that do not.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        20 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    let pieces = proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat());
    prop_oneof![4 => pieces, 1 => proptest::collection::vec(any::<u8>(), 0..200)]
}

/// Any JSON, not too deep.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z]{0,8}".prop_map(Value::from),
    ];
    let key = || prop_oneof![Just("service".to_owned()), "[a-c]{0,2}", any::<String>()];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(key(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Damages one byte, or none.
fn nearly(text: String, damage: Option<(usize, u8)>) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    if let Some((at, byte)) = damage
        && !bytes.is_empty()
    {
        let at = at % bytes.len();
        bytes[at] = byte;
    }
    bytes
}

/// Whether serde_json takes it as JSON. Unknown where it stopped at a number beyond a double's
/// range, which JSON's grammar does not have.
fn is_json(bytes: &[u8]) -> Option<bool> {
    if serde_json::from_slice::<IgnoredAny>(bytes).is_err() {
        return Some(false);
    }
    match serde_json::from_slice::<Value>(bytes) {
        Ok(_) => Some(true),
        Err(error) if error.to_string().contains("number out of range") => None,
        Err(_) => Some(false),
    }
}

fn is_syntax(code: Code) -> bool {
    matches!(code, Code::InvalidJson | Code::InvalidUtf8 | Code::NotANumber | Code::InfiniteNumber)
}

/// Accepted only if JSON, and called no JSON only if it is none.
fn agrees_with_serde_json(shape: Shape, raw: &[u8]) -> Result<(), TestCaseError> {
    let shown = String::from_utf8_lossy(raw);
    match (decode_event(shape, raw), is_json(raw)) {
        (Ok(_), is_json) => prop_assert_ne!(is_json, Some(false), "accepted {}", shown),
        (Err(reject), Some(true)) => prop_assert!(!is_syntax(reject.code), "{reject:?} {shown}"),
        (Err(_), _) => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn an_event_is_json_exactly_where_serde_json_says_so(shape in shape(), body in body()) {
        agrees_with_serde_json(shape, &body)?;
    }

    #[test]
    fn a_payload_is_json_exactly_where_serde_json_says_so(
        value in json(),
        damage in proptest::option::of((any::<usize>(), any::<u8>())),
    ) {
        let value = nearly(value.to_string(), damage);
        let event = [&b"{\"service\":\"s\",\"data\":"[..], &value, b"}"].concat();
        agrees_with_serde_json(Shape::Pulse, &event)?;
        if let Ok(pulse) = decode_event(Shape::Pulse, &event)
            && let Some(payload) = pulse.payload
        {
            // A damaged byte may have ended the payload and begun another member.
            let value = std::str::from_utf8(&value).expect("it was decoded").trim();
            let is_verbatim = value == payload || damage.is_some();
            prop_assert!(is_verbatim, "{} became {}", value, payload);
        }
    }

    #[test]
    fn decoding_any_body_keeps_what_a_body_promises(bytes in body(), selector in any::<u8>()) {
        fuzzing::decode_body(&[&[selector], &bytes[..]].concat());
    }

    #[test]
    fn decompressing_any_bytes_ends_within_its_bounds(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        selector in any::<u8>(),
    ) {
        fuzzing::decompress(&[&[selector], &bytes[..]].concat());
    }

    #[test]
    fn decompressing_a_damaged_body_ends_within_its_bounds(
        plain in ("[a-z]{1,20}", 0..100_usize).prop_map(|(text, times)| text.repeat(times)),
        damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..3),
        is_zstd in any::<bool>(),
    ) {
        let mut body = if is_zstd {
            zstd::stream::encode_all(plain.as_bytes(), 1).expect("compress a slice")
        } else {
            let level = flate2::Compression::fast();
            let mut gzip = Vec::new();
            let mut reader = flate2::bufread::GzEncoder::new(plain.as_bytes(), level);
            std::io::Read::read_to_end(&mut reader, &mut gzip).expect("compress a slice");
            gzip
        };
        for (at, byte) in damage {
            let at = at % body.len();
            body[at] = byte;
        }
        fuzzing::decompress(&[&[u8::from(is_zstd)], &body[..]].concat());
    }

    #[test]
    fn reading_any_frame_stays_within_its_bytes(
        texts in proptest::collection::vec("[a-z]{0,6}", 4),
        damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        noise in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        fuzzing::read_frame(&noise);
        let envelope = Envelope {
            tenant: &texts[0],
            shape: Shape::Events,
            received_at_us: 1,
            trace: None,
        };
        let entry = Entry {
            id: Uuid::from_u128(1),
            event_time_ms: 2,
            shard: 3,
            service: &texts[1],
            kind: &texts[2],
            key: Some(&texts[3]),
            body_hash: Some(4),
            refused: None,
            raw: &noise,
        };
        let mut bytes = Vec::new();
        let mut frame = FrameBuilder::new(&mut bytes, &envelope);
        frame.push(&entry);
        frame.push(&Entry { key: None, body_hash: None, ..entry });
        frame.finish();
        let mut body = bytes.split_off(HEADER_BYTES);
        for (at, byte) in damage {
            let at = at % body.len();
            body[at] = byte;
        }
        fuzzing::read_frame(&[&[2], &body[..]].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn members_mean_what_serde_json_reads(members in proptest::collection::btree_map(
        "[ -~é😀\n\"\\\\]{0,12}", any::<String>(), 0..8,
    )) {
        let tags = Value::Object(
            members.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect(),
        );
        let event = format!("{{\"service\":\"s\",\"tags\":{tags}}}");
        let pulse = decode_event(Shape::Pulse, event.as_bytes()).expect("a sound pulse");
        let mut entries: Vec<_> = pulse.metadata.iter().map(|(k, v)| (&**k, &**v)).collect();
        entries.sort_unstable();
        let expected: Vec<_> = members.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        prop_assert_eq!(entries, expected);
    }

    #[test]
    fn an_array_a_row_and_lines_of_events_come_apart_into_the_same_events(
        events in proptest::collection::vec(json().prop_map(|event| event.to_string()), 0..6),
        shape in shape(),
    ) {
        let alone: Vec<_> = events
            .iter()
            .map(|event| Decoded {
                raw: event.as_bytes(),
                pulse: decode_event(shape, event.as_bytes()),
            })
            .collect();
        let array = format!(" [ {} ]\n", events.join(" ,\n"));
        let lines = events.join("\n");
        let decode = |format, body: &str, expected: &[Decoded<'_>]| {
            let decoded: Vec<_> = Decoder::new(shape, format, body.as_bytes()).collect();
            prop_assert_eq!(decoded, expected, "{:?} {}", format, body);
            Ok(())
        };
        decode(Format::Json, &array, &alone)?;
        decode(Format::Lines, &lines, &alone)?;
        if !lines.starts_with('[') {
            decode(Format::Json, &lines, &alone)?;
        }
    }

    #[test]
    fn a_line_never_changes_what_its_neighbours_are(
        before in proptest::collection::vec(body(), 0..3),
        line in body(),
        after in proptest::collection::vec(body(), 0..3),
        shape in shape(),
    ) {
        let ended = |part: &Vec<u8>| [&part[..], b"\n"].concat();
        let lines = |parts: &[Vec<u8>]| parts.iter().flat_map(ended).collect::<Vec<_>>();
        let [before, line, after] = [lines(&before), lines(&[line]), lines(&after)];
        let whole = [&before[..], &line, &after].concat();
        let decode = |body: &[u8]| -> Vec<(Vec<u8>, String)> {
            Decoder::new(shape, Format::Lines, body)
                .map(|decoded| (decoded.raw.to_vec(), format!("{:?}", decoded.pulse)))
                .collect()
        };
        let parts = [decode(&before), decode(&line), decode(&after)].concat();
        prop_assert_eq!(decode(&whole), parts);
    }
}
