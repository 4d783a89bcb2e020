//! Sends events in one request until each of them is accepted or refused for good, and says
//! which. A request that is sent again has the same key and the same events.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::client::{Answer, Call, CallError, Client};
use crate::problem::{code, passes};
use crate::retry::Retry;
use crate::target::Target;

use super::source::Event;

/// Errors that one answer lists: more events are asked about again, so many at a time.
const ERRORS_LISTED_MAX: usize = 100;
/// What an event is called that was refused without a word.
const UNKNOWN: &str = "refused";
/// It is kept on the server: asked about again it would be kept once more.
const DEAD_LETTERED: &str = "dead_lettered";

/// An event that was refused for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) event: Event,
    pub(super) code: String,
    pub(super) message: String,
}

/// How the events of a batch ended.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) accepted: u64,
    /// They were there before; none of a batch that was sent twice, where they may be our own.
    pub(super) repeats: u64,
    pub(super) refused: Vec<Refused>,
    pub(super) ack: String,
}

#[derive(Debug, Deserialize)]
struct Receipt {
    accepted: u64,
    duplicates: u64,
    #[serde(default)]
    ack: String,
    errors: Vec<EventError>,
    #[serde(default)]
    unlisted_errors: BTreeMap<String, u64>,
    #[serde(default)]
    ids: Vec<Option<String>>,
}

#[derive(Debug, Deserialize)]
struct EventError {
    index: usize,
    code: String,
    message: String,
}

/// Sends `events` to `target`, which asks for ids.
///
/// # Errors
/// When the server refuses the request itself, or is away for too long.
pub(super) fn send(
    client: &Client,
    target: &Target,
    (events, key): (Vec<Event>, &str),
    retry: &mut Retry<'_>,
) -> Result<Outcome, CallError> {
    let mut outcome = Outcome::default();
    let mut unexplained = post(client, target, (events, key), retry, &mut outcome)?;
    let mut round = 0;
    while !unexplained.is_empty() {
        round += 1;
        let rest = unexplained.split_off(unexplained.len().min(ERRORS_LISTED_MAX));
        let key = format!("{key}.{round}");
        let left = post(client, target, (unexplained, &key), retry, &mut outcome)?;
        outcome.refused.extend(left.into_iter().map(|event| silent(event, UNKNOWN)));
        unexplained = rest;
    }
    outcome.refused.sort_by_key(|refused| refused.event.line);
    Ok(outcome)
}

fn silent(event: Event, code: &str) -> Refused {
    let message = format!("the answer tells the reasons of {ERRORS_LISTED_MAX} events alone");
    Refused { event, code: code.to_owned(), message }
}

/// Posts events once for good; gives those that were refused and not explained.
fn post(
    client: &Client,
    target: &Target,
    (events, key): (Vec<Event>, &str),
    retry: &mut Retry<'_>,
    outcome: &mut Outcome,
) -> Result<Vec<Event>, CallError> {
    let body = events.iter().map(|event| event.text.as_slice()).collect::<Vec<_>>().join(&b'\n');
    let call = Call::post(target.clone()).lines(&body).idempotency_key(key);
    let before = retry.retries;
    let receipt = loop {
        let answer = retry.send(client, &call)?;
        let Some(receipt) = receipt(&answer) else { return Err(client.refused(&call, &answer)) };
        let Some(why) = receipt.passing() else { break receipt };
        if !retry.wait(&why, answer.retry_after()) {
            return Err(client.refused(&call, &answer));
        }
    };
    let again = retry.retries > before;
    outcome.accepted += receipt.accepted + if again { receipt.duplicates } else { 0 };
    outcome.repeats += if again { 0 } else { receipt.duplicates };
    outcome.ack.clone_from(&receipt.ack);
    Ok(take_refused(events, receipt, &mut outcome.refused))
}

/// A receipt, also of a batch of which nothing was accepted.
fn receipt(answer: &Answer) -> Option<Receipt> {
    serde_json::from_slice(&answer.body).ok()
}

impl Receipt {
    /// Why some event may be taken when the batch is sent again.
    fn passing(&self) -> Option<String> {
        let listed = self.errors.iter().map(|error| (error.code.as_str(), error.message.as_str()));
        let unlisted = self.unlisted_errors.keys().map(|code| (code.as_str(), ""));
        let passing = |(name, _): &(&str, &str)| code(name).is_some_and(passes);
        let (name, message) = listed.chain(unlisted).find(passing)?;
        Some(format!("some events are refused for now: {name}: {message}"))
    }
}

/// Moves those that were refused with a reason; gives those without.
fn take_refused(events: Vec<Event>, receipt: Receipt, refused: &mut Vec<Refused>) -> Vec<Event> {
    let listed: BTreeMap<usize, EventError> =
        receipt.errors.into_iter().map(|error| (error.index, error)).collect();
    let without_id = receipt.ids.iter().enumerate().filter(|(_, id)| id.is_none());
    let unlisted: BTreeSet<usize> =
        without_id.map(|(index, _)| index).filter(|index| !listed.contains_key(index)).collect();
    let unlisted_codes = receipt.unlisted_errors;
    let kept = unlisted_codes.contains_key(DEAD_LETTERED);
    let one_code = unlisted_codes.keys().next().filter(|_| unlisted_codes.len() == 1);
    let mut unexplained = Vec::new();
    for (index, event) in events.into_iter().enumerate() {
        if let Some(EventError { code, message, .. }) = listed.get(&index) {
            let (code, message) = (code.clone(), message.clone());
            refused.push(Refused { event, code, message });
        } else if unlisted.contains(&index) && kept {
            refused.push(silent(event, one_code.map_or(UNKNOWN, String::as_str)));
        } else if unlisted.contains(&index) {
            unexplained.push(event);
        }
    }
    unexplained
}
