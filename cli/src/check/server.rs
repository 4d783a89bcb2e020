//! What the server says of itself: health, version, clock, what the key allows, limits, letters.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::client::{Answer, Call, CallError, Client};
use crate::output::{number, text};
use crate::pages::rows;
use crate::target::Target;

use super::{Finding, network};

/// Event times so far ahead are refused.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(10);
/// Clocks that are set over the network differ by far less. A `Date` has whole seconds.
const SKEW_MAX: SignedDuration = SignedDuration::from_secs(2);
const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The answer to the first request.
pub(super) struct Health {
    answer: Result<Answer, CallError>,
    /// In the middle between sending and receiving.
    at: Timestamp,
    took: Duration,
}

impl Health {
    pub(super) fn ask(client: &Client) -> Self {
        let start = Timestamp::now();
        let answer = client.ask(&Call::get(Target::new("/health")).keyless());
        let took = Timestamp::now().duration_since(start).unsigned_abs();
        let at = start.checked_add(took / 2).unwrap_or(start);
        Self { answer, at, took }
    }

    pub(super) fn error(&self) -> Option<&CallError> {
        self.answer.as_ref().err()
    }

    pub(super) fn finding(&self) -> Finding {
        match &self.answer {
            Err(error) => Finding::fail(error.what(), error.advice()),
            Ok(answer) if answer.json().is_some_and(|health| health["status"] == "ok") => {
                Finding::ok(format!("the server is well ({} ms)", self.took.as_millis()))
            }
            Ok(_) => Finding::fail(
                "/health is answered, and not by pulsemesh-ingest",
                "Check host and port: pulses go to 8080, and admin is 8081.",
            ),
        }
    }

    /// How far the server's clock is from ours.
    pub(super) fn clock(&self) -> Finding {
        let date = self.answer.as_ref().ok().and_then(|answer| answer.headers.get("date"));
        let date = date.and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok())
        else {
            let fix = "See whether a proxy takes the header Date away: clocks can't be compared.";
            return Finding::warn("the server does not say what time it is", fix);
        };
        // The fraction of a second that `Date` leaves out is half of one in the mean.
        let theirs = date.checked_add(Duration::from_millis(500)).unwrap_or(date);
        let behind = self.at.duration_since(theirs);
        skew(behind, SignedDuration::try_from(self.took / 2).unwrap_or_default())
    }
}

/// What it means that the server's clock is `behind` ours, give or take `doubt`.
fn skew(behind: SignedDuration, doubt: SignedDuration) -> Finding {
    let seconds = behind.abs().as_secs();
    let which = if behind.is_negative() { "ahead of" } else { "behind" };
    let detail = format!("the server's clock is {seconds} s {which} this machine's");
    let fix = "Set both clocks over the network (chrony, systemd-timesyncd).";
    if behind > AHEAD_MAX {
        let fix = format!("{fix} Pulses that tell their time are refused: event_time_in_future.");
        return Finding::fail(detail, fix);
    }
    if behind.abs() > SKEW_MAX + doubt {
        return Finding::warn(detail, fix);
    }
    Finding::ok("the clocks agree")
}

/// The build of the server, from its admin listener.
pub(super) fn version(admin: &Client) -> Finding {
    let version = match admin.ask_json(&Call::get(Target::new("/version")).keyless()) {
        Ok(version) => version,
        Err(error) => return error.into(),
    };
    let theirs = text(&version["version"]);
    let detail = format!("the server is {theirs} (revision {})", text(&version["revision"]));
    if theirs == OWN_VERSION {
        return Finding::ok(detail);
    }
    let fix = format!("This program is {OWN_VERSION}: use the one of the server's release.");
    Finding::warn(detail, fix)
}

/// Whether it would accept a pulse.
pub(super) fn ready(admin: &Client) -> Finding {
    let call = Call::get(Target::new("/readyz").with("verbose", "true")).keyless();
    let answer = match admin.call(&call) {
        Ok(answer) => answer,
        Err(error) => return error.into(),
    };
    let told = String::from_utf8_lossy(&answer.body).into_owned();
    let problems: Vec<&str> = told.lines().filter(|line| line.starts_with("[-]")).collect();
    let problems = problems.join(", ");
    match answer.status {
        200 if problems.is_empty() => Finding::ok("the server accepts pulses"),
        200 => Finding::warn(
            format!("the server accepts pulses, though {problems}"),
            "See the log of the server.",
        ),
        503 if !problems.is_empty() => Finding::fail(
            format!("the server is not ready: {problems}"),
            "See the log of the server; what passes by itself is told until it has.",
        ),
        _ => admin.refused(&call, &answer).into(),
    }
}

