//! What is tried, in order. Each step gives what it found, or what is wrong; `None`: not asked
//! for.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::fs::{OsFs, read_file};

use super::CheckArguments;
use super::advice::{Finding, no_answer, not_ours, refused};
use super::http::{self, Answer, Target};

type Found = Result<String, Finding>;
type Attempt = fn(&CheckArguments, &str) -> Option<Found>;

/// Every step, in order, by name.
pub(super) const ALL: [(&str, Attempt); 5] = [
    ("connect", |arguments, _| Some(connect(arguments))),
    ("health", |arguments, _| Some(health(arguments))),
    ("ready", |arguments, _| Some(ready(arguments.admin.as_ref()?, arguments.timeout))),
    ("post", |arguments, id| Some(post(arguments, id))),
    ("read back", |arguments, id| Some(read_back(arguments, id))),
];

/// The service that pulses of checks belong to.
const SERVICE: &str = "pulsemesh-check";
/// Largest file that is read for a key: far above any key.
const KEY_FILE_BYTES_MAX: usize = 4096;
/// First pause before reading again: a batch at the usual interval is there after two.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

fn connect(arguments: &CheckArguments) -> Found {
    let target = &arguments.url;
    match http::connect(target, arguments.timeout) {
        Ok(stream) => Ok(match stream.peer_addr() {
            Ok(address) => format!("{target} is {address}"),
            Err(_) => target.to_string(),
        }),
        Err(error) => Err(no_answer(&error, target)),
    }
}

fn call(
    arguments: &CheckArguments,
    path: &str,
    body: Option<&str>,
    time: Duration,
) -> Result<Answer, Finding> {
    let target = &arguments.url;
    let key = arguments.api_key_file.as_deref().map(read_key).transpose()?;
    http::call(target, path, body, key.as_deref(), time).map_err(|error| no_answer(&error, target))
}

fn read_key(path: &Path) -> Result<String, Finding> {
    let wrong = |why: String| {
        let advice = "write the key that `pulsemesh-ingest tenant key` printed there, alone";
        Finding::new(format!("the key's file {} {why}", path.display()), advice)
    };
    let bytes = read_file(&OsFs, path, KEY_FILE_BYTES_MAX)
        .map_err(|error| wrong(format!("can't be read: {error}")))?;
    let text = String::from_utf8(bytes).ok().map(|text| text.trim().to_owned());
    text.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or_else(|| wrong("holds no key".to_owned()))
}

fn health(arguments: &CheckArguments) -> Found {
    let answer = call(arguments, "/health", None, arguments.timeout)?;
    if answer.status != 200 {
        return Err(refused(&answer));
    }
    match answer.json() {
        Some(health) if health["status"] == "ok" => Ok("the process says that it is well".into()),
        _ => Err(not_ours("/health does not answer {\"status\":\"ok\"}")),
    }
}

fn ready(admin: &Target, timeout: Duration) -> Found {
    let answer = http::call(admin, "/readyz?verbose", None, None, timeout)
        .map_err(|error| no_answer(&error, admin))?;
    let text = String::from_utf8_lossy(&answer.body);
    let problems: Vec<&str> = text.lines().filter(|line| line.starts_with("[-]")).collect();
    match answer.status {
        200 if problems.is_empty() => Ok("the process can accept pulses".to_owned()),
        200 => Ok(format!("the process can accept pulses, though {}", problems.join(", "))),
        503 if !problems.is_empty() => Err(Finding::new(
            format!("the process is not ready: {}", problems.join(", ")),
            "see the log of the process; a problem that passes is told here until it has",
        )),
        _ => Err(refused(&answer)),
    }
}

fn post(arguments: &CheckArguments, id: &str) -> Found {
    let now = Timestamp::now().to_string();
    let pulse = json!({
        "event_id": id, "service_name": SERVICE, "event_time": now, "status": "ok",
    });
    let answer = call(arguments, "/pulse", Some(&pulse.to_string()), arguments.timeout)?;
    if !matches!(answer.status, 200 | 202) {
        return Err(refused(&answer));
    }
    let receipt = answer.json().unwrap_or_default();
    match (receipt["id"].as_str(), receipt["ack"].as_str()) {
        (Some(given), Some(ack)) if given == id => {
            Ok(format!("{} at the level `{ack}`, id {id}", answer.status))
        }
        _ => Err(not_ours("the answer to POST /pulse does not hold the id that was sent")),
    }
}

/// What was acknowledged is readable once its batch is written: "not found" and "unavailable"
/// are asked again until the time is over.
fn read_back(arguments: &CheckArguments, id: &str) -> Found {
    let deadline = Instant::now() + arguments.timeout;
    let mut pause = PAUSE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(PAUSE);
        let answer = call(arguments, &format!("/v1/pulses/{id}"), None, left)?;
        match answer.status {
            200 => return row(&answer, id),
            404 | 429 | 503 if Instant::now() + pause < deadline => std::thread::sleep(pause),
            404 => {
                let time = arguments.timeout.as_millis();
                return Err(Finding::new(
                    format!("the pulse was acknowledged and can't be read after {time} ms"),
                    "the store is behind or down: ask /readyz?verbose of the admin listener, see \
                     pulsemesh_sink_oldest_unstored_age_seconds; --timeout waits longer",
                ));
            }
            _ => return Err(refused(&answer)),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn row(answer: &Answer, id: &str) -> Found {
    let row = answer.json().unwrap_or_default();
    let same = row["id"].as_str() == Some(id) && row["service"] == SERVICE;
    if same { Ok("the same pulse".to_owned()) } else { Err(not_ours("another pulse came back")) }
}
