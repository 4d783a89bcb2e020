//! One pulse from arguments.

use serde_json::{Map, Value, json};

use crate::EXIT_OK;
use crate::client::{Call, Client};
use crate::output::{Output, text};
use crate::retry::Retry;
use crate::target::Target;

use super::{PulseArguments, SendArguments};

/// Sends it, and prints its id.
///
/// # Errors
/// When the server refuses it, or is away for too long.
pub(super) fn send(
    client: &Client,
    arguments: &SendArguments,
    (service, key): (&str, &str),
    out: &mut Output,
) -> anyhow::Result<u8> {
    let body = event(service, &arguments.pulse).to_string();
    let target = Target::new("/pulse").with_some("ack", arguments.ack.as_ref());
    let call = Call::post(target).json(body.as_bytes()).idempotency_key(key);
    let json = out.json;
    let mut notice = |why: &str| super::report::notice(json, why);
    let answer = Retry::new(arguments.retry_for, &mut notice).send(client, &call)?;
    if !(200..300).contains(&answer.status) {
        return Err(client.refused(&call, &answer).into());
    }
    let receipt = answer.json().unwrap_or_default();
    let repeat = receipt["duplicate"] == true;
    if out.json {
        let (id, ack) = (&receipt["id"], &receipt["ack"]);
        out.json(&json!({"id": id, "ack": ack, "repeat": repeat, "idempotency_key": key}))?;
    } else {
        let word = if repeat { "was there before" } else { "accepted" };
        out.line(&format!("{}  {word} ({})", text(&receipt["id"]), text(&receipt["ack"])))?;
    }
    Ok(EXIT_OK)
}

fn event(service: &str, pulse: &PulseArguments) -> Value {
    let mut event = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        event.extend(value.map(|value| (name.to_owned(), value)));
    };
    let text = |text: &Option<String>| text.clone().map(Value::from);
    set("service", Some(service.into()));
    set("kind", text(&pulse.kind));
    set("event_time", pulse.event_time.map(|time| time.to_string().into()));
    set("event_id", text(&pulse.id));
    set("latency_ms", pulse.latency_ms.map(Value::from));
    set("status", text(&pulse.status));
    set("value", pulse.value.map(Value::from));
    set("user", text(&pulse.user));
    let metadata = pulse.metadata.iter().map(|(name, value)| (name.clone(), value.clone().into()));
    let metadata: Map<String, Value> = metadata.collect();
    set("metadata", Some(metadata).filter(|map| !map.is_empty()).map(Value::Object));
    set("payload", pulse.payload.clone());
    Value::Object(event)
}
