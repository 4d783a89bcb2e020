//! Every endpoint's answer: its status, its shape and its code.

use std::io::Write;

use anyhow::Result;
use serde_json::Value;
use xtask::client::{Client, Request};
use xtask::flags;
use xtask::ledger::drained;

use crate::support::{Fixture, SOON, rows};

#[test]
fn one_pulse_is_answered_short_and_many_are_counted() -> Result<()> {
    let fixture = Fixture::start()?;
    let good = r#"{"service_name":"a"}"#;
    for (ack, status) in [("memory", 202), ("durable", 202), ("stored", 200)] {
        let answer = fixture.post(&format!("/pulse?ack={ack}"), good, status)?;
        assert_eq!(answer["ack"], ack);
        assert_eq!(answer["id"].as_str().map(str::len), Some(36), "{answer}");
    }
    let answer = fixture.post("/pulse", &format!("[{good},{{}},{good}]"), 202)?;
    assert_eq!(
        (&answer["accepted"], &answer["rejected"], &answer["duplicates"]),
        (&2.into(), &1.into(), &0.into())
    );
    assert_eq!(answer["errors"][0]["index"], 1);
    assert_eq!(answer["errors"][0]["code"], "missing_field");
    assert!(answer.get("ids").is_none(), "{answer}");
    let answer = fixture.post("/pulse?ids=true", &format!("[{good},3]"), 202)?;
    assert_eq!(answer["ids"].as_array().map(Vec::len), Some(2), "{answer}");
    assert_eq!(answer["ids"][1], Value::Null);
    let answer = fixture.post("/pulse", "[{},{}]", 400)?;
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&0.into(), &2.into()));
    drained(&fixture.server, SOON)?;
    assert_eq!(rows(&fixture.server, "a")?.len(), 6);
    Ok(())
}

#[test]
fn a_bad_line_never_costs_a_good_one() -> Result<()> {
    let fixture = Fixture::start()?;
    let body = "{\"service_name\":\"a\"}\n{\"service_name\":\n\n{\"service_name\":\"a\"}";
    let response = fixture.send(&Request::lines("/pulse", body))?;
    assert_eq!(response.status, 202, "{}", response.text());
    let answer = response.json()?;
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&2.into(), &1.into()), "{answer}");
    assert_eq!(answer["errors"][0]["code"], "invalid_json");
    Ok(())
}

