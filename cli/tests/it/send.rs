//! `send`: one pulse, files of every kind, what is refused, and servers that go away.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xtask::client::Request;
use xtask::ledger::{drained, in_place};
use xtask::server::wait_for;

use crate::support::{Feed, Fixture, SOON, begin, ended, launch, program, rows, run, run_reading};

/// Lines of the file whose server is killed.
const LINES: usize = 60_000;
/// Where servers listen that are started again on the same port: no other test can have it then.
const OWN_HOSTS: [&str; 2] = ["127.0.0.7:0", "127.0.0.8:0"];

#[test]
fn a_pulse_from_arguments_is_stored_with_all_that_was_typed() -> Result<()> {
    let at = Fixture::start()?;
    let typed = [
        ["--service", "checkout"],
        ["--kind", "order"],
        ["--id", "order-1"],
        ["--latency-ms", "12.5"],
        ["--status", "ok"],
        ["--value", "-3"],
        ["--user", "u-7"],
        ["--metadata", "region=eu"],
        ["--metadata", "note=a=b"],
        ["--payload", "{\"total\":[3]}"],
        ["--ack", "stored"],
    ];
    let typed: Vec<&str> = ["send"].into_iter().chain(typed.into_iter().flatten()).collect();
    let sent = at.run(&typed)?.expect(0)?;
    ensure!(sent.out.contains("accepted (stored)"), "{sent:?}");
    let row = at.server.client().get_json("/v1/pulses/order-1")?;
    let expected = json!({
        "service": "checkout", "kind": "order", "latency_ms": 12.5, "status": "ok",
        "value": -3.0, "user": "u-7", "metadata": {"region": "eu", "note": "a=b"},
        "payload": {"total": [3]},
    });
    for (name, value) in expected.as_object().context("an object")? {
        let same =
            row[name] == *value || row[name].as_f64().is_some_and(|n| Some(n) == value.as_f64());
        ensure!(same, "{name}: {row}");
    }
    Ok(())
}

#[test]
fn the_same_key_is_a_repeat_and_json_says_so() -> Result<()> {
    let at = Fixture::start()?;
    let send = ["send", "--service", "s", "--idempotency-key", "k", "--json"];
    let first = at.run(&send)?.expect(0)?.json()?;
    let again = at.run(&send)?.expect(0)?.json()?;
    assert_eq!((&first["repeat"], &again["repeat"]), (&json!(false), &json!(true)));
    assert_eq!((&first["id"], &first["idempotency_key"]), (&again["id"], &json!("k")));
    Ok(())
}

#[test]
fn files_of_every_layout_and_standard_input_are_sent_whole() -> Result<()> {
    let at = Fixture::start()?;
    let event = |service: &str, n: usize| json!({"service": service, "metadata": {"n": n}});
    let events = |service| (0..2_500).map(|n| event(service, n)).collect::<Vec<_>>();
    let joined = |service, by: &str| {
        events(service).iter().map(Value::to_string).collect::<Vec<_>>().join(by)
    };
    let pretty = serde_json::to_string_pretty(&events("array"))?;
    for (name, text) in [("lines", joined("lines", "\n")), ("array", pretty)] {
        let file = at.file(name, &text)?;
        let sent = at.run(&["send", "--file", &file, "--json"])?.expect(0)?.json()?;
        assert_eq!((&sent["accepted"], &sent["batches"]), (&json!(2_500), &json!(3)), "{sent}");
    }
    let url = at.url();
    let typed = ["--url", &url, "send", "--file", "-", "--batch", "700"];
    let sent = run_reading(&joined("input", "\n\n"), &typed)?.expect(0)?;
    ensure!(sent.out.starts_with("2,500 accepted, 0 repeats, 0 refused; 4 batches"), "{sent:?}");
    drained(&at.server, SOON)?;
    for service in ["lines", "array", "input"] {
        let rows = rows(&at.server, service)?;
        let numbers: BTreeSet<&str> =
            rows.iter().filter_map(|row| row["metadata"]["n"].as_str()).collect();
        assert_eq!((rows.len(), numbers.len()), (2_500, 2_500), "{service}");
    }
    Ok(())
}

/// Every third line is wrong, which is more than one answer lists.
fn every_third_is_wrong(lines: usize) -> String {
    let line = |n| match n % 3 {
        0 => "{\"service\":\"s\",\"latency_ms\":\"slow\"}\n".to_owned(),
        _ => format!("{{\"service\":\"s\",\"metadata\":{{\"n\":{n}}}}}\n"),
    };
    (0..lines).map(line).collect()
}

