//! Spans of requests. Made only when traces go out: without, a request costs one load.

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt;

static EXPORTING: AtomicBool = AtomicBool::new(false);

pub(super) fn turn_on() {
    EXPORTING.store(true, Ordering::Relaxed);
}

/// The span of one request to `route`, a child of the span that sent it where `parent` names
/// that by its trace and span ids. Disabled, and free, unless traces go out.
pub fn request_span(route: &'static str, parent: Option<([u8; 16], [u8; 8])>) -> Span {
    if !EXPORTING.load(Ordering::Relaxed) {
        return Span::none();
    }
    let span = tracing::info_span!(
        "request",
        otel.name = route,
        otel.kind = "server",
        http.route = route,
        http.response.status_code = Empty
    );
    if let Some((trace, sender)) = parent {
        let context = SpanContext::new(
            TraceId::from_bytes(trace),
            SpanId::from_bytes(sender),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        // It fails only where no layer takes spans, and then nobody reads them.
        let _ = span.set_parent(Context::new().with_remote_span_context(context));
    }
    span
}

/// Notes on a request's span how it was answered.
pub fn answered(span: &Span, status: u16) {
    if !span.is_disabled() {
        span.record("http.response.status_code", i64::from(status));
    }
}
