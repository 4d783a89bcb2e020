//! What rules take and refuse, and which definitions are taken at all.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::decode::decode_event;
use crate::pulse::Shape;
use crate::tenant::file::{FileError, parse};

fn file(schemas: &str) -> Result<Arc<Schemas>, FileError> {
    let text = format!("tenants:\n- name: t\n  schemas:\n{schemas}");
    let table = parse("tenants.yaml", text.as_bytes())?;
    Ok(table.find("t").and_then(|tenant| tenant.schemas.clone()).expect("some schemas"))
}

/// The one problem with a file of these schemas, with its line.
fn problem(schemas: &str) -> (Option<u64>, String) {
    let error = file(schemas).expect_err(schemas);
    assert_eq!(error.problems.len(), 1, "{error}");
    (error.problems[0].line, error.problems[0].message.clone())
}

/// What a rule of the event's kind says of it; empty: nothing.
fn judged(schemas: &Schemas, shape: Shape, event: &str) -> String {
    let pulse = decode_event(shape, event.as_bytes()).expect(event);
    let rule = schemas.of(&pulse.kind).expect("a rule for the kind");
    rule.check(&pulse).map_or_else(|violation| violation.to_string(), |()| String::new())
}

const ORDER: &str = "  - kind: order\n    required: [user, payload.order.id]\n    schema:\n      \
    properties:\n        value: {type: number, minimum: 0}\n        \
    status: {enum: [paid, open]}\n        \
    payload: {type: object, properties: {order: {required: [id, sku~/x]}}}\n    \
    on_failure: dead_letter\n";

#[test]
fn one_rule_holds_for_all_shapes_and_names() {
    let schemas = file(ORDER).expect("sound");
    assert_eq!(schemas.of("order").map(Rule::on_failure), Some(OnFailure::DeadLetter));
    assert_eq!(schemas.of("other"), None);
    let good = "\"payload\":{\"order\":{\"id\":7,\"sku~/x\":1}}";
    let cases = [
        (Shape::Pulse, format!("\"service\":\"s\",\"kind\":\"order\",\"user\":\"u\",{good}"), ""),
        (Shape::Events, format!("\"event_type\":\"order\",\"user_id\":\"u\",{good}"), ""),
        (Shape::Ingest, format!("\"type\":\"order\",\"user\":\"u\",\"value\":2,{good}"), ""),
        (Shape::Events, format!("\"event_name\":\"order\",{good}"), "`/user`: is missing"),
        (
            Shape::Pulse,
            "\"service\":\"s\",\"kind\":\"order\",\"user\":\"u\",\
             \"payload\":{\"order\":{\"id\":null}}"
                .into(),
            "`/payload/order/id`: is missing",
        ),
        (
            Shape::Pulse,
            "\"service\":\"s\",\"kind\":\"order\",\"user\":\"u\",\"payload\":{\"order\":{\"id\":1}}"
                .into(),
            "`/payload/order/sku~0~1x`: is missing",
        ),
        (
            Shape::Ingest,
            format!("\"type\":\"order\",\"user\":\"u\",\"value\":-2.5,{good}"),
            "`/value`: value is less than the minimum of 0",
        ),
        (
            Shape::Pulse,
            format!("\"service\":\"s\",\"kind\":\"order\",\"user\":\"u\",\"status\":\"x\",{good}"),
            "`/status`: value is not one of \"paid\" or \"open\"",
        ),
    ];
    for (shape, members, expected) in cases {
        assert_eq!(judged(&schemas, shape, &format!("{{{members}}}")), expected, "{members}");
    }
}