/// What a question that needs a key was answered.
pub(super) struct Access {
    answer: Result<Answer, CallError>,
}

impl Access {
    pub(super) fn ask(client: &Client) -> Self {
        Self { answer: client.call(&question()) }
    }

    fn status(&self) -> Option<u16> {
        self.answer.as_ref().ok().map(|answer| answer.status)
    }

    pub(super) fn may_read(&self) -> bool {
        self.status() == Some(200)
    }

    pub(super) fn finding(&self, client: &Client) -> Finding {
        let answer = match &self.answer {
            Ok(answer) => answer,
            Err(error) => return Finding::fail(error.what(), error.advice()),
        };
        match answer.status {
            200 if !is_open(client) => Finding::ok("the key is known, and may read"),
            200 if network::is_local(client) => {
                Finding::ok("nobody needs a key, within this machine")
            }
            200 => Finding::warn(
                "nobody needs a key: whoever reaches the server may read and send",
                "Configure tenants (--tenants of the server), unless this is a trial.",
            ),
            403 => Finding::warn(
                "the key is known, and may not read",
                "It can send. To ask for pulses use a key of kind read, both or admin.",
            ),
            401 if !client.has_key() => Finding::fail(
                "the server wants a key, and none is given",
                "Set PULSEMESH_API_KEY, or name a file with --api-key-file.",
            ),
            _ => client.refused(&question(), answer).into(),
        }
    }

    /// What is left of the tenant's limits.
    pub(super) fn limits(&self) -> Finding {
        let headers = self.answer.as_ref().map(|answer| &answer.headers);
        let header = |name| headers.ok().and_then(|headers| headers.get(name)?.to_str().ok());
        let (Some(policy), Some(left)) = (header("ratelimit-policy"), header("ratelimit")) else {
            return Finding::ok("none");
        };
        let detail = format!("{policy}; now {left}");
        if left.contains(";r=0") {
            let fix = "All of it is used: send more pulses with fewer requests, or have it raised.";
            return Finding::warn(detail, fix);
        }
        Finding::ok(detail)
    }
}

/// Cheap, and for whoever may read.
fn question() -> Call<'static> {
    Call::get(Target::new("/v1/counts").with("window", "1m"))
}

fn is_open(client: &Client) -> bool {
    client.call(&question().keyless()).is_ok_and(|answer| answer.status == 200)
}

/// How many dead letters wait for somebody.
pub(super) fn letters(client: &Client) -> Finding {
    let groups = match client.ask_json(&Call::get(Target::new("/v1/dead-letters/groups"))) {
        Ok(groups) => groups,
        Err(error) => return Finding::warn(error.what(), error.advice()),
    };
    let count = |group: &Value| group["count"].as_u64().unwrap_or_default();
    let groups = rows(&groups, "groups");
    let waiting: u64 = groups.iter().map(count).sum();
    if waiting == 0 {
        return Finding::ok("no dead letters wait");
    }
    let reasons: Vec<String> = groups.iter().map(|group| text(&group["reason"])).collect();
    let detail = format!("{} dead letters wait: {}", number(waiting), reasons.join(", "));
    Finding::warn(detail, "See why with `pulsemesh dlq groups`; then replay or discard them.")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn clocks_may_differ_by_what_can_not_be_known_and_a_little_more() {
        let cases = [
            (0, 0, Verdict::Ok),
            (-2, 0, Verdict::Ok),
            (3, 1, Verdict::Ok),
            (3, 0, Verdict::Warn),
            (-3, 0, Verdict::Warn),
            (-86_400, 0, Verdict::Warn),
            (601, 0, Verdict::Fail),
        ];
        for (behind, doubt, verdict) in cases {
            let of = SignedDuration::from_secs;
            assert_eq!(skew(of(behind), of(doubt)).verdict, verdict, "{behind} s");
        }
    }
}
