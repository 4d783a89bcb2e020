//! Traces out by OTLP over plain HTTP. Nothing here runs unless an endpoint is set.

use std::future::{Future, ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::{Builder, Runtime};
use tracing::{info, warn};
use tracing_opentelemetry::OpenTelemetryLayer;

use super::{TelemetryError, TelemetrySettings};

const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

/// Where traces go, by the rules of OpenTelemetry: the variable of traces is taken as it is,
/// the common one gets `/v1/traces`; an empty variable is none. `None`: nowhere.
pub(super) fn endpoint(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, TelemetryError> {
    let set = |name| variable(name).filter(|value| !value.trim().is_empty());
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if disabled || set("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none") {
        return Ok(None);
    }
    let (name, endpoint) = if let Some(endpoint) = set(TRACES_ENDPOINT) {
        (TRACES_ENDPOINT, endpoint)
    } else if let Some(base) = set(ENDPOINT) {
        (ENDPOINT, format!("{}/v1/traces", base.trim_end_matches('/')))
    } else {
        return Ok(None);
    };
    check_endpoint(name, &endpoint)?;
    for name in [TRACES_PROTOCOL, PROTOCOL] {
        match set(name) {
            Some(protocol) if protocol != "http/protobuf" => {
                let problem = format!("`{protocol}` is not built in; set it to `http/protobuf`");
                return Err(TelemetryError::Variable { variable: name, problem });
            }
            // What is said of traces counts, whatever is said of all.
            Some(_) => break,
            None => {}
        }
    }
    Ok(Some(endpoint))
}

fn check_endpoint(variable: &'static str, endpoint: &str) -> Result<(), TelemetryError> {
    let wrong = |problem: &str| {
        let problem = format!("`{endpoint}` {problem}, such as `http://localhost:4318`");
        Err(TelemetryError::Variable { variable, problem })
    };
    if endpoint.starts_with("https://") {
        return wrong("needs TLS, which is not built in; send to a collector over plain http");
    }
    match endpoint.parse::<axum::http::Uri>() {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.host().is_some() => Ok(()),
        _ => wrong("is no address of a collector; write an http URL"),
    }
}

/// Sends spans to `endpoint` in batches, from a thread of its own.
pub(super) fn provider(
    endpoint: &str,
    settings: &TelemetrySettings<'_>,
) -> Result<SdkTracerProvider, TelemetryError> {
    let failed = |error: &dyn std::fmt::Display| TelemetryError::Export(error.to_string());
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .with_protocol(Protocol::HttpBinary)
        .build()
        .map_err(|error| failed(&error))?;
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    let exporter = ThreadExporter { exporter, runtime, failing: AtomicBool::new(false) };
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource(settings))
        .build())
}

/// `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` win over what we say of ourselves.
#[allow(
    clippy::disallowed_methods,
    reason = "the variables of OpenTelemetry have names of their own"
)]
fn resource(settings: &TelemetrySettings<'_>) -> Resource {
    let named = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    let named = named.map(|name| KeyValue::new("service.name", name));
    let told = EnvResourceDetector::new().detect();
    let told = told.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", settings.service))
        .with_attribute(KeyValue::new("service.version", settings.version.version))
        .with_attributes(told)
        .with_attributes(named)
        .build()
}

/// The layer that makes spans of `tracing` into traces.
pub(super) fn layer<S>(
    provider: &SdkTracerProvider,
    service: &'static str,
) -> OpenTelemetryLayer<S, SdkTracer>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    tracing_opentelemetry::layer().with_tracer(provider.tracer(service))
}

/// The batch processor polls its exporter on a thread without a tokio runtime, and the HTTP
/// client needs one: this brings its own, which lives and dies on that thread.
#[derive(Debug)]
struct ThreadExporter {
    exporter: opentelemetry_otlp::SpanExporter,
    runtime: Runtime,
    failing: AtomicBool,
}

impl SpanExporter for ThreadExporter {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        let spans = batch.len();
        let result = self.runtime.block_on(self.exporter.export(batch));
        // Said when it changes: a collector that is down for a day is one line, not thousands.
        let failing = result.is_err();
        if self.failing.swap(failing, Ordering::Relaxed) != failing {
            match &result {
                Err(error) => warn!(%error, spans, "export traces"),
                Ok(()) => info!("traces are exported again"),
            }
        }
        ready(result)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may start what it waits for")]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    type Variables = &'static [(&'static str, &'static str)];

