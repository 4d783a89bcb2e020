//! Files of tenants: what they mean, and what is said of those that mean nothing.

use std::fmt::Write;

use super::file::{FILE_BYTES_MAX, FileError, KEYS_MAX, TENANTS_MAX, parse, parse_for, read};
use super::key::ApiKey;
use super::*;
use crate::retention::RetentionClasses;

fn hash(key: &str) -> String {
    KeyHash::of(key).to_hex()
}

fn problems(text: &str) -> Vec<(Option<u64>, String)> {
    let error = parse("tenants.yaml", text.as_bytes()).expect_err("something is wrong");
    assert_eq!(error.path, "tenants.yaml");
    error.problems.into_iter().map(|problem| (problem.line, problem.message)).collect()
}

#[test]
fn a_file_says_who_may_do_what() {
    let text = format!(
        "# who may send\n\
         tenants:\n\
         - name: checkout\n  \
           keys:\n  \
           - {{name: gateway, kind: write, sha256: {}}}\n  \
           - {{name: board, kind: read, sha256: {}}}\n  \
           - {{name: old, kind: both, sha256: \"{}\"}}\n  \
           - {{name: ops, kind: admin, sha256: {}}}\n  \
           limits: {{requests_per_minute: 0, pulses_per_minute: 6000, burst: 10}}\n  \
           ack_max: durable\n  \
           retention: default\n\
         - name: mailer\n",
        hash("gateway"),
        hash("board"),
        hash("old").to_uppercase(),
        hash("ops")
    );
    let tenants = Tenants::of(parse("tenants.yaml", text.as_bytes()).expect("a sound file"));
    let checkout = tenants.find("checkout").expect("named");
    let limits = Limits { requests_per_minute: 0, pulses_per_minute: 6000, burst: 10 };
    assert_eq!((checkout.limits, checkout.ack_highest), (limits, Ack::Durable));
    let mailer = tenants.find("mailer").expect("named");
    assert_eq!((mailer.limits, mailer.ack_highest), (Limits::default(), Ack::Stored));
    assert_eq!(mailer.limits.requests_per_minute, 300);
    use Permission::{Admin, Process, Read, Write};
    let cases: [(&str, &[Permission]); 4] = [
        ("gateway", &[Write]),
        ("board", &[Read]),
        ("old", &[Write, Read]),
        ("ops", &[Write, Read, Admin]),
    ];
    for (key, permissions) in cases {
        let caller = tenants.identify(Some(key)).expect(key);
        assert_eq!(caller.tenant, checkout);
        for permission in [Write, Read, Admin, Process] {
            let expected = permissions.contains(&permission);
            assert_eq!(caller.permissions.has(permission), expected, "{key} {permission:?}");
        }
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_would_be_right() {
    let (one, two) = (hash("one"), hash("two"));
    let key = |name: &str, kind: &str, hash: &str| {
        format!("  - {{name: {name}, kind: {kind}, sha256: {hash}}}\n")
    };
    let of = |name: &str, rest: &str| format!("- name: {name}\n{rest}");
    let keys = |rest: String| format!("  keys:\n{rest}");
    let cases = [
        (of("a", "  limit: 3\n"), 3, "unknown field `limit`"),
        (of("a", "  limits: {per_minute: 3}\n"), 3, "unknown field `per_minute`"),
        (of("a", "  limits: {burst: -1}\n"), 3, "`-1` is no limit"),
        (of("a", "  limits: {burst: many}\n"), 3, "`many` is no limit"),
        (of("a", "  limits: {burst: 9000000000000}\n"), 3, "or 1 to 1000000000000"),
        (of("a", "  ack_max: fast\n"), 3, "fast"),
        (of("a", "  retention: 1y\n"), 3, "no retention class `1y`; write default"),
        (of("\"\"", ""), 2, "is no name of a tenant"),
        (of("a b", ""), 2, "is no name of a tenant"),
        (of("-a", ""), 2, "is no name of a tenant"),
        (of("a", &of("b", &of("a", ""))), 4, "tenant `a` is named before"),
        (of("a", "  name: b\n"), 3, "name"),
        (of("a", &keys(key("k", "all", &one))), 4, "all"),
        (of("a", &keys(key("k/", "read", &one))), 4, "`k/` is no name of a key"),
        (of("a", &keys(key("k", "read", "abc"))), 4, "is not 64 hexadecimal digits"),
        (
            of("a", &keys(key("k", "read", &one) + &key("k", "read", &two))),
            5,
            "`k` is named before",
        ),
        (of("a", &keys(key("k", "read", &one) + &key("l", "read", &one))), 5, "key `l` is given"),
        (of("a", &keys("  - {name: k, kind: read}\n".into())), 4, "sha256"),
    ];
    for (text, line, message) in cases {
        let text = format!("tenants:\n{text}");
        let found = problems(&text);
        let first = found.first().expect("one");
        assert!(first.1.contains(message) && !first.1.contains('\n'), "{message}: {found:?}");
        assert_eq!(first.0, Some(line), "{text} {found:?}");
    }
    for (text, message) in [
        ("", "end of input"),
        ("tenants: []", "names no tenant"),
        ("tenants: {a: 1}", "sequence start"),
        ("divide_by: 0\ntenants:\n- name: a\n", "`0` is no number of processes"),
        ("divide_by: 10001\ntenants:\n- name: a\n", "write 1 to 10000"),
        ("tenant: []", "unknown field `tenant`"),
        ("tenants:\n- name: [", ""),
        ("\u{0}", ""),
    ] {
        let found = problems(text);
        assert!(found[0].1.contains(message), "{text}: {found:?}");
    }
}

#[test]
fn a_file_divides_the_limits_whatever_the_settings_say_and_the_count_goes_on() {
    let read = |first: &str| {
        let limits = "limits: {requests_per_minute: 1, burst: 4}";
        let text = format!("{first}tenants:\n- name: a\n  {limits}\n");
        parse("tenants.yaml", text.as_bytes()).expect("a sound file")
    };
    let limiter = Limiter::new(4, crate::limits::metrics::LimitMetrics::default());
    let tenants = Tenants::of(read("")).limited_by(Arc::clone(&limiter));
    let used = |most: usize| (0..most).take_while(|_| limiter.admit("a").is_ok()).count();
    let left = || limiter.standing("a").expect("limits").requests.expect("a limit").remaining;
    assert_eq!(left(), 2, "of four at once, a part: never below two");
    tenants.replace(read("divide_by: 1\n"));
    assert_eq!((left(), used(3), left()), (4, 3, 1));
    tenants.replace(read("divide_by: 2\n"));
    assert_eq!((left(), used(2)), (0, 0), "what was used is used still");
    tenants.replace(read("divide_by: 1\n"));
    assert_eq!(left(), 1);
}

#[test]
fn all_that_is_wrong_with_tenants_is_told_at_once_and_shown_as_places() {
    let text = "tenants:\n- name: a/b\n- name: c\n  retention: x\n- name: c\n";
    let error = parse_for("t.yaml", text.as_bytes(), &RetentionClasses::default());
    let error = error.expect_err("three things are wrong");
    let lines: Vec<_> = error.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(2), Some(4), Some(5)]);
    let shown = error.to_string();
    assert!(shown.starts_with("read tenants\n  t.yaml:2: `a/b` is no name"), "{shown}");
    let many = "- name: a/b\n".repeat(1000);
    let error =
        parse("t.yaml", format!("tenants:\n{many}").as_bytes()).expect_err("many are wrong");
    assert_eq!(error.problems.len(), 20);
}

