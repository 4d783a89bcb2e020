//! A pulse that is sent and read back, as a client of the server would.

use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::client::{Call, Client};
use crate::output::text;
use crate::target::Target;

use super::Finding;

/// What the pulses of checks belong to, here and in `pulsemesh-ingest check`.
const SERVICE: &str = "pulsemesh-check";
/// First pause before reading again: a batch at the usual interval is there after two.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Sends a pulse with this id.
pub(super) fn write(client: &Client, id: &str) -> Finding {
    let time = Timestamp::now().to_string();
    let pulse = json!({"service": SERVICE, "event_id": id, "event_time": time, "status": "ok"});
    let body = pulse.to_string();
    match client.ask_json(&Call::post(Target::new("/pulse")).json(body.as_bytes())) {
        Err(error) => error.into(),
        Ok(receipt) if receipt["id"] == *id => {
            Finding::ok(format!("a pulse is accepted ({})", text(&receipt["ack"])))
        }
        Ok(_) => Finding::fail(
            "the answer to a pulse does not hold its id",
            "Something other than pulsemesh-ingest answers: check --url.",
        ),
    }
}

/// Reads it. What was accepted is there once its batch is written.
pub(super) fn read_back(client: &Client, id: &str) -> Finding {
    let deadline = Instant::now() + client.timeout();
    let call = Call::get(Target::new("/v1/pulses").segment(id));
    let mut pause = PAUSE;
    loop {
        let answer = match client.call(&call) {
            Ok(answer) => answer,
            Err(error) => return error.into(),
        };
        let row = answer.json().unwrap_or_default();
        match answer.status {
            200 if row["id"] == *id && row["service"] == SERVICE => {
                return Finding::ok("the same pulse comes back");
            }
            404 | 429 | 503 if Instant::now() + pause < deadline => thread::sleep(pause),
            404 => {
                let time = client.timeout();
                return Finding::fail(
                    format!("the pulse was accepted, and is not there after {time:?}"),
                    "The store is behind or down: ask /readyz?verbose of the admin listener \
                     (--admin). --timeout waits longer.",
                );
            }
            _ => return client.refused(&call, &answer).into(),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