    fn endpoint_of(variables: Variables) -> Result<Option<String>, String> {
        let get = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        endpoint(get).map_err(|error| error.to_string())
    }

    #[test]
    fn traces_go_nowhere_unless_an_endpoint_is_set() {
        const COMMON: (&str, &str) = (ENDPOINT, "http://collector:4318/");
        const OWN: (&str, &str) = (TRACES_ENDPOINT, "http://traces:4318/in");
        let cases: [(Variables, Option<&str>); 9] = [
            (&[], None),
            (&[(ENDPOINT, "")], None),
            (&[COMMON], Some("http://collector:4318/v1/traces")),
            (&[OWN], Some("http://traces:4318/in")),
            (&[COMMON, OWN], Some("http://traces:4318/in")),
            (&[COMMON, ("OTEL_SDK_DISABLED", "TRUE")], None),
            (&[COMMON, ("OTEL_SDK_DISABLED", "1")], Some("http://collector:4318/v1/traces")),
            (&[COMMON, ("OTEL_TRACES_EXPORTER", "none")], None),
            (
                &[COMMON, (TRACES_PROTOCOL, "http/protobuf"), (PROTOCOL, "grpc")],
                Some("http://collector:4318/v1/traces"),
            ),
        ];
        for (variables, expected) in cases {
            assert_eq!(endpoint_of(variables), Ok(expected.map(str::to_owned)), "{variables:?}");
        }
    }

    #[test]
    fn what_can_not_be_followed_is_named_with_what_would_be_right() {
        let cases: [(Variables, &[&str]); 4] = [
            (&[(ENDPOINT, "https://c:4318")], &[ENDPOINT, "TLS", "http://localhost:4318"]),
            (&[(TRACES_ENDPOINT, "c:4318")], &[TRACES_ENDPOINT, "an http URL"]),
            (&[(ENDPOINT, "http://c"), (PROTOCOL, "grpc")], &[PROTOCOL, "`http/protobuf`"]),
            (&[(ENDPOINT, "http://c"), (TRACES_PROTOCOL, "http/json")], &[TRACES_PROTOCOL]),
        ];
        for (variables, expected) in cases {
            let error = endpoint_of(variables).expect_err("refused");
            for part in expected {
                assert!(error.contains(part), "`{error}` lacks `{part}`");
            }
        }
    }

    fn settings() -> TelemetrySettings<'static> {
        TelemetrySettings {
            format: crate::telemetry::LogFormat::Json,
            level: "info",
            service: "pulsemesh-test",
            version: crate::version::Version::of_build("1.2.3"),
        }
    }

    fn span_to(listener: &TcpListener) -> SdkTracerProvider {
        let port = listener.local_addr().expect("bound").port();
        let endpoint = format!("http://127.0.0.1:{port}/v1/traces");
        let provider = provider(&endpoint, &settings()).expect("a provider");
        let subscriber = tracing_subscriber::registry().with(layer(&provider, "pulsemesh-test"));
        tracing::subscriber::with_default(subscriber, || {
            drop(tracing::info_span!("drain").entered())
        });
        provider
    }

    #[test]
    fn spans_reach_the_collector_when_the_process_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let provider = span_to(&listener);
        let collector = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !contains(&request, b"drain") {
                let read = stream.read(&mut buffer).expect("a request");
                assert!(read > 0, "the request ends without the span");
                request.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("sent");
            request
        });
        provider.shutdown_with_timeout(Duration::from_secs(20)).expect("flushed");
        let request = collector.join().expect("no panic");
        assert!(request.starts_with(b"POST /v1/traces HTTP/1.1"));
        assert!(contains(&request, b"pulsemesh-test") && contains(&request, b"1.2.3"));
    }

    #[test]
    fn a_collector_that_does_not_answer_costs_the_deadline_and_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let provider = span_to(&listener);
        let start = Instant::now();
        provider.shutdown_with_timeout(Duration::from_millis(200)).expect_err("not flushed");
        assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    }

    fn contains(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }
}
