//! Events and what becomes of them: every alias, every code.

use crate::code::Code;
use crate::decode::{Decoder, decode_event};
use crate::pulse::{
    EVENT_BYTES_MAX, JSON_DEPTH_MAX, KEY_BYTES_MAX, METADATA_ENTRIES_MAX, METADATA_KEY_BYTES_MAX,
    METADATA_VALUE_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, Pulse, Shape,
};
use crate::submission::Format;

use Shape::{Events, Ingest, Pulse as PulseShape};

/// A pulse on one line, absent parts left out.
fn show(pulse: &Pulse<'_>) -> String {
    let mut parts = vec![format!("{}/{}", pulse.service, pulse.kind)];
    let mut part = |name: &str, value: Option<String>| {
        parts.extend(value.map(|value| format!("{name}={value}")));
    };
    part("id", pulse.event_id.as_ref().map(ToString::to_string));
    part("key", pulse.idempotency_key.as_ref().map(ToString::to_string));
    part("time", pulse.event_time_ms.map(|time| time.to_string()));
    part("latency", pulse.latency_ms.map(|latency| latency.to_string()));
    part("status", pulse.status.as_ref().map(ToString::to_string));
    part("value", pulse.value.map(|value| value.to_string()));
    part("user", pulse.user.as_ref().map(ToString::to_string));
    let usage = pulse.usage.as_ref();
    part("usage", usage.map(|usage| format!("{},{},{}", usage.sku, usage.unit, usage.amount)));
    for (key, value) in &pulse.metadata {
        part(&format!("[{key}]"), Some(value.to_string()));
    }
    part("payload", pulse.payload.as_ref().map(ToString::to_string));
    parts.join(" ")
}

fn accepted(shape: Shape, event: &str, expected: &str) {
    match decode_event(shape, event.as_bytes()) {
        Ok(pulse) => assert_eq!(show(&pulse), expected, "{event}"),
        Err(reject) => assert_eq!(format!("{reject:?}"), expected, "{event}"),
    }
}

/// `message` is a part of the message.
fn refused(shape: Shape, event: impl AsRef<[u8]>, code: Code, message: &str) {
    let event = event.as_ref();
    let shown: String = String::from_utf8_lossy(event).chars().take(200).collect();
    let reject = decode_event(shape, event).expect_err(&shown);
    assert_eq!(reject.code, code, "{shown}: {}", reject.message);
    assert!(reject.message.contains(message), "{shown}: {}", reject.message);
    assert!(reject.message.len() < 260, "{shown}: {}", reject.message);
}

