//! Why a call did not succeed: what, where, and what to do.

use std::io;
use std::time::Duration;

use ureq::Error;

use crate::problem::Problem;

/// Why a call did not succeed. The place is method and address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("find the address of the host")]
    Resolve { place: String },
    #[error("connect")]
    Connect { place: String, source: io::Error },
    #[error("agree on encryption")]
    Tls { place: String, reason: String },
    #[error("wait for an answer")]
    Timeout { place: String, time: Duration },
    #[error("keep the connection")]
    Broken { place: String, source: io::Error },
    #[error("understand the answer")]
    NotHttp { place: String, reason: String },
    #[error("get what was asked for")]
    Refused { place: String, status: u16, retry_after: Option<Duration>, problem: Box<Problem> },
}

impl CallError {
    /// What the client's error means; `time` is the longest that an answer may take.
    pub(super) fn of(error: Error, place: String, time: Duration) -> Self {
        match error {
            Error::HostNotFound => Self::Resolve { place },
            Error::Timeout(_) => Self::Timeout { place, time },
            Error::Rustls(error) => Self::Tls { place, reason: error.to_string() },
            Error::Tls(reason) => Self::Tls { place, reason: reason.to_owned() },
            Error::Io(error) => Self::of_io(error, place, time),
            error => Self::NotHttp { place, reason: error.to_string() },
        }
    }

    fn of_io(source: io::Error, place: String, time: Duration) -> Self {
        use io::ErrorKind::{
            AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut,
        };
        let tls = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(error) = tls {
            return Self::Tls { place, reason: error.to_string() };
        }
        // The standard library gives it no kind of its own.
        if source.to_string().starts_with("failed to lookup address") {
            return Self::Resolve { place };
        }
        match source.kind() {
            TimedOut => Self::Timeout { place, time },
            ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable => {
                Self::Connect { place, source }
            }
            _ => Self::Broken { place, source },
        }
    }

    /// What is wrong.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Resolve { .. } => "the host has no address".to_owned(),
            Self::Connect { source, .. } => format!("the server takes no connection: {source}"),
            Self::Tls { reason, .. } => format!("the connection can't be encrypted: {reason}"),
            Self::Timeout { time, .. } => format!("there is no answer within {time:?}"),
            Self::Broken { source, .. } => format!("the connection broke: {source}"),
            Self::NotHttp { reason, .. } => format!("the answer is none of PulseMesh: {reason}"),
            Self::Refused { status, problem, .. } => problem.what(*status),
        }
    }

    /// Method and address.
    pub(crate) fn place(&self) -> &str {
        match self {
            Self::Resolve { place }
            | Self::Connect { place, .. }
            | Self::Tls { place, .. }
            | Self::Timeout { place, .. }
            | Self::Broken { place, .. }
            | Self::NotHttp { place, .. }
            | Self::Refused { place, .. } => place,
        }
    }

    /// What to do.
    pub(crate) fn advice(&self) -> String {
        let advice = match self {
            Self::Refused { status, problem, .. } => return problem.advice(*status),
            Self::Resolve { .. } => {
                "Check the host in --url; within a cluster it is service.namespace."
            }
            Self::Connect { .. } => {
                "Start the server, or give where it listens as --url (PULSEMESH_URL). One that is \
                 asked from elsewhere must not listen on 127.0.0.1."
            }
            Self::Tls { reason, .. } if reason.contains("UnknownIssuer") => {
                "Nobody who is believed has signed the server's certificate: give the authority \
                 that did as --ca-file."
            }
            Self::Tls { .. } => {
                "See whether the server is encrypted at all (http:// or https://), whether the \
                 host in --url is in its certificate, and whether it wants a client certificate."
            }
            Self::Timeout { .. } => {
                "See whether a firewall or network policy drops the packets, or the server is \
                 overloaded; --timeout waits longer."
            }
            Self::Broken { .. } => {
                "See the log of the server: it may have stopped, or it is encrypted (https://)."
            }
            Self::NotHttp { .. } => {
                "Something other than pulsemesh-ingest may listen there: check host and port \
                 (pulses go to 8080), and http:// or https://."
            }
        };
        advice.to_owned()
    }
}
