//! Logs to standard error, and traces by OTLP where an endpoint is set. Set up once, first.

mod panics;
pub mod spans;
mod traces;

use std::io::{self, IsTerminal};
use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing::warn;
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::version::Version;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What telemetry a process gives.
#[derive(Debug, Clone, Copy)]
pub struct TelemetrySettings<'a> {
    /// How log lines look.
    pub format: LogFormat,
    /// Which are written: a level, or directives such as `info,pulsemesh_ingest::log=debug`.
    pub level: &'a str,
    /// The service's name in traces, unless `OTEL_SERVICE_NAME` says otherwise.
    pub service: &'static str,
    /// Which build this is.
    pub version: Version,
}

/// Why there is no telemetry.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The level is none.
    #[error(
        "parse log level `{0}`: write a level (error, warn, info, debug, trace) or directives \
             such as `info,pulsemesh_ingest::log=debug`"
    )]
    Level(String),
    /// An `OTEL_…` variable has a value that we can't follow.
    #[error("follow {variable}: {problem}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The exporter of traces could not be made.
    #[error("start the export of traces: {0}")]
    Export(String),
    /// Telemetry is set up already.
    #[error("set up telemetry: it is set up already")]
    Twice,
}

/// Proves a log level without setting anything up.
///
/// # Errors
/// [`TelemetryError::Level`].
pub fn check_level(level: &str) -> Result<(), TelemetryError> {
    parse_level(level).map(drop)
}

/// Sets up logs and traces for the whole process; panics are logged too. Traces go out when
/// `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set and
/// `OTEL_SDK_DISABLED` is not `true`; the other variables of OpenTelemetry are honoured.
///
/// # Errors
/// When the level or a variable can't be followed, or when it was called before.
#[allow(
    clippy::disallowed_methods,
    reason = "the variable has a name of its own, the same everywhere"
)]
pub fn start(settings: &TelemetrySettings<'_>) -> Result<Telemetry, TelemetryError> {
    let level = parse_level(settings.level)?;
    let endpoint = traces::endpoint(|name| std::env::var(name).ok())?;
    let provider = match endpoint {
        Some(endpoint) => Some(traces::provider(&endpoint, settings)?),
        None => None,
    };
    let traces = provider.as_ref().map(|provider| {
        // Our own spans alone: a span of the exporter's would make more of itself for ever.
        let ours = Targets::new()
            .with_target("pulsemesh_ingest", LevelFilter::INFO)
            .with_target("pulsemesh_operator", LevelFilter::INFO)
            .with_target("pulsemesh_runtime", LevelFilter::INFO);
        traces::layer(provider, settings.service).with_filter(ours)
    });
    tracing_subscriber::registry()
        .with(lines(settings.format).with_filter(level))
        .with(traces)
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;
    panics::log_panics();
    if provider.is_some() {
        spans::turn_on();
    }
    Ok(Telemetry { provider })
}

fn parse_level(level: &str) -> Result<EnvFilter, TelemetryError> {
    let wrong = || TelemetryError::Level(level.to_owned());
    // A bare word that is no level would be taken for a target and would log nothing else.
    let directive = |part: &str| part.contains(['=', '[']);
    let level_name = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    if level.split(',').any(|part| !directive(part) && !level_name(part)) {
        return Err(wrong());
    }
    EnvFilter::builder().parse(level).map_err(|_| wrong())
}

#[allow(
    clippy::disallowed_methods,
    reason = "the variable has a name of its own, the same everywhere"
)]
fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let terminal = io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    // Without `log_internal_errors(false)` a closed standard error would be complained about
    // on standard error, which panics.
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).log_internal_errors(false);
    if json {
        return layer.json().flatten_event(true).with_span_list(false).boxed();
    }
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    layer.with_ansi(colour).boxed()
}

/// Telemetry that is running.
#[derive(Debug)]
#[must_use = "traces that are not flushed are lost"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Whether traces go out.
    pub fn exports_traces(&self) -> bool {
        self.provider.is_some()
    }

    /// Sends the traces that wait, for `deadline` at most; blocks. Logs are still written after.
    pub fn stop(self, deadline: Duration) {
        let Some(provider) = self.provider else { return };
        if let Err(error) = provider.shutdown_with_timeout(deadline) {
            warn!(%error, "flush traces");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_levels_and_other_text_is_not() {
        for good in ["info", "OFF", "warn,pulsemesh_ingest::log=debug", "trace", "[request]"] {
            check_level(good).expect(good);
        }
        for bad in ["", " ", "loud", "info,", "info,hyper", "info,pulsemesh=loud", "a=b=c"] {
            assert!(check_level(bad).is_err(), "`{bad}` is no level");
        }
    }
}
