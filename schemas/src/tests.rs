//! What counts of entries that are refused, and how much patterns may take.

use serde_json::{Value, json};

use super::*;

fn take(bounds: &mut Bounds<()>, text: &str) -> Result<usize, String> {
    let taken = bounds.take(read(text)?, |_, schema| compile(schema).map(drop));
    taken.map(|demands| demands.len()).map_err(|wrong| wrong[0].1.clone())
}

#[test]
fn entries_that_are_refused_take_nothing_of_the_bounds() {
    let mut bounds = Bounds::default();
    let entry = |number: usize| format!("{{kind: k{number}, schema: {{title: t{number}}}}}");
    let bad = "{kind: bad, schema: {type: numbr}}";
    for round in 0..40 {
        let first = round * 60;
        let entries: Vec<String> = (first..first + 60).map(entry).collect();
        let error = take(&mut bounds, &format!("[{}, {bad}]", entries.join(", ")));
        assert!(error.is_err_and(|why| why.contains("`bad` at /type")), "round {round}");
    }
    let entries: Vec<String> = (0..60).map(entry).collect();
    assert_eq!(take(&mut bounds, &format!("[{}]", entries.join(", "))), Ok(60));
}

#[test]
fn the_patterns_of_a_schema_share_what_they_may_take() {
    let of = |count: usize, pattern: &str| -> Value {
        let one = |number: usize| (format!("m{number}"), json!({"pattern": pattern}));
        json!({"properties": Value::Object((0..count).map(one).collect())})
    };
    let large = "^(a{90}){90}$";
    assert!(compile(&of(1, large)).is_ok());
    assert!(compile(&of(200, "^[a-z0-9-]{1,63}$")).is_ok());
    let why = compile(&of(200, large)).err().unwrap_or_default();
    assert!(why.contains("pattern"), "{why}");
    let named: Value = (0..200).map(|number| (format!("^(a{{90}}){{90}}{number}"), true)).collect();
    assert!(compile(&json!({"patternProperties": named})).is_err());
}

#[test]
fn a_reason_is_short_whatever_the_schema_says() {
    let why = compile(&json!({"type": "x".repeat(20_000)})).err().unwrap_or_default();
    assert!(why.starts_with("at /type") && why.len() <= 512, "{why}");
}
