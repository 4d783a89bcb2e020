//! Files of tenants as people write them, edited.

use serde_json::Value;

use super::edit::{EditError, Limits, NewKey, add_key, create, remove_key, tenants};

const NONE: Limits = [("requests_per_minute", None), ("pulses_per_minute", None), ("burst", None)];

/// A hash of digits alone would be read as a number where it is not in quotes.
fn new(name: &str) -> NewKey {
    NewKey { name: name.to_owned(), kind: "read".to_owned(), sha256: "12".repeat(32) }
}

fn old(name: &str) -> String {
    format!("{{name: {name}, kind: write, sha256: {}}}", "ab".repeat(32))
}

/// Files with the keys `one` and `two` of the tenant `a`, and comments everywhere.
fn files() -> Vec<String> {
    let (one, two, other) = (old("one"), old("two"), old("other"));
    vec![
        [
            "# who may",
            "tenants:   # all",
            "- name: a   # the first",
            "  keys: # its keys",
            &format!("  - {one} # of one"),
            "  # above two",
            &format!("  - {two}"),
            "  # behind",
            "  limits: {burst: 3}",
            "# between",
            "- name: b",
            "  keys:",
            &format!("  - {other}"),
            "# the end",
        ]
        .map(|line| format!("{line}\n"))
        .concat(),
        format!(
            "tenants:\n  - keys:\n      - {one}\n\n      - {two}\n    name: a\n\n  - name: b\n    \
             keys: [{other}]\n"
        ),
        format!("tenants:\n-\n  name: a\n  keys: [{one}, {two}] # both\n- name: b\n"),
        format!("tenants:\n- name: b\n- name: a\n  keys: [ {one},{two} ]\n"),
        format!("tenants:\n- name: a\n  keys:\n  - {one}\n  - {two}\n- name: b\n")
            .replace('\n', "\r\n"),
        format!(
            "tenants:\n- name: \"b\"\n  metadata: {{x: 'keys: [1]'}}\n- name: a\n  keys:\n  - \
             name: one\n    kind: write\n    sha256: {}\n  - {two}",
            "cd".repeat(32)
        ),
    ]
}

fn key_names(text: &str, tenant: &str) -> Vec<String> {
    let all = tenants(text).expect("sound");
    let tenant = all.into_iter().find(|one| one["name"] == *tenant).expect("it is there");
    let name = |key: &Value| key["name"].as_str().expect("a name").to_owned();
    tenant["keys"].as_array().into_iter().flatten().map(name).collect()
}

/// Lines of `before` that are not in `after`, and the other way round.
fn changes(before: &str, after: &str) -> (usize, usize) {
    let without = |one: &str, other: &str| {
        let other: Vec<&str> = other.lines().collect();
        one.lines().filter(|line| !other.contains(line)).count()
    };
    (without(before, after), without(after, before))
}

#[test]
fn a_key_is_added_behind_the_others_and_nothing_else_changes() {
    for file in files() {
        let edited = add_key(&file, "a", &new("three")).expect("edited");
        assert_eq!(key_names(&edited, "a"), ["one", "two", "three"], "{edited}");
        let (lost, gained) = changes(&file, &edited);
        assert!(gained == 1 && lost <= 1, "{edited}");
        for comment in file.lines().filter_map(|line| line.split_once('#')) {
            assert!(edited.contains(comment.1), "`{}` is lost: {edited}", comment.1);
        }
        let again = remove_key(&edited, "a", "three").expect("edited");
        assert_eq!(again.trim_end(), file.trim_end(), "and back");
    }
}

#[test]
fn keys_are_removed_one_by_one_until_there_is_none() {
    for file in files() {
        let without_one = remove_key(&file, "a", "one").expect("edited");
        assert_eq!(key_names(&without_one, "a"), ["two"], "{without_one}");
        let without_two = remove_key(&file, "a", "two").expect("edited");
        assert_eq!(key_names(&without_two, "a"), ["one"], "{without_two}");
        let none = remove_key(&without_one, "a", "two").expect("edited");
        assert_eq!(key_names(&none, "a"), [""; 0], "{none}");
        let again = add_key(&none, "a", &new("again")).expect("edited");
        assert_eq!(key_names(&again, "a"), ["again"], "{again}");
        assert_eq!(key_names(&file, "b"), key_names(&again, "b"));
    }
}

#[test]
fn a_tenant_is_added_at_the_end_and_a_file_begun() {
    let limits: Limits =
        [("requests_per_minute", Some(600)), ("pulses_per_minute", Some(0)), ("burst", None)];
    for file in files().into_iter().chain([String::new()]) {
        let edited = create(&file, "true", &[&new("1"), &new("x")], limits).expect("edited");
        let all = tenants(&edited).expect("sound");
        let last = all.last().expect("it");
        assert_eq!(last["name"], "true");
        assert_eq!(
            (&last["limits"]["requests_per_minute"], key_names(&edited, "true").len()),
            (&600.into(), 2)
        );
        assert_eq!(changes(&file, &edited).0, 0, "{edited}");
        let (twice, same) = (create(&edited, "true", &[], NONE), "true".to_owned());
        assert_eq!(twice, Err(EditError::TenantExists(same)));
    }
    let begun = create("", "a", &[&new("k")], NONE).expect("begun");
    let expected = "tenants:\n- name: a\n  keys:\n  - {name: k, kind: read, sha256: \"";
    assert!(begun.starts_with(expected), "{begun}");
}

#[test]
fn what_is_not_there_or_not_known_is_told_and_not_touched() {
    let file = &files()[0];
    let (a, x) = ("a".to_owned(), "x".to_owned());
    assert_eq!(add_key(file, "x", &new("k")), Err(EditError::NoTenant(x.clone())));
    assert_eq!(add_key(file, "a", &new("one")), Err(EditError::KeyExists(a.clone(), "one".into())));
    assert_eq!(remove_key(file, "a", "x"), Err(EditError::NoKey(a, x)));
    let unknown = [
        format!("{{tenants: [{{name: a, keys: [{}]}}]}}\n", old("one")),
        format!("tenants: [{{name: a, keys: [{}]}}]\n", old("one")),
        format!("tenants:\n- {{name: a, keys: [{}]}}\n", old("one")),
        format!("tenants:\n- name: a\n  keys: [\n  {}\n  ]\n", old("one")),
        format!("tenants:\n- name: a\n  keys: &k\n  - {}\n- name: b\n  keys: *k\n", old("one")),
    ];
    for file in unknown {
        assert_eq!(add_key(&file, "a", &new("k")), Err(EditError::Unknown), "{file}");
        assert_eq!(remove_key(&file, "a", "one"), Err(EditError::Unknown), "{file}");
    }
}