#[test]
fn three_shapes_become_the_same_pulse() -> Result<()> {
    let fixture = Fixture::start()?;
    for (path, body, kind) in [
        ("/pulse", r#"{"service_name":"x","kind":"k1","value":2.5}"#, "k1"),
        ("/ingest", r#"{"type":"k2","name":"n","value":2.5,"tags":{"service":"x"}}"#, "k2"),
        ("/events", r#"{"event_name":"k3","user_id":"u","service":"x","value":2.5}"#, "k3"),
    ] {
        let answer = fixture.post(&format!("{path}?ack=stored"), body, 200)?;
        let row = fixture.get(&format!("/v1/pulses/{}", answer["id"].as_str().unwrap_or("")))?;
        assert_eq!((&row["service"], &row["kind"]), (&"x".into(), &kind.into()), "{path}");
        assert_eq!(row["value"], 2.5, "{path}");
    }
    let answer = fixture.post("/ingest?ack=stored", r#"{"type":"k","name":"n"}"#, 200)?;
    let row = fixture.get(&format!("/v1/pulses/{}", answer["id"].as_str().unwrap_or("")))?;
    assert_eq!((&row["service"], &row["metadata"]["name"]), (&"default".into(), &"n".into()));
    Ok(())
}

#[test]
fn compressed_bodies_are_read() -> Result<()> {
    let fixture = Fixture::start()?;
    let body = br#"{"service_name":"packed"}"#;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body)?;
    for (encoding, packed) in [("gzip", gzip.finish()?), ("zstd", zstd::encode_all(&body[..], 1)?)]
    {
        let request = Request::json("/pulse", packed).header("content-encoding", encoding);
        let response = fixture.send(&request)?;
        assert_eq!(response.status, 202, "{encoding}: {}", response.text());
    }
    drained(&fixture.server, SOON)?;
    assert_eq!(rows(&fixture.server, "packed")?.len(), 2);
    Ok(())
}

/// Method, target, body, status, code.
const REFUSED: &[(&str, &str, &str, u16, &str)] = &[
    ("POST", "/pulse", "", 400, "empty_body"),
    ("POST", "/pulse", "[]", 400, "empty_body"),
    ("POST", "/pulse", "{", 400, "invalid_json"),
    ("POST", "/pulse", "3", 400, "not_an_object"),
    ("POST", "/pulse", "{}", 400, "missing_field"),
    ("POST", "/pulse", r#"{"service_name":""}"#, 400, "empty_service"),
    ("POST", "/pulse", r#"{"service_name":3}"#, 400, "wrong_type"),
    ("POST", "/pulse", r#"{"service_name":"a","service_name":"b"}"#, 400, "duplicate_key"),
    ("POST", "/pulse", r#"{"service_name":"a","service":"b"}"#, 400, "conflicting_fields"),
    ("POST", "/pulse", r#"{"service_name":"a","latency_ms":NaN}"#, 400, "not_a_number"),
    ("POST", "/pulse", r#"{"service_name":"a","latency_ms":-Infinity}"#, 400, "infinite_number"),
    ("POST", "/pulse", r#"{"service_name":"a","latency_ms":1e999}"#, 400, "number_out_of_range"),
    ("POST", "/pulse", r#"{"service_name":"a","latency_ms":"1"}"#, 400, "wrong_type"),
    ("POST", "/pulse", r#"{"service_name":"a","event_time":"soon"}"#, 400, "invalid_time"),
    ("POST", "/pulse", r#"{"service_name":"a","event_time":0}"#, 400, "event_time_too_old"),
    (
        "POST",
        "/pulse",
        r#"{"service_name":"a","event_time":"2999-01-01T00:00:00Z"}"#,
        400,
        "event_time_in_future",
    ),
    ("POST", "/pulse", r#"{"service_name":"a","event_id":""}"#, 400, "invalid_id"),
    ("POST", "/pulse?ack=maybe", r#"{"service_name":"a"}"#, 400, "invalid_parameter"),
    ("POST", "/pulse?colour=red", r#"{"service_name":"a"}"#, 400, "invalid_parameter"),
    ("POST", "/nowhere", "{}", 404, "not_found"),
    ("PUT", "/pulse", "{}", 405, "method_not_allowed"),
    ("GET", "/pulse", "", 405, "method_not_allowed"),
    ("GET", "/v1/pulses", "", 400, "invalid_parameter"),
    ("GET", "/v1/pulses?service=a&limit=0", "", 400, "invalid_parameter"),
    ("GET", "/v1/pulses?service=a&limit=x", "", 400, "invalid_parameter"),
    ("GET", "/v1/pulses?service=a&cursor=%21", "", 400, "invalid_parameter"),
    ("GET", "/v1/pulses?service=a&from=later", "", 400, "invalid_parameter"),
    ("GET", "/v1/pulses/00000000-0000-7000-8000-000000000000", "", 404, "not_found"),
    ("GET", "/v1/counts?window=0s", "", 400, "invalid_parameter"),
];

#[test]
fn every_refusal_is_a_problem_document_with_its_code() -> Result<()> {
    let fixture = Fixture::start()?;
    for (method, target, body, status, code) in REFUSED {
        let mut request = Request::new(method, target);
        if !body.is_empty() || *method == "POST" {
            request = request.header("content-type", "application/json").body(*body);
        }
        let response = fixture.send(&request)?;
        let context = format!("{method} {target} {body}: {} {}", response.status, response.text());
        assert_eq!(response.status, *status, "{context}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"), "{context}");
        let problem = response.json()?;
        assert_eq!(problem["code"], *code, "{context}");
        assert_eq!(problem["status"], *status, "{context}");
        assert!(problem["title"].is_string(), "{context}");
    }
    Ok(())
}

#[test]
fn a_level_above_what_the_server_gives_is_refused_and_never_lowered() -> Result<()> {
    let fixture = Fixture::with(|launch| launch.flag(flags::ACK_MAX, "durable"))?;
    let body = r#"{"service_name":"a"}"#;
    assert_eq!(fixture.post("/pulse?ack=durable", body, 202)?["ack"], "durable");
    assert_eq!(fixture.post("/pulse?ack=stored", body, 503)?["code"], "ack_not_available");
    drained(&fixture.server, SOON)?;
    assert_eq!(rows(&fixture.server, "a")?.len(), 1);
    Ok(())
}

#[test]
fn strange_headers_are_refused_by_name() -> Result<()> {
    let fixture = Fixture::start()?;
    let pulse = || Request::new("POST", "/pulse").body(r#"{"service_name":"a"}"#);
    for (name, value, status, code) in [
        ("content-type", "text/html", 415, "unsupported_media_type"),
        ("content-encoding", "br", 415, "unsupported_encoding"),
        ("content-encoding", "gzip", 400, "corrupt_encoding"),
        ("content-encoding", "zstd", 400, "corrupt_encoding"),
    ] {
        let response = fixture.send(&pulse().header(name, value))?;
        assert_eq!(response.status, status, "{name}: {value}: {}", response.text());
        assert_eq!(response.json()?["code"], code, "{name}: {value}");
    }
    Ok(())
}

#[test]
fn bounds_of_an_event_are_exact() -> Result<()> {
    let fixture = Fixture::start()?;
    let metadata = |entries: usize| {
        let entries: Vec<_> = (0..entries).map(|n| format!(r#""k{n}":"v""#)).collect();
        format!(r#"{{"service_name":"a","metadata":{{{}}}}}"#, entries.join(","))
    };
    let service = |bytes: usize| format!(r#"{{"service_name":"{}"}}"#, "s".repeat(bytes));
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"service_name":"a","payload":{open}{close}}}"#)
    };
    let payload =
        |bytes: usize| format!(r#"{{"service_name":"a","payload":"{}"}}"#, "p".repeat(bytes - 2));
    for (fits, too_much, code) in [
        (metadata(64), metadata(65), "too_many_metadata"),
        (service(255), service(256), "string_too_long"),
        (nested(31), nested(32), "nesting_too_deep"),
        (payload(65_536), payload(65_537), "payload_too_large"),
    ] {
        fixture.post("/pulse", &fits, 202)?;
        let refused = fixture.post("/pulse", &too_much, 400)?;
        assert_eq!(refused["code"], code);
    }
    let batch = |events: usize| vec![r#"{"service_name":"a"}"#; events].join("\n");
    let response = fixture.send(&Request::lines("/pulse", batch(10_000)))?;
    assert_eq!(response.status, 202, "{}", response.text());
    let response = fixture.send(&Request::lines("/pulse", batch(10_001)))?;
    assert_eq!((response.status, &response.json()?["code"]), (413, &"batch_too_long".into()));
    Ok(())
}

#[test]
fn the_platform_and_people_can_ask_for_state() -> Result<()> {
    let fixture = Fixture::start()?;
    assert_eq!(fixture.get("/health")?["status"], "ok");
    let mut admin = Client::new(fixture.server.admin());
    for path in ["/livez", "/readyz"] {
        assert_eq!(admin.get(path)?.status, 200, "{path}");
    }
    assert!(admin.get("/version")?.text().contains(env!("CARGO_PKG_VERSION")));
    for mut client in [admin, fixture.server.client()] {
        let response = client.get("/metrics")?;
        assert_eq!(response.status, 200);
        assert!(response.text().contains("pulsemesh_requests_total"), "{}", response.text());
    }
    Ok(())
}
