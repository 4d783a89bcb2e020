//! What an answer, or none, means for a person: what is wrong and what to do. Pure.

use crate::code::Code;

use super::http::{Answer, CallError, Target};

/// Something that does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What is wrong.
    pub(super) wrong: String,
    /// What to do.
    pub(super) advice: String,
}

impl Finding {
    pub(super) fn new(wrong: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), advice: advice.into() }
    }
}

const NOT_OURS: &str = "something other than pulsemesh-ingest listens here, or a proxy in front \
                        of it: check host, port and path (pulses go to 8080, admin is 8081)";

/// What it means that there was no answer from `target`.
pub(super) fn no_answer(error: &CallError, target: &Target) -> Finding {
    match error {
        CallError::Resolve(error) => Finding::new(
            format!("the host of {target} has no address: {error}"),
            "check the name; inside a cluster it is service.namespace",
        ),
        CallError::Connect(error) => Finding::new(
            format!("{target} takes no connection: {error}"),
            "start pulsemesh-ingest, check the port, and see that --listen is not 127.0.0.1 when \
             it is asked from elsewhere",
        ),
        CallError::Broken(error) => Finding::new(
            format!("the connection to {target} broke: {error}"),
            "see the log of the process: it may have stopped or refused the connection",
        ),
        CallError::Timeout(time) => Finding::new(
            format!("{target} gave no answer within {} ms", time.as_millis()),
            "see whether a firewall or network policy drops the packets, or whether the process \
             is overloaded; --timeout waits longer",
        ),
        CallError::NotHttp => Finding::new(format!("{target} does not speak HTTP/1.1"), NOT_OURS),
        CallError::TooLarge => Finding::new(format!("{target} answers without end"), NOT_OURS),
    }
}

/// What it means that `answer` is not the one that was hoped for.
pub(super) fn refused(answer: &Answer) -> Finding {
    let problem = answer.json();
    let field = |name: &str| {
        problem.as_ref().and_then(|problem| problem.get(name)?.as_str().map(str::to_owned))
    };
    let code = field("code");
    let mut wrong = format!("the answer is {}", answer.status);
    for part in [&code, &field("title"), &field("detail")].into_iter().flatten() {
        wrong.push_str(": ");
        wrong.push_str(part);
    }
    let known = Code::ALL.iter().copied().find(|known| Some(known.as_str()) == code.as_deref());
    let mut advice = known.map_or_else(|| by_status(answer.status), by_code).to_owned();
    if let Some(seconds) = answer.retry_after {
        advice.push_str(&format!("; it asks to try again in {seconds} s"));
    }
    Finding::new(wrong, advice)
}

/// What it means that an answer came with the right status and the wrong content.
pub(super) fn not_ours(what: &str) -> Finding {
    Finding::new(what, NOT_OURS)
}

fn by_status(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "a proxy or gateway wants credentials that this check does not send: check \
                      the process itself, past it"
        }
        408 | 504 => "the process or a proxy waited too long: see its log and its load",
        429 => "a limit on requests is reached, here or at a proxy: wait",
        502 => "a proxy answers and does not reach the process: see whether it runs and is ready",
        503 => "the process or a proxy has no capacity: ask /readyz?verbose of the admin listener",
        500..=599 => "see the log of the process for the error",
        _ => NOT_OURS,
    }
}

fn by_code(code: Code) -> &'static str {
    match code {
        Code::LogFull => {
            "the store is behind or down: ask /readyz?verbose of the admin listener, see \
             pulsemesh_sink_oldest_unstored_age_seconds, or raise --log-budget"
        }
        Code::DiskFull => "free space on the disk of --data-dir; it goes on by itself",
        Code::LogFailed => "see the log of the process for the error of the disk",
        Code::OverShare => "the store is behind, and this tenant holds the most: wait, or add room",
        Code::Overloaded => "more is in flight than --connections-max or --bytes-in-flight allow",
        Code::BufferFull => "the store is behind: raise --buffer-size, or ask for ?ack=durable",
        Code::ReservationsFull => "raise --idempotency-keys-max, or shorten --idempotency-window",
        Code::IdempotencyUnavailable => {
            "what --idempotency names is down: ask /readyz?verbose of the admin listener"
        }
        Code::AckNotAvailable => "ask for a lower level, or raise --ack-max",
        Code::NotStoredInTime | Code::StoreUnavailable => {
            "the store is down or slow: ask /readyz?verbose of the admin listener"
        }
        Code::Stopping => "the process is stopping: wait for the next one",
        Code::NoApiKey => "tenants are configured: give a key with --api-key-file",
        Code::UnknownApiKey => "see that the key is whole, and that its hash is in --tenants",
        Code::NotPermitted => "this check sends and reads: use a key of kind both",
        Code::NotFound | Code::MethodNotAllowed => NOT_OURS,
        Code::Internal => "see the log of the process, and report it as a defect",
        _ => "the process refuses the pulse of this check: see that both have the same version",
    }
}