#[test]
fn a_tenant_has_a_retention_class_that_there_is() {
    let day = std::time::Duration::from_secs(86_400);
    let classes = ["audit", "short"].map(|name| (name.to_owned(), day));
    let classes = RetentionClasses::new(classes).expect("sound classes");
    let text = "tenants:\n- name: a\n  retention: audit\n- name: b\n- name: c\n  \
                retention: default\n";
    let table = parse_for("t.yaml", text.as_bytes(), &classes).expect("a sound file");
    let class = |tenant| &*table.find(tenant).expect("a tenant").retention_class;
    assert_eq!(["a", "b", "c"].map(class), ["audit", "default", "default"]);
    let text = "tenants:\n- name: a\n  retention: year\n- name: b\n  ack: 1\n";
    let error = parse_for("t.yaml", text.as_bytes(), &classes).expect_err("wrong").to_string();
    assert!(error.contains("t.yaml:5"), "what is no file is told alone: {error}");
    let text = "tenants:\n- name: a\n  retention: year\n- name: b/c\n";
    let error = parse_for("t.yaml", text.as_bytes(), &classes).expect_err("wrong").to_string();
    let expected = "t.yaml:3: there is no retention class `year`; write default, audit or short";
    assert!(error.contains(expected) && error.contains("t.yaml:4: `b/c`"), "{error}");
    let other = parse("t.yaml", b"tenants:\n- name: a\n  retention: year\n");
    assert!(other.is_ok(), "who does not know the classes takes any");
}

