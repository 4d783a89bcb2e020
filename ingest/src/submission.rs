//! What is asked of the ingestor and what it answers: the seam between the HTTP layer, which
//! alone knows statuses and bodies, and the path of a pulse, which knows neither.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use uuid::Uuid;

use crate::code::{Code, Reject};
use crate::erasure::Erasures;
use crate::log::frame::Trace;
use crate::pulse::Shape;
use crate::sink::drain::Whereabouts;
use crate::sink::replay::Replays;
use crate::store::Store;
use crate::tenant::Tenant;

/// How safe a pulse is when it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ack {
    /// Queued in the bounded memory buffer.
    Memory,
    /// In the log, synced.
    Durable,
    /// Written by every required sink.
    Stored,
}

impl Ack {
    /// Its name in settings, requests, answers and labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Durable => "durable",
            Self::Stored => "stored",
        }
    }

    /// The level of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Memory, Self::Durable, Self::Stored].into_iter().find(|ack| ack.as_str() == name)
    }
}

/// How a body holds its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One object, an array of objects, or objects one behind the other.
    Json,
    /// One object a line (NDJSON).
    Lines,
}

/// One request's events, as they came.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// Whose.
    pub tenant: &'a Tenant,
    /// Which fields the events may have.
    pub shape: Shape,
    /// How the body holds them.
    pub format: Format,
    /// The body, decompressed.
    pub body: &'a [u8],
    /// The level that was asked for; `None`: the server's default.
    pub ack: Option<Ack>,
    /// The `Idempotency-Key` header.
    pub idempotency_key: Option<&'a str>,
    /// Where the request belongs in a distributed trace.
    pub trace: Option<Trace>,
    /// Whether the answer must hold the id of each event.
    pub ids: bool,
}

/// What became of a request of which at least one event was not refused, or of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The level that was given.
    pub ack: Ack,
    /// Events accepted now (those that were dropped on overflow included).
    pub accepted: usize,
    /// Events that were accepted before, under the same id or key.
    pub duplicates: usize,
    /// Events refused, each with its reason.
    pub errors: Vec<EventError>,
    /// The id of each event in the order of the request, `None` where it was refused; filled
    /// for a single event, and for a batch when it was asked for.
    pub ids: Vec<Option<Uuid>>,
    /// Whether the body was one single object, which is answered in the short form.
    pub single: bool,
}

/// One event of a batch that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventError {
    /// Its place in the request, from 0.
    pub index: usize,
    /// Why.
    pub reject: Reject,
}

/// A whole request that was refused: none of its events was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {}", reject.code.as_str(), reject.message)]
pub struct Refusal {
    /// Why.
    pub reject: Reject,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal that may be tried again after `retry_after`.
    pub fn later(code: Code, retry_after: Duration) -> Self {
        Self { reject: code.into(), retry_after: Some(retry_after) }
    }
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        Self { reject, retry_after: None }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::from(Reject::from(code))
    }
}

/// What the HTTP layer needs of the ingestor.
pub trait Intake: Send + Sync + 'static {
    /// Decides from what the headers tell, before the body is read: level, budgets, shares.
    /// `bytes` is the body's declared length, 0 where it is not known.
    fn admit(&self, tenant: &Tenant, ack: Option<Ack>, bytes: u64) -> Result<(), Refusal>;

    /// Judges, logs and acknowledges the events of one request. Returns when the level that was
    /// asked for is reached. Dropping the future abandons the wait, not what was logged.
    fn submit(
        &self,
        submission: Submission<'_>,
    ) -> impl Future<Output = Result<Receipt, Refusal>> + Send;

    /// What a thread with many submissions runs beside them, so that waking them costs little.
    /// Never resolves; stays on its thread.
    fn attend(&self) -> impl Future<Output = ()> + 'static {
        std::future::pending()
    }

    /// The id that was accepted under an idempotency key within the window, if there is one.
    fn id_of_key(&self, tenant: &str, key: &str) -> impl Future<Output = Option<Uuid>> + Send;

    /// The store that queries ask.
    fn store(&self) -> Option<Arc<dyn Store>>;

    /// Who knows where pulses are that are on their way to the store.
    fn whereabouts(&self) -> Option<Whereabouts> {
        None
    }

    /// What is done with dead letters.
    fn replays(&self) -> Option<Replays>;

    /// What erases a tenant's data.
    fn erasures(&self) -> Option<Erasures> {
        None
    }
}