#[test]
fn each_refused_line_is_told_with_its_reason_and_kept_and_costs_no_other() -> Result<()> {
    let at = Fixture::start()?;
    let file = at.file("f", &every_third_is_wrong(1_500))?;
    let kept = at.dir.path().join("kept").display().to_string();
    let sent = at.run(&["send", "--file", &file, "--rejected", &kept])?.expect(3)?;
    ensure!(sent.out.starts_with("1,000 accepted, 0 repeats, 500 refused"), "{sent:?}");
    ensure!(sent.err.starts_with("line 1: wrong_type: "), "{sent:?}");
    ensure!(sent.err.contains("… and 480 lines more"), "{sent:?}");
    let kept = fs::read_to_string(kept)?;
    let kept: Vec<Value> =
        kept.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?;
    assert_eq!(kept.len(), 500);
    for (place, refused) in kept.iter().enumerate() {
        assert_eq!(refused["line"], json!(place * 3 + 1));
        assert_eq!(refused["code"], "wrong_type");
        ensure!(refused["message"].as_str().is_some_and(|message| message.contains("latency_ms")));
        assert_eq!(refused["text"], "{\"service\":\"s\",\"latency_ms\":\"slow\"}");
    }
    drained(&at.server, SOON)?;
    assert_eq!(rows(&at.server, "s")?.len(), 1_000);
    Ok(())
}

#[test]
fn a_file_of_which_nothing_is_accepted_is_refused_line_by_line() -> Result<()> {
    let at = Fixture::start()?;
    let file = at.file("f", "nothing\n\n{\"kind\":\"x\"}\n[]\n")?;
    let sent = at.run(&["send", "--file", &file, "--json"])?.expect(3)?;
    assert_eq!(sent.json()?["refused"], 3);
    let sent = at.run(&["send", "--file", &file])?.expect(3)?;
    for told in ["line 1: invalid_json: ", "line 3: missing_field: ", "line 4: not_an_object: "] {
        ensure!(sent.err.contains(told), "{sent:?}");
    }
    Ok(())
}

#[test]
fn a_server_that_is_not_there_costs_the_time_and_says_how_to_go_on() -> Result<()> {
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let url = format!("http://{free}");
    let dir = tempfile::TempDir::new()?;
    let file = dir.path().join("f");
    fs::write(&file, "{\"service\":\"s\"}\n")?;
    let file = file.display().to_string();
    let typed = ["--url", &url, "send", "--file", &file, "--retry-for", "500ms"];
    let sent = run(&typed)?.expect(1)?;
    let told = [
        "trying again",
        "the server takes no connection",
        "0 events, those in front of line 1, are done",
        "go on with the same file, --skip 0 and --idempotency-key",
        "what to do: Start the server",
    ];
    for text in told {
        ensure!(sent.err.contains(text), "{text}: {sent:?}");
    }
    Ok(())
}

#[test]
fn a_limit_is_waited_for_as_long_as_the_server_asks() -> Result<()> {
    let key = "key-of-hot";
    let at = Fixture::with(|launch, dir| {
        let file = xtask::tenants::write_file(dir, &[(xtask::tenants::HOT, 60)])?;
        Ok(launch.flag("--tenants", &file.display().to_string()))
    })?;
    let secret = at.file("key", key)?;
    // More requests than the burst of 10.
    let text: String =
        (0..14).map(|n| format!("{{\"service\":\"s\",\"kind\":\"{n}\"}}\n")).collect();
    let file = at.file("f", &text)?;
    let typed = ["send", "--file", &file, "--batch", "1", "--api-key-file", &secret, "--json"];
    let sent = at.run(&typed)?.expect(0)?.json()?;
    assert_eq!((&sent["accepted"], &sent["batches"]), (&json!(14), &json!(14)), "{sent}");
    ensure!(sent["retries"].as_u64().is_some_and(|retries| retries >= 1), "{sent}");
    Ok(())
}

/// The promise of the whole command: what is sent again is stored once.
#[test]
fn a_server_that_is_killed_twice_in_the_middle_has_each_line_exactly_once() -> Result<()> {
    let dir = tempfile::TempDir::new()?;
    let data = dir.path().join("data");
    let mut server = launch(&data)?.flag("--listen", OWN_HOSTS[0]).start()?;
    server.wait_ready(SOON)?;
    let address = server.listen().to_string();
    let url = format!("http://{address}");
    let typed = ["--url", &url, "send", "--file", "-", "--batch", "200", "--json"];
    let mut child = begin(program(&typed).stdin(Stdio::piped()))?;
    let third = |part: usize| -> String {
        let numbers = part * LINES / 3..(part + 1) * LINES / 3;
        numbers.map(|n| format!("{{\"service\":\"s\",\"metadata\":{{\"n\":{n}}}}}\n")).collect()
    };
    // What follows a third is given when its server is dead, so that each server has its share.
    let feed = Feed::of(&mut child)?;
    feed.give(third(0));
    for part in [1, 2] {
        // Since its own start.
        let some = || Ok(in_place(&server.samples()?, "accepted") >= (LINES / 4) as f64);
        wait_for(SOON, "most of a third", some)?;
        server.kill().with_context(|| format!("kill {part}"))?;
        feed.give(third(part));
        server = launch(&data)?.flag("--listen", &address).start()?;
    }
    drop(feed);
    let sent = ended(child)?.expect(0)?.json()?;
    assert_eq!(sent["accepted"], json!(LINES), "{sent}");
    drained(&server, SOON)?;
    let rows = rows(&server, "s")?;
    let numbers: BTreeSet<&str> =
        rows.iter().filter_map(|row| row["metadata"]["n"].as_str()).collect();
    assert_eq!((rows.len(), numbers.len()), (LINES, LINES));
    Ok(())
}