#[test]
fn a_key_in_place_of_its_hash_is_refused_and_never_told() {
    let key = ApiKey::generate().expect("random bytes");
    let secret = key.reveal();
    let texts = [
        format!("tenants:\n- name: a\n  keys:\n  - {{name: k, kind: read, sha256: {secret}}}\n"),
        format!("tenants:\n- name: a\n  keys:\n  - {{name: k, kind: {secret}, sha256: a}}\n"),
        format!("tenants:\n- name: a\n  keys: {secret}\n"),
        format!("tenants:\n- name: a\n  {secret}: 1\n"),
        format!("tenants:\n- name: {secret}\n"),
        format!("tenants:\n- name: a\n  retention: {secret}\n"),
        format!("tenants: {secret}\n"),
        format!("{secret}\n"),
    ];
    for text in texts {
        let error = parse("t.yaml", text.as_bytes()).expect_err("no file of tenants");
        let told = format!("{error} {error:?}");
        assert!(!told.contains(&secret[8..20]), "{told}");
    }
    let first = problems(&format!(
        "tenants:\n- name: a\n  keys:\n  - {{name: k, kind: read, sha256: {secret}}}\n"
    ));
    assert!(first[0].1.contains("make another"), "{first:?}");
}

#[test]
fn files_that_are_missing_too_large_or_expand_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("tenants.yaml");
    let refused = |part: &str| {
        let error: FileError = read(&path, &RetentionClasses::default()).expect_err("not readable");
        let told = error.to_string();
        assert!(told.contains("tenants.yaml: ") && told.contains(part), "{told}");
    };
    refused("No such file");
    let file = std::fs::File::create(&path).expect("made");
    file.set_len(FILE_BYTES_MAX as u64 + 1).expect("grown");
    refused("larger");
    let many = "- name: t\n".repeat(TENANTS_MAX + 1);
    assert!(problems(&format!("tenants:\n{many}"))[0].1.contains("at most 10000"));
    let keys: String = (0..=KEYS_MAX)
        .map(|at| format!("  - {{name: k{at}, kind: read, sha256: {}}}\n", hash(&at.to_string())))
        .collect();
    let found = problems(&format!("tenants:\n- name: a\n  keys:\n{keys}"));
    assert!(found[0].1.contains("65 keys"), "{found:?}");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}, ", level - 1).repeat(9);
        writeln!(bomb, "a{level}: &a{level} [{below}]").expect("text");
    }
    problems(&format!("{bomb}tenants: *a11\n"));
}

/// Says how long a file of the most tenants takes to read, and how much memory they take.
#[test]
fn ten_thousand_tenants_are_read_and_all_found() {
    let mut text = "tenants:\n".to_owned();
    for tenant in 0..TENANTS_MAX {
        writeln!(text, "- name: tenant-{tenant}\n  keys:").expect("text");
        for kind in ["write", "read"] {
            let sha256 = hash(&format!("{tenant} {kind}"));
            writeln!(text, "  - {{name: {kind}, kind: {kind}, sha256: {sha256}}}").expect("text");
        }
        writeln!(text, "  limits: {{requests_per_minute: 600}}").expect("text");
    }
    let begun = std::time::Instant::now();
    let tenants = Tenants::of(parse("t.yaml", text.as_bytes()).expect("a sound file"));
    println!("read {} bytes in {:?}", text.len(), begun.elapsed());
    for tenant in 0..TENANTS_MAX {
        let caller = tenants.identify(Some(&format!("{tenant} read"))).expect("known");
        assert_eq!(*caller.tenant.name, *format!("tenant-{tenant}"));
    }
}