#[test]
fn what_is_wrong_is_one_of_a_few_reasons_and_short() {
    let schema = "{type: object, additionalProperties: false, properties: {a: {type: number, \
                  maximum: 5}, b: {pattern: \"^x\", maxLength: 3}, c: {const: 1}, \
                  d: {oneOf: [{type: number}, {minimum: 3}]}, e: {contains: {const: 1}}}}";
    let text = format!("  - {{kind: k, schema: {{properties: {{payload: {schema}}}}}}}\n");
    let schemas = file(&text).expect("sound");
    let long = format!("{{\"{}\":1}}", "n".repeat(5_000));
    let cases = [
        ("{\"a\":\"\"}", Some(Reason::Type)),
        ("{\"a\":6}", Some(Reason::Range)),
        ("{\"b\":\"y\"}", Some(Reason::Pattern)),
        ("{\"b\":\"xxxx\"}", Some(Reason::Length)),
        ("{\"c\":2}", Some(Reason::Enum)),
        ("{\"d\":7}", Some(Reason::Other)),
        ("{\"e\":[2]}", Some(Reason::Other)),
        (&long, Some(Reason::Additional)),
        ("[]", Some(Reason::Type)),
        ("{\"z\":1e999}", Some(Reason::Other)),
        ("{}", None),
    ];
    for (payload, expected) in cases {
        let event = format!("{{\"service\":\"s\",\"kind\":\"k\",\"payload\":{payload}}}");
        let pulse = decode_event(Shape::Pulse, event.as_bytes()).expect("decodes");
        let violation = schemas.of("k").expect("a rule").check(&pulse).err();
        assert_eq!(violation.as_ref().map(|violation| violation.reason), expected, "{payload:.40}");
        assert!(violation.is_none_or(|violation| violation.to_string().len() < 800));
    }
}

#[test]
fn what_can_t_be_taken_is_told_with_its_line() {
    let deep = format!("{}true{}", "{not: ".repeat(57), "}".repeat(57));
    let large = format!("{{description: {}}}", "x".repeat(40_000));
    let cases = [
        ("  - {kind: k}\n", Some(4), "`k` demands nothing"),
        ("  - {kind: k, required: [a]}\n  - {kind: k, required: [b]}\n", Some(5), "given before"),
        ("  - {kind: \"\", required: [a]}\n", Some(4), "names no kind"),
        ("  - {kind: k, required: [a..b]}\n", Some(4), "`a..b`, which is no path"),
        ("  - {kind: k, schema: 7}\n", Some(4), "neither an object"),
        ("  - {kind: k, schema: {type: numbr}}\n", Some(4), "at /type"),
        ("  - {kind: k, schema: {pattern: \"(?=a)\"}}\n", Some(4), "pattern"),
        ("  - {kind: k, schema: {pattern: \"((a{99}){99}){99}\"}}\n", Some(4), "pattern"),
        (
            "  - {kind: k, schema: {$ref: \"https://example.com/s.json\"}}\n",
            Some(4),
            "refers to `https://example.com/s.json`, and nothing is fetched",
        ),
        ("  - {kind: k, schema: {items: {$ref: \"file:///etc/passwd\"}}}\n", Some(4), "nothing is"),
        (
            "  - {kind: k, schema: {$ref: \"#/$defs/none\"}}\n",
            Some(4),
            "`#/$defs/none`, which is not there",
        ),
        ("  - {kind: k, schema: {$schema: \"https://example.com/s\"}}\n", Some(4), "example.com"),
        ("  - {kind: k, schema: {$dynamicRef: \"#a\"}}\n", Some(4), "only `$ref` is taken"),
        ("  - {kind: k, schema: {not: {$id: b}}}\n", Some(4), "an `$id`"),
        ("  - {kind: k, schema: {allOf: [{$ref: \"#\"}]}}\n", Some(4), "refers to itself"),
        (&format!("  - {{kind: k, schema: {deep}}}\n"), Some(4), "nested deeper than 56"),
        (&format!("  - {{kind: k, schema: {large}}}\n"), Some(4), "at most 32768"),
        ("  - {kind: k, required: [a], on_failure: drop}\n", Some(4), "drop"),
        ("  - {kind: k, required: [a], onfailure: reject}\n", Some(4), "onfailure"),
        ("  - {required: [a]}\n", Some(4), "kind"),
    ];
    for (text, line, expected) in cases {
        let (found, message) = problem(text);
        assert_eq!(found, line, "{text:.80}: {message}");
        assert!(message.contains(expected), "{text:.80}: {message}");
        assert!(message.len() < 600, "{message}");
    }
}