#[test]
fn a_run_that_is_started_again_with_its_key_doubles_nothing() -> Result<()> {
    let at = Fixture::start()?;
    let text: String =
        (0..3_000).map(|n| format!("{{\"service\":\"s\",\"metadata\":{{\"n\":{n}}}}}\n")).collect();
    let half = at.file("half", &text[..text.len() / 2])?;
    // The cut is in the middle of a line.
    at.run(&["send", "--file", &half, "--idempotency-key", "run"])?.expect(3)?;
    let whole = at.file("whole", &text)?;
    let sent =
        at.run(&["send", "--file", &whole, "--idempotency-key", "run", "--json"])?.expect(0)?;
    let sent = sent.json()?;
    let [accepted, repeats] = ["accepted", "repeats"].map(|name| sent[name].as_u64());
    ensure!(repeats > Some(1_000) && accepted > Some(1_000), "{sent}");
    drained(&at.server, SOON)?;
    assert_eq!(rows(&at.server, "s")?.len(), 3_000);
    let counted = at.server.client().send(&Request::get("/v1/counts?window=1d"))?.json()?;
    assert_eq!(counted["total"], 3_000);
    Ok(())
}

#[test]
fn a_run_that_failed_says_how_to_go_on_and_doubles_nothing() -> Result<()> {
    let dir = tempfile::TempDir::new()?;
    let data = dir.path().join("data");
    let mut server = launch(&data)?.flag("--listen", OWN_HOSTS[1]).start()?;
    let address = server.listen().to_string();
    // Some lines can't be sent: they count as events all the same.
    let line = |n: usize| match n % 1_000 {
        0 => "{broken\n".to_owned(),
        _ => format!("{{\"service\":\"s\",\"metadata\":{{\"n\":{n}}}}}\n"),
    };
    let lines: Vec<String> = (1..=LINES).map(line).collect();
    let file = dir.path().join("f");
    fs::write(&file, lines.concat())?;
    let (url, file) = (format!("http://{address}"), file.display().to_string());
    let typed = |file| ["--url", &url, "send", "--file", file, "--batch", "100", "--json"];
    let first = [&typed("-")[..], &["--retry-for", "300ms"]].concat();
    let mut child = begin(program(&first).stdin(Stdio::piped()))?;
    let feed = Feed::of(&mut child)?;
    feed.give(lines[..10_000].concat());
    wait_for(SOON, "some lines", || Ok(in_place(&server.samples()?, "accepted") >= 5_000.0))?;
    server.kill()?;
    feed.give(lines[10_000..].concat());
    drop(feed);
    let failed = ended(child)?.expect(1)?.error()?;
    let what = failed["what"].as_str().context("what")?;
    let behind = |word: &str| {
        let rest = what.split_once(word).map(|(_, rest)| rest.trim_start());
        rest.and_then(|rest| rest.split([' ', ':']).next()).context("how to go on")
    };
    let (skip, key) = (behind("--skip")?, behind("--idempotency-key")?);
    ensure!(skip.parse::<usize>()? >= 4_900, "{failed}");
    server = launch(&data)?.flag("--listen", &address).start()?;
    server.wait_ready(SOON)?;
    let more = ["--skip", skip, "--idempotency-key", key];
    run(&[&typed(&file)[..], &more].concat())?.expect(3)?;
    drained(&server, SOON)?;
    let rows = rows(&server, "s")?;
    let numbers: BTreeSet<&str> =
        rows.iter().filter_map(|row| row["metadata"]["n"].as_str()).collect();
    assert_eq!((rows.len(), numbers.len()), (LINES - LINES / 1_000, LINES - LINES / 1_000));
    Ok(())
}

#[test]
fn what_waiting_does_not_change_is_told_at_once() -> Result<()> {
    let at = Fixture::with(|launch, _| Ok(launch.flag("--ack-max", "durable")))?;
    let began = std::time::Instant::now();
    let sent = at.run(&["send", "--service", "s", "--ack", "stored", "--json"])?.expect(1)?;
    assert_eq!(sent.error()?["code"], "ack_not_available");
    ensure!(began.elapsed() < SOON, "it waited");
    at.run(&["send", "--service", "s", "--retry-for", "1h"])?.expect(2)?;
    Ok(())
}

#[test]
fn a_file_and_a_pulse_are_not_sent_at_once() -> Result<()> {
    for typed in [&[][..], &["--kind", "x"], &["--file", "f", "--kind", "x"], &["--batch", "3"]] {
        run(&[&["send"], typed].concat())?.expect(2)?;
    }
    run(&["send", "--file", "f", "--service", "s"])?.expect(2)?;
    let none = run(&["send", "--file", "no-such-file"])?.expect(1)?;
    ensure!(none.err.starts_with("pulsemesh: read no-such-file: No such file"), "{none:?}");
    Ok(())
}
