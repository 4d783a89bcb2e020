//! The same pulse again: one row, whatever the client repeats.

use anyhow::Result;
use serde_json::Value;
use xtask::client::Request;
use xtask::ledger::{drained, in_place};

use crate::support::{Fixture, SOON, launch, rows};

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap_or("no id").to_owned()
}

#[test]
fn an_event_id_again_is_the_same_row_and_with_another_body_it_is_refused() -> Result<()> {
    let mut fixture = Fixture::start()?;
    let body = r#"{"service_name":"a","event_id":"order-1","latency_ms":1}"#;
    let first = id(&fixture.post("/pulse", body, 202)?);
    assert_eq!(id(&fixture.post("/pulse", body, 202)?), first);
    let other = r#"{"service_name":"a","event_id":"order-1","latency_ms":2}"#;
    assert_eq!(fixture.post("/pulse", other, 422)?["code"], "key_reused");
    let batch = fixture.post("/pulse", &format!("[{body},{body}]"), 202)?;
    assert_eq!((&batch["accepted"], &batch["duplicates"]), (&0.into(), &2.into()), "{batch}");

    let samples = drained(&fixture.server, SOON)?;
    assert_eq!(in_place(&samples, "accepted"), 1.0);
    fixture.server.kill()?;
    fixture.server = launch(fixture.dir.path()).start()?;
    assert_eq!(id(&fixture.post("/pulse", body, 202)?), first, "after a crash");
    drained(&fixture.server, SOON)?;
    assert_eq!(rows(&fixture.server, "a")?.len(), 1);
    Ok(())
}

#[test]
fn an_idempotency_key_in_the_header_names_one_request() -> Result<()> {
    let fixture = Fixture::start()?;
    let send = |body: &str| {
        fixture.send(&Request::json("/pulse", body).header("idempotency-key", "key-1"))
    };
    let first = send(r#"{"service_name":"a"}"#)?;
    assert_eq!(first.status, 202, "{}", first.text());
    let again = send(r#"{"service_name":"a"}"#)?;
    assert_eq!((again.status, id(&again.json()?)), (202, id(&first.json()?)));
    assert_eq!(send(r#"{"service_name":"b"}"#)?.status, 422);
    drained(&fixture.server, SOON)?;
    let found = fixture.get("/v1/pulses?idempotency_key=key-1")?;
    assert!(found.to_string().contains(&id(&first.json()?)), "{found}");
    assert_eq!(rows(&fixture.server, "a")?.len(), 1);
    Ok(())
}

#[test]
fn a_uuid_of_the_client_is_kept_and_text_finds_its_row_again() -> Result<()> {
    let fixture = Fixture::start()?;
    let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
    for event_id in [uuid, "text/of a client"] {
        let body = format!(r#"{{"service_name":"a","event_id":"{event_id}"}}"#);
        let answer = fixture.post("/pulse?ack=stored", &body, 200)?;
        let target = event_id.replace('/', "%2F").replace(' ', "%20");
        let row = fixture.get(&format!("/v1/pulses/{target}"))?;
        assert_eq!(row["id"], answer["id"]);
    }
    assert_eq!(fixture.get(&format!("/v1/pulses/{uuid}"))?["id"], uuid);
    Ok(())
}