#[test]
fn what_is_the_same_is_compiled_once_and_all_together_is_bounded() {
    let schema = |kind: usize, of: usize| {
        format!("  - {{kind: k{kind}, schema: {{title: \"{of}\", type: object}}}}\n")
    };
    let tenants = |tenants: usize, kinds: usize, of: &dyn Fn(usize, usize) -> usize| {
        let tenant = |tenant: usize| {
            let schemas: String = (0..kinds).map(|kind| schema(kind, of(tenant, kind))).collect();
            format!("- name: t{tenant}\n  schemas:\n{schemas}")
        };
        let text: String = (0..tenants).map(tenant).collect();
        parse("f", format!("tenants:\n{text}").as_bytes())
    };
    let same = tenants(200, 20, &|_, _| 0).expect("one schema, for 4,000 kinds");
    assert_eq!(same.tenants().len(), 200);
    assert!(tenants(20, 50, &|tenant, kind| tenant * 50 + kind).is_ok());
    let more = tenants(21, 50, &|tenant, kind| tenant * 50 + kind).expect_err("too many");
    assert!(more.to_string().contains("at most 1000 different"), "{more}");
    let many = tenants(1, 65, &|_, _| 0).expect_err("too many kinds");
    assert!(many.to_string().contains("has 65 schemas; at most 64 fit"), "{many}");
}

#[test]
fn a_hostile_schema_or_pulse_ends_soon() {
    let twice = |at: usize| {
        let next = format!("{{$ref: \"#/$defs/d{}\"}}", at + 1);
        format!("d{at}: {{allOf: [{next}, {next}]}}")
    };
    let doubling = |levels: usize| {
        let defs: Vec<_> = (0..levels).map(twice).collect();
        let defs = defs.join(", ");
        format!("{{$defs: {{{defs}, d{levels}: {{type: object}}}}, $ref: \"#/$defs/d0\"}}")
    };
    let (line, message) = problem(&format!("  - {{kind: k, schema: {}}}\n", doubling(15)));
    assert_eq!(line, Some(4));
    assert!(message.contains("more than 10000 parts"), "{message}");
    let schemas = [
        "{properties: {payload: {pattern: \"^(a+)+$\"}}}",
        "{properties: {payload: {uniqueItems: true}}}",
        "{properties: {payload: {items: {multipleOf: 0.0001}}}}",
        &doubling(9),
    ];
    let text = format!("\"{}b\"", "a".repeat(60_000));
    let items: Vec<_> = (0..12_000).map(|at| at.to_string()).collect();
    let payloads = [text, format!("[{}]", items.join(",")), "[".repeat(30) + &"]".repeat(30)];
    for schema in schemas {
        let schemas = file(&format!("  - {{kind: k, schema: {schema}}}\n")).expect(schema);
        for payload in &payloads {
            let begun = Instant::now();
            let event = format!("{{\"service\":\"s\",\"kind\":\"k\",\"payload\":{payload}}}");
            let _said = judged(&schemas, Shape::Pulse, &event);
            assert!(begun.elapsed() < Duration::from_secs(2), "{schema:.60} {:?}", begun.elapsed());
        }
    }
}

proptest! {
    #[test]
    fn no_definition_panics(schema in "[{}\\[\\]a-z$#/:, \"0-9]{0,60}") {
        let text = format!("tenants: [{{name: t, schemas: [{{kind: k, schema: {schema}}}]}}]");
        let _taken = parse("f", text.as_bytes());
    }
}