/// A pulse with these members beside its service.
fn with(members: &str) -> String {
    format!(r#"{{"service":"s",{members}}}"#)
}

#[test]
fn each_shape_has_its_required_fields_and_defaults() {
    accepted(PulseShape, r#"{"service_name":"checkout"}"#, "checkout/pulse");
    accepted(PulseShape, r#"{"service":"checkout","kind":"click"}"#, "checkout/click");
    accepted(PulseShape, r#"{"service":"checkout","type":"click"}"#, "checkout/click");
    accepted(Ingest, r#"{"type":"counter"}"#, "default/counter");
    accepted(Ingest, r#"{"kind":"counter","service_name":"a"}"#, "a/counter");
    accepted(
        Ingest,
        r#"{"type":"counter","name":"hits","value":3,"tags":{"service":"web","zone":"b"}}"#,
        "web/counter value=3 [service]=web [zone]=b [name]=hits",
    );
    accepted(
        Ingest,
        r#"{"type":"counter","service":"api","tags":{"service":"web"}}"#,
        "api/counter [service]=web",
    );
    for name in ["event_name", "event_type", "kind", "type"] {
        accepted(Events, &format!(r#"{{"{name}":"signup"}}"#), "default/signup");
    }
    for name in ["service", "service_name", "source"] {
        let event = format!(r#"{{"event_name":"signup","{name}":"web","user_id":"u1"}}"#);
        accepted(Events, &event, "web/signup user=u1");
    }
    refused(PulseShape, "{}", Code::MissingField, "`service_name` is missing");
    refused(PulseShape, r#"{"service":null}"#, Code::MissingField, "`service_name`");
    refused(Ingest, "{}", Code::MissingField, "`type` is missing");
    refused(Events, "{}", Code::MissingField, "`event_name` is missing");
    refused(PulseShape, r#"{"service_name":""}"#, Code::EmptyService, "service");
    refused(Ingest, r#"{"type":"a","tags":{"service":""}}"#, Code::EmptyService, "service");
    refused(Events, r#"{"type":"a","source":""}"#, Code::EmptyService, "service");
    refused(PulseShape, with(r#""kind":"""#), Code::EmptyField, "`kind` is empty");
    refused(Ingest, r#"{"type":""}"#, Code::EmptyField, "`type` is empty");
}

#[test]
fn every_optional_field_has_its_aliases() {
    let check = |members: &str, expected: &str| {
        accepted(PulseShape, &with(members), &format!("s/pulse {expected}"));
    };
    check(r#""event_id":"a""#, "id=a");
    check(r#""id":"a""#, "id=a");
    check(r#""idempotency_key":"k""#, "key=k");
    check(r#""event_time":"1970-01-01T01:00:00.0019+01:00""#, "time=1");
    check(r#""timestamp":1795248000000"#, "time=1795248000000");
    check(r#""time":-5"#, "time=-5");
    check(r#""time":1.5e3"#, "time=1500");
    check(r#""time":7.0"#, "time=7");
    check(r#""latency_ms":12.5"#, "latency=12.5");
    check(r#""duration_ms":0"#, "latency=0");
    check(r#""status":"ok""#, "status=ok");
    check(r#""status":"""#, "status=");
    check(r#""value":-1e3"#, "value=-1000");
    check(r#""user":"u""#, "user=u");
    check(r#""user_id":"u""#, "user=u");
    check(r#""usage":{"sku":"gpu","unit":"s","amount":1.10}"#, "usage=gpu,s,1.10");
    check(r#""usage":{"amount":"0.1","unit":"s","sku":"gpu"}"#, "usage=gpu,s,0.1");
    check(
        r#""sku":"gpu","unit":"s","amount":0.1234567890123456789012345678"#,
        "usage=gpu,s,0.1234567890123456789012345678",
    );
    for name in ["metadata", "tags", "labels"] {
        check(
            &format!(r#""{name}":{{"a":"b","n":1.50,"t":true,"f":false,"no":null,"":""}}"#),
            "[a]=b [n]=1.50 [t]=true [f]=false []=",
        );
    }
    for name in ["payload", "properties", "data"] {
        check(&format!(r#""{name}":{{ "a" : [1, 1e999] }}"#), r#"payload={ "a" : [1, 1e999] }"#);
        check(&format!(r#""{name}":"text""#), r#"payload="text""#);
    }
}

#[test]
fn null_is_absent_for_every_optional_field() {
    let names = "event_id id idempotency_key event_time timestamp time latency_ms duration_ms \
                 status value user user_id usage sku unit amount metadata tags labels payload \
                 properties data kind type other";
    for name in names.split(' ') {
        accepted(PulseShape, &with(&format!(r#""{name}":null"#)), "s/pulse");
    }
    accepted(PulseShape, &with(r#""id":null,"event_id":"a""#), "s/pulse id=a");
}

#[test]
fn unknown_members_are_kept() {
    let check = |members: &str, expected: &str| {
        accepted(PulseShape, &with(members), &format!("s/pulse {expected}"));
    };
    check(r#""a":"b","n":1.0,"t":true,"z":null"#, "[a]=b [n]=1.0 [t]=true");
    check(r#""name":"x","source":"y","event_name":"z""#, "[name]=x [source]=y [event_name]=z");
    check(r#""a":"b","metadata":{"c":"d"}"#, "[c]=d [a]=b");
    check(r#""a":"b","metadata":{"a":"b"}"#, "[a]=b");
    check(r#""a":1,"metadata":{"a":"1"}"#, "[a]=1");
    check(r#""o":{"x":1},"l":[ 1, 2]"#, r#"payload={"o":{"x":1},"l":[ 1, 2]}"#);
    check(r#""o\n":{}"#, r#"payload={"o\n":{}}"#);
    check(r#""o":{},"payload":{ }"#, r#"payload={ "o":{}}"#);
    check(r#""o":{},"payload":{"p":1}"#, r#"payload={"p":1,"o":{}}"#);
    check(r#""o":{},"data":[1]"#, r#"payload={"payload":[1],"o":{}}"#);
    check(r#""o":{},"data":"text""#, r#"payload={"payload":"text","o":{}}"#);
    check(r#""a":"b","data":7"#, "[a]=b payload=7");
    let conflict = Code::ConflictingFields;
    refused(PulseShape, with(r#""o":{},"data":{"o":{}}"#), conflict, "`payload.o`");
    refused(PulseShape, with(r#""o":{},"data":{"x":1,"\u006f":2}"#), conflict, "`payload.o`");
    refused(PulseShape, with(r#""a":"b","metadata":{"a":"c"}"#), conflict, "`metadata.a`");
    refused(Ingest, r#"{"type":"t","name":"x","tags":{"name":"y"}}"#, conflict, "`metadata.name`");
}

#[test]
fn two_names_of_a_field_may_only_say_the_same() {
    let same = |members: &str, expected: &str| {
        accepted(PulseShape, &with(members), &format!("s/pulse {expected}"));
    };
    same(r#""service_name":"s","id":"a","event_id":"\u0061""#, "id=a");
    same(r#""event_time":"1970-01-01T00:00:01Z","timestamp":1000,"time":1e3"#, "time=1000");
    same(r#""latency_ms":1,"duration_ms":1.0"#, "latency=1");
    same(r#""tags":{"a":"1","b":"2"},"labels":{"b":2,"a":1}"#, "[a]=1 [b]=2");
    same(r#""data":{"a":1},"payload":{ "a" : 1 }"#, r#"payload={"a":1}"#);
    same(
        r#""usage":{"sku":"a","unit":"b","amount":"1.0"},"sku":"a","unit":"b","amount":1"#,
        "usage=a,b,1.0",
    );
    for members in [
        r#""service_name":"t""#,
        r#""type":"a","kind":"b""#,
        r#""id":"a","event_id":"b""#,
        r#""event_time":1,"timestamp":2"#,
        r#""latency_ms":1,"duration_ms":2"#,
        r#""user":"a","user_id":"b""#,
        r#""tags":{"a":"1"},"metadata":{}"#,
        r#""payload":1,"data":2"#,
        r#""usage":{"sku":"a","unit":"b","amount":1},"sku":"a","unit":"b","amount":2"#,
    ] {
        refused(PulseShape, with(members), Code::ConflictingFields, "different values");
    }
}

#[test]
fn a_repeated_key_is_refused_at_the_top_in_metadata_and_in_usage_alone() {
    let duplicate = Code::DuplicateKey;
    refused(PulseShape, with(r#""service":"s""#), duplicate, "`service` occurs twice");
    refused(PulseShape, with(r#""serv\u0069ce":"s""#), duplicate, "`service`");
    refused(PulseShape, with(r#""status":null,"status":null"#), duplicate, "`status`");
    refused(PulseShape, with(r#""x":1,"x":1"#), duplicate, "`x`");
    refused(PulseShape, with(r#""x":null,"x":{}"#), duplicate, "`x`");
    refused(PulseShape, with(r#""tags":{"a":1,"a":1}"#), duplicate, "`tags.a`");
    refused(PulseShape, with(r#""tags":{"a":null,"a":1}"#), duplicate, "`tags.a`");
    refused(PulseShape, with(r#""usage":{"sku":"a","sku":"a"}"#), duplicate, "`usage.sku`");
    accepted(PulseShape, &with(r#""data":{"a":1,"a":2}"#), r#"s/pulse payload={"a":1,"a":2}"#);
}

#[test]
fn a_value_of_another_type_is_refused_by_name() {
    let check = |members: &str, message: &str| {
        refused(PulseShape, with(members), Code::WrongType, message);
    };
    refused(PulseShape, r#"{"service":5}"#, Code::WrongType, "`service` must be text, found a num");
    check(r#""kind":[]"#, "`kind` must be text, found an array");
    check(r#""status":200"#, "`status` must be text, found a number");
    check(r#""user":{}"#, "`user` must be text, found an object");
    check(r#""event_id":7"#, "`event_id` must be text");
    check(r#""idempotency_key":true"#, "found true or false");
    check(r#""latency_ms":"12""#, "`latency_ms` must be a number, found text");
    check(r#""duration_ms":false"#, "`duration_ms` must be a number");
    check(r#""value":[1]"#, "`value` must be a number, found an array");
    check(r#""time":{}"#, "`time` must be RFC 3339 text or epoch milliseconds");
    check(r#""metadata":"a=b""#, "`metadata` must be an object of texts, found text");
    check(r#""tags":["a"]"#, "`tags` must be an object of texts, found an array");
    check(r#""tags":{"a":{}}"#, "`tags.a` must be text, a number or a boolean, found an object");
    check(r#""tags":{"a":[]}"#, "`tags.a`");
    check(r#""usage":[]"#, "`usage` must be an object of");
    check(r#""usage":{"sku":1}"#, "`usage.sku` must be text");
    check(r#""usage":{"price":1}"#, "`usage.price` is unknown");
    check(r#""sku":"a","unit":"b","amount":true"#, "`amount` must be a decimal number");
    refused(Ingest, r#"{"type":"t","name":7}"#, Code::WrongType, "`name` must be text");
}

#[test]
fn usage_is_whole_and_its_amount_exact() {
    let missing = Code::MissingField;
    refused(PulseShape, with(r#""usage":{}"#), missing, "`usage.sku` is missing");
    refused(PulseShape, with(r#""usage":{"sku":"a"}"#), missing, "`usage.unit`");
    refused(PulseShape, with(r#""usage":{"sku":"a","unit":"b"}"#), missing, "`usage.amount`");
    refused(PulseShape, with(r#""unit":"ms""#), missing, "`sku` is missing");
    refused(PulseShape, with(r#""sku":"a","amount":null,"unit":"b""#), missing, "`amount`");
    refused(PulseShape, with(r#""sku":"""#), Code::EmptyField, "`sku` is empty");
    refused(PulseShape, with(r#""usage":{"unit":""}"#), Code::EmptyField, "`usage.unit`");
    for amount in [r#""""#, r#""1,5""#, r#"" 1""#, r#""1e99""#, "1e99", "1e-29", r#""NaN""#] {
        let event = with(&format!(r#""sku":"a","unit":"b","amount":{amount}"#));
        refused(PulseShape, event, Code::InvalidAmount, "`amount` is");
    }
    let long = format!(r#""sku":"a","unit":"b","amount":1{}"#, "0".repeat(28));
    refused(PulseShape, with(&long), Code::InvalidAmount, "28 digits");
}

#[test]
fn numbers_that_json_or_a_double_can_not_hold_have_their_codes() {
    for (literal, code) in [
        ("NaN", Code::NotANumber),
        ("Infinity", Code::InfiniteNumber),
        ("-Infinity", Code::InfiniteNumber),
    ] {
        for name in ["value", "latency_ms", "time", "status", "amount", "payload", "other"] {
            let event = with(&format!(r#""{name}":{literal}"#));
            refused(PulseShape, event, code, &format!("`{name}`"));
        }
        refused(PulseShape, with(&format!(r#""tags":{{"a":{literal}}}"#)), code, "`tags.a`");
        refused(PulseShape, with(&format!(r#""data":[[{literal}]]"#)), code, "`data`");
    }
    for name in ["value", "latency_ms", "time"] {
        for number in ["1e999", "-1e309"] {
            let event = with(&format!(r#""{name}":{number}"#));
            refused(PulseShape, event, Code::NumberOutOfRange, &format!("`{name}` is {number}"));
        }
    }
    accepted(PulseShape, &with(r#""value":1e-999"#), "s/pulse value=0");
    accepted(PulseShape, &with(r#""other":1e999"#), "s/pulse [other]=1e999");
    for time in ["1.5", "1e300", r#""""#, r#""yesterday""#, r#""2026-11-21""#, r#""1795248000000""#]
    {
        let event = with(&format!(r#""time":{time}"#));
        refused(PulseShape, event, Code::InvalidTime, "`time` is `");
    }
}

#[test]
fn every_text_has_its_bound() {
    let long = |bytes: usize| "é".repeat(bytes / 2) + &"x".repeat(bytes % 2);
    let check = |template: &str, bytes_max: usize| {
        let event = |bytes| with(&template.replace('@', &long(bytes)));
        let at_bound = decode_event(PulseShape, event(bytes_max).as_bytes()).map(|_| ());
        assert_eq!(at_bound, Ok(()), "{template}");
        let message = format!("{} bytes; at most {bytes_max}", bytes_max + 1);
        refused(PulseShape, event(bytes_max + 1), Code::StringTooLong, &message);
    };
    for name in ["kind", "status", "user"] {
        check(&format!(r#""{name}":"@""#), NAME_BYTES_MAX);
    }
    check(r#""usage":{"sku":"@","unit":"u","amount":1}"#, NAME_BYTES_MAX);
    check(r#""unit":"@","sku":"u","amount":1"#, NAME_BYTES_MAX);
    check(r#""id":"@""#, KEY_BYTES_MAX);
    check(r#""idempotency_key":"@""#, KEY_BYTES_MAX);
    check(r#""tags":{"@":1}"#, METADATA_KEY_BYTES_MAX);
    check(r#""tags":{"a":"@"}"#, METADATA_VALUE_BYTES_MAX);
    check(r#""@":1"#, METADATA_KEY_BYTES_MAX);
    check(r#""a":"@""#, METADATA_VALUE_BYTES_MAX);
    let service = format!(r#"{{"service":"{}"}}"#, long(NAME_BYTES_MAX + 1));
    refused(PulseShape, service, Code::StringTooLong, "`service` has 256 bytes");
    let tag = format!(r#"{{"type":"t","tags":{{"service":"{}"}}}}"#, long(NAME_BYTES_MAX + 1));
    refused(Ingest, tag, Code::StringTooLong, "`tags.service` has 256 bytes");
    let digits = format!(r#""n":{}"#, "1".repeat(METADATA_VALUE_BYTES_MAX + 1));
    refused(PulseShape, with(&digits), Code::StringTooLong, "`n` has 4097 bytes");
}

#[test]
fn ids_are_printable() {
    for name in ["event_id", "id", "idempotency_key"] {
        for text in ["", r"a\nb", r"\u0000", "\u{7f}", "\u{85}"] {
            let event = with(&format!(r#""{name}":"{text}""#));
            refused(PulseShape, event, Code::InvalidId, &format!("`{name}`"));
        }
    }
    accepted(PulseShape, &with(r#""id":"Ω 😀""#), "s/pulse id=Ω 😀");
}

#[test]
fn counts_and_sizes_have_bounds() {
    let entries = |count: usize, value: &str| {
        let entries: Vec<_> = (0..count).map(|at| format!(r#""k{at}":{value}"#)).collect();
        entries.join(",")
    };
    let tags = |count, value| with(&format!(r#""tags":{{{}}}"#, entries(count, value)));
    let check = |event: String, fits: bool| {
        let outcome = decode_event(PulseShape, event.as_bytes()).map_err(|reject| reject.code);
        assert_eq!(outcome.map(|_| ()), if fits { Ok(()) } else { Err(Code::TooManyMetadata) });
    };
    for value in ["1", "null"] {
        check(tags(METADATA_ENTRIES_MAX, value), true);
        check(tags(METADATA_ENTRIES_MAX + 1, value), false);
        check(with(&entries(METADATA_ENTRIES_MAX, value)), true);
        check(with(&entries(METADATA_ENTRIES_MAX + 1, value)), false);
    }
    let full = entries(METADATA_ENTRIES_MAX, "1");
    check(with(&format!(r#""tags":{{{full}}},"k0":1"#)), true);
    check(with(&format!(r#""tags":{{{full}}},"other":1"#)), false);

    let payload = |bytes: usize| with(&format!(r#""data":"{}""#, "x".repeat(bytes - 2)));
    let largest = payload(PAYLOAD_BYTES_MAX);
    assert!(decode_event(PulseShape, largest.as_bytes()).is_ok());
    refused(PulseShape, payload(PAYLOAD_BYTES_MAX + 1), Code::PayloadTooLarge, "`data` has 65537");
    let half = "x".repeat(PAYLOAD_BYTES_MAX / 2);
    let halves = with(&format!(r#""a":["{half}"],"b":["{half}"]"#));
    refused(PulseShape, halves, Code::PayloadTooLarge, "`payload` has");

    let spaces = " ".repeat(EVENT_BYTES_MAX);
    let event = with(&format!(r#""status":{spaces}"ok""#));
    refused(PulseShape, &event, Code::EventTooLarge, "524317 bytes; at most 524288");
    let array = format!(r#"[{event},{{"service":"s"}},{}]"#, event.replace("\"ok\"", "[]"));
    let codes: Vec<_> = Decoder::new(PulseShape, Format::Json, array.as_bytes())
        .map(|decoded| decoded.pulse.map(|_| ()).map_err(|reject| reject.code))
        .collect();
    assert_eq!(codes, [Err(Code::EventTooLarge), Ok(()), Err(Code::EventTooLarge)]);
}

#[test]
fn nesting_has_a_bound_and_costs_only_its_event() {
    let nested = |levels: usize, open: &str, close: &str| {
        with(&format!(r#""data":{}1{}"#, open.repeat(levels), close.repeat(levels)))
    };
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"b":"#, "}]")] {
        let levels = (JSON_DEPTH_MAX - 1) / open.matches(['[', '{']).count();
        let deepest = nested(levels, open, close);
        assert!(decode_event(PulseShape, deepest.as_bytes()).is_ok(), "{deepest}");
        let deeper = nested(levels + 1, open, close);
        refused(PulseShape, &deeper, Code::NestingTooDeep, "`data`");
        let array = format!(r#"[{deeper},{{"service":"s"}}]"#);
        let oks: Vec<_> = Decoder::new(PulseShape, Format::Json, array.as_bytes())
            .map(|decoded| decoded.pulse.is_ok())
            .collect();
        assert_eq!(oks, [false, true]);
    }
    for open in ["[", r#"{"a":"#, r#"{"data":"#] {
        let endless = open.repeat(1_000_000);
        assert!(decode_event(PulseShape, &endless.as_bytes()[..EVENT_BYTES_MAX]).is_err());
        let mut decoder = Decoder::new(PulseShape, Format::Json, endless.as_bytes());
        assert!(decoder.next().is_some_and(|decoded| decoded.pulse.is_err()));
        assert!(decoder.nth(1).is_none());
    }
    let endless = format!(r#"{{"service":"s","data":{}"#, "[".repeat(1000));
    refused(PulseShape, endless, Code::NestingTooDeep, "32 levels");
}

#[test]
fn what_is_no_json_is_named_with_its_place() {
    let check = |event: &str, message: &str| {
        refused(PulseShape, event, Code::InvalidJson, message);
    };
    check("", "expected a value at byte 0 of the event, found the end");
    check("  ", "found the end");
    check("{", "expected a key or `}` at byte 1");
    check(r#"{"a"}"#, "expected `:` at byte 4 of the event, found `}`");
    check(r#"{"a":}"#, "expected a value at byte 5");
    check(r#"{"a":1,}"#, "expected a key at byte 7");
    check(r#"{"a":1;"#, "expected `,` or `}` at byte 6");
    check(r#"{"a":1 "b":2}"#, "expected `,` or `}` at byte 7");
    check(r"{'a':1}", "expected a key or `}` at byte 1 of the event, found `'`");
    check(r#"{"a":'b'}"#, "expected a value");
    check(r#"{"a":01}"#, "byte 6");
    check(r#"{"a":1.}"#, "expected a digit");
    check(r#"{"a":.5}"#, "expected a value");
    check(r#"{"a":+5}"#, "expected a value");
    check(r#"{"a":-}"#, "expected a digit");
    check(r#"{"a":1e}"#, "expected a digit");
    check(r#"{"a":0x10}"#, "expected `,` or `}`");
    check(r#"{"a":nul}"#, "expected a value");
    check(r#"{"a":nullx}"#, "expected `,` or `}`");
    check(r#"{"a":True}"#, "expected a value");
    check("{\"a\":\"b\nc\"}", "expected control characters escaped in text at byte 7");
    check("{\"a\":\"b\u{0}\"}", "found byte 0x00");
    check(r#"{"a":"b"#, "closing `\"`");
    check(r#"{"a":"\x"}"#, "expected one of");
    check(r#"{"a":"\u12g4"}"#, "4 hex digits");
    check(r#"{"a":"\ud800"}"#, "a pair of surrogates, not a lone one at byte 6 of the event");
    check(r#"{"a":"\udc00"}"#, "surrogates");
    check(r#"{"a":"\ud800\ud800"}"#, "surrogates");
    check(r#"{"data":["\ud800x"]}"#, "surrogates");
    check(r#"{"a":[1,]}"#, "expected a value");
    check(r#"{"a":[1 2]}"#, "expected `,` or `]`");
    check(r#"{"a":[1}"#, "expected `,` or `]`");
    check(r#"{"a":{"b":1]}"#, "expected `,` or `}`");
    check(r#"{"a":/* b */1}"#, "expected a value");
    check("{\"a\":1}\u{a0}", "expected the end");
    check(r#"{"service":"s"} x"#, "expected the end at byte 16 of the event, found `x`");
    check(r#"{"service":"s"}{"service":"s"}"#, "expected the end at byte 15");
    check("\u{feff}{}", "found a byte order mark");
    // What is no JSON comes before what is wrong in it, but no reading past a wrong value.
    check(r#"{"service":5,"a":}"#, "expected a value");
    refused(PulseShape, b"{\"service\":\"\xFF\"}", Code::InvalidUtf8, "byte 12 of the event");
    for (event, found) in [
        ("[]", "an array"),
        ("5", "a number"),
        ("\"a\"", "text"),
        ("true", "true or false"),
        ("null", "null"),
    ] {
        refused(PulseShape, event, Code::NotAnObject, found);
    }
    refused(PulseShape, "NaN", Code::NotANumber, "NaN");
}

#[test]
fn escapes_are_decoded() {
    accepted(
        PulseShape,
        r#"{"s\u0065rvice":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\uFFFFz","st\u0061tus":"\u0000"}"#,
        "\"\\/\u{8}\u{c}\n\r\té😀\u{FFFF}z/pulse status=\0",
    );
}

#[test]
fn a_message_repeats_little_of_the_input() {
    let long = "x\u{1}".replace('\u{1}', r"\u0001").repeat(10_000);
    let time = with(&format!(r#""time":"{long}""#));
    refused(PulseShape, time, Code::InvalidTime, r"x\u{1}x\u{1}");
    let key = with(&format!(r#""{long}":1,"{long}":1"#));
    refused(PulseShape, key, Code::StringTooLong, "…");
    let amount = format!(r#""amount":{}"#, "9".repeat(10_000));
    refused(PulseShape, with(&amount), Code::InvalidAmount, &("9".repeat(40) + "…"));
}

#[test]
fn every_code_of_an_event_has_a_test_here() {
    let source = include_str!("golden.rs");
    // Judged against the clock, not by the decoder: tested with it.
    let by_clock = [Code::EventTimeTooOld, Code::EventTimeInFuture];
    for code in Code::ALL.iter().take_while(|code| **code != Code::KeyReused) {
        let is_tested = source.contains(&format!("Code::{code:?}")) || by_clock.contains(code);
        assert!(is_tested, "{code:?}");
    }
}
