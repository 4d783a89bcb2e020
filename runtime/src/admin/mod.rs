//! The admin listener: what the platform asks a process. `/metrics`, `/livez`, `/readyz`,
//! `/version`. Serves no client of the product and reads no body.

mod exposition;
mod listener;
mod readiness;

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tracing::error;

pub use listener::serve;
pub use readiness::{Check, Readiness};

use crate::version::Version;

/// What the admin listener tells.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The metrics.
    pub registry: Arc<Registry>,
    /// Whether the process can do its work.
    pub readiness: Arc<dyn Readiness>,
    /// Which build this is.
    pub version: Version,
}

const INDEX: &str = "\
/metrics           metrics, as Prometheus text or OpenMetrics
/livez             200 while the process runs, or 503 and why a restart may mend it
/readyz            200 when it can do its work, else 503 and why
/readyz?verbose    every check
/version           which build this is, as JSON
";

/// The routes, to be [served](serve) or nested. The process lives as long as it answers.
pub fn router(admin: Admin) -> Router {
    router_with_liveness(admin, Arc::new(Vec::new))
}

/// As [`router`], for a process that a restart may mend although it answers: `/livez` fails while
/// a required check of `liveness` does.
pub fn router_with_liveness(admin: Admin, liveness: Arc<dyn Readiness>) -> Router {
    Router::new()
        .route("/", get(async || INDEX))
        .route("/livez", get(async move |query| report(&*liveness, query)))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .with_state(admin)
}

async fn readyz(State(admin): State<Admin>, query: RawQuery) -> Response {
    report(&*admin.readiness, query)
}

fn report(told: &dyn Readiness, RawQuery(query): RawQuery) -> Response {
    let verbose = query.is_some_and(|query| {
        query.split('&').any(|part| matches!(part, "verbose" | "verbose=true"))
    });
    let (ready, text) = readiness::report(&told.checks(), verbose);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let content_type = exposition::content_type(accept);
    // Collectors read files (`/proc`), so they run where blocking is allowed.
    let encoded = tokio::task::spawn_blocking(move || exposition::encode(&admin.registry)).await;
    match encoded {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        failed => {
            error!(error = ?failed.err(), "encode metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, "metrics can't be encoded\n").into_response()
        }
    }
}

async fn version(State(admin): State<Admin>) -> Response {
    match serde_json::to_string(&admin.version) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
