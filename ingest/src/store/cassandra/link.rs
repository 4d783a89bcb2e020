//! The connection to the database, made and mended in the background: a start never waits for
//! it. Others ask for what is live, and tell what they doubt.

use std::sync::Arc;

use thiserror::Error;

use crate::sink::SinkState;

use super::live::Live;

/// Why there is nothing to send requests with, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct Down(pub(crate) String);

/// The connection.
#[derive(Debug)]
pub(crate) struct Link {}

impl Link {
    /// What requests are sent with now.
    pub(crate) fn live(&self) -> Result<Arc<Live>, Down> {
        Err(Down("not connected yet".to_owned()))
    }

    /// A request met tables that are not as they should be: they are looked at again, and
    /// nothing is live until they are right.
    pub(crate) fn doubt(&self, _live: &Arc<Live>, _why: &str) {}

    /// How the requests went lately: `Some` says why none succeeds.
    pub(crate) fn note(&self, _failing: Option<String>) {}

    /// Whether the database could be written to now.
    pub(crate) fn state(&self) -> SinkState {
        SinkState::Down("not connected yet".to_owned())
    }
}
