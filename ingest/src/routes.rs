//! Which path and method means what. A pure function with a golden table; knows no server.

use crate::pulse::Shape;
use crate::tenant::Permission;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'p> {
    /// Pulses of this shape are submitted.
    Submit(Shape),
    /// Rows of a service, or the one of an idempotency key.
    Pulses,
    /// One row, by the path's last segment as it was sent (still percent-encoded).
    Pulse(&'p str),
    /// Windowed counts.
    Counts,
    /// All metrics.
    Metrics,
    /// Whether the process serves.
    Health,
}

impl Action<'_> {
    /// What a caller must be allowed; `None`: whoever comes is answered.
    pub const fn needs(&self) -> Option<Permission> {
        Some(match self {
            Self::Submit(_) => Permission::Write,
            Self::Pulses | Self::Pulse(_) | Self::Counts => Permission::Read,
            Self::Metrics => Permission::Process,
            Self::Health => return None,
        })
    }
}

/// A row of the route table, as the metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Endpoint {
    /// `POST /pulse`
    Pulse,
    /// `POST /ingest`
    Ingest,
    /// `POST /events`
    Events,
    /// `GET /v1/pulses`
    Pulses,
    /// `GET /v1/pulses/{id}`
    PulseById,
    /// `GET /v1/counts`
    Counts,
    /// `GET /metrics`
    Metrics,
    /// `GET /health`
    Health,
    /// Every path that is not in the table.
    Other,
}

impl Endpoint {
    /// Every row, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Pulse,
        Self::Ingest,
        Self::Events,
        Self::Pulses,
        Self::PulseById,
        Self::Counts,
        Self::Metrics,
        Self::Health,
        Self::Other,
    ];

    /// Its name as a metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pulse => "/pulse",
            Self::Ingest => "/ingest",
            Self::Events => "/events",
            Self::Pulses => "/v1/pulses",
            Self::PulseById => "/v1/pulses/{id}",
            Self::Counts => "/v1/counts",
            Self::Metrics => "/metrics",
            Self::Health => "/health",
            Self::Other => "other",
        }
    }
}

/// Why a request has no action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// No such path.
    NotFound,
    /// The path takes other methods: those of the `Allow` header.
    Method(&'static str),
}

/// What a path and method lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route<'p> {
    /// The row of the table.
    pub endpoint: Endpoint,
    /// What is asked, or why nothing is.
    pub action: Result<Action<'p>, Miss>,
}

/// Finds the route of a request. Paths are compared as they are: no trailing slash, no case.
pub fn find<'p>(method: &str, path: &'p str) -> Route<'p> {
    let Some((endpoint, action)) = resource(path) else {
        return Route { endpoint: Endpoint::Other, action: Err(Miss::NotFound) };
    };
    let (allowed, allow) = match action {
        Action::Submit(_) => (method == "POST", "POST"),
        _ => (matches!(method, "GET" | "HEAD"), "GET, HEAD"),
    };
    Route { endpoint, action: if allowed { Ok(action) } else { Err(Miss::Method(allow)) } }
}

fn resource(path: &str) -> Option<(Endpoint, Action<'_>)> {
    Some(match path {
        "/pulse" => (Endpoint::Pulse, Action::Submit(Shape::Pulse)),
        "/ingest" => (Endpoint::Ingest, Action::Submit(Shape::Ingest)),
        "/events" => (Endpoint::Events, Action::Submit(Shape::Events)),
        "/v1/pulses" => (Endpoint::Pulses, Action::Pulses),
        "/v1/counts" => (Endpoint::Counts, Action::Counts),
        "/metrics" => (Endpoint::Metrics, Action::Metrics),
        "/health" => (Endpoint::Health, Action::Health),
        _ => {
            let id = path.strip_prefix("/v1/pulses/")?;
            if id.is_empty() || id.contains('/') {
                return None;
            }
            (Endpoint::PulseById, Action::Pulse(id))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The golden table: method, path, row, outcome.
    const TABLE: &[(&str, &str, Endpoint, Result<Action<'_>, Miss>)] = &[
        ("POST", "/pulse", Endpoint::Pulse, Ok(Action::Submit(Shape::Pulse))),
        ("POST", "/ingest", Endpoint::Ingest, Ok(Action::Submit(Shape::Ingest))),
        ("POST", "/events", Endpoint::Events, Ok(Action::Submit(Shape::Events))),
        ("GET", "/v1/pulses", Endpoint::Pulses, Ok(Action::Pulses)),
        ("HEAD", "/v1/pulses", Endpoint::Pulses, Ok(Action::Pulses)),
        ("GET", "/v1/pulses/a%2Fb", Endpoint::PulseById, Ok(Action::Pulse("a%2Fb"))),
        ("HEAD", "/v1/pulses/x", Endpoint::PulseById, Ok(Action::Pulse("x"))),
        ("GET", "/v1/counts", Endpoint::Counts, Ok(Action::Counts)),
        ("GET", "/metrics", Endpoint::Metrics, Ok(Action::Metrics)),
        ("GET", "/health", Endpoint::Health, Ok(Action::Health)),
        ("HEAD", "/health", Endpoint::Health, Ok(Action::Health)),
        ("GET", "/pulse", Endpoint::Pulse, Err(Miss::Method("POST"))),
        ("OPTIONS", "/events", Endpoint::Events, Err(Miss::Method("POST"))),
        ("post", "/pulse", Endpoint::Pulse, Err(Miss::Method("POST"))),
        ("POST", "/health", Endpoint::Health, Err(Miss::Method("GET, HEAD"))),
        ("DELETE", "/v1/pulses/x", Endpoint::PulseById, Err(Miss::Method("GET, HEAD"))),
        ("POST", "/pulse/", Endpoint::Other, Err(Miss::NotFound)),
        ("POST", "/Pulse", Endpoint::Other, Err(Miss::NotFound)),
        ("GET", "/v1/pulses/", Endpoint::Other, Err(Miss::NotFound)),
        ("GET", "/v1/pulses/a/b", Endpoint::Other, Err(Miss::NotFound)),
        ("GET", "/", Endpoint::Other, Err(Miss::NotFound)),
        ("OPTIONS", "*", Endpoint::Other, Err(Miss::NotFound)),
        ("CONNECT", "", Endpoint::Other, Err(Miss::NotFound)),
    ];

    #[test]
    fn each_path_and_method_leads_where_the_table_says() {
        for (method, path, endpoint, action) in TABLE {
            let expected = Route { endpoint: *endpoint, action: *action };
            assert_eq!(find(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn an_endpoints_number_is_its_place() {
        for (place, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint as usize, place);
        }
    }
}
