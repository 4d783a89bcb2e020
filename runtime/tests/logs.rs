//! Logs as a process really writes them: each case starts this test again as a child.

use std::process::{Command, Stdio};
use std::time::Duration;

use pulsemesh_runtime::telemetry::{self, LogFormat, TelemetrySettings};
use pulsemesh_runtime::version::Version;

const CHILD: &str = "PULSEMESH_TEST_LOGS_CHILD";

/// What the child does; in the parent this is empty.
#[test]
#[allow(clippy::disallowed_methods, reason = "tells the child from its parent")]
fn child() {
    let Ok(format) = std::env::var(CHILD) else { return };
    let settings = TelemetrySettings {
        format: if format == "text" { LogFormat::Text } else { LogFormat::Auto },
        level: "info,logs=debug",
        service: "pulsemesh-test",
        version: Version::of_build("1.2.3"),
    };
    let telemetry = match telemetry::start(&settings) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            tracing::subscriber::with_default(tracing_subscriber::fmt().finish(), || {
                tracing::error!("{error}");
            });
            return;
        }
    };
    assert!(telemetry::start(&settings).is_err(), "set up twice");
    tracing::debug!(bytes = 7, "log is\nopen");
    tracing::trace!("never seen");
    let _ = std::thread::Builder::new()
        .name("log-writer".into())
        .spawn(|| assert!(std::env::args().count() == 0, "the disk went away"))
        .expect("a thread")
        .join();
    telemetry.stop(Duration::from_secs(1));
}

fn lines_of(format: &str, variables: &[(&str, &str)]) -> (Vec<String>, String) {
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, format)
        .env_remove("RUST_BACKTRACE")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the child runs");
    let lines = String::from_utf8(child.stderr).expect("text").lines().map(str::to_owned).collect();
    (lines, String::from_utf8(child.stdout).expect("text"))
}

#[test]
fn without_a_terminal_every_event_and_every_panic_is_one_line_of_json() {
    let (lines, _) = lines_of("auto", &[]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let event = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    let first = event(&lines[0]);
    assert_eq!((&first["message"], &first["bytes"]), (&"log is\nopen".into(), &7.into()));
    assert_eq!((&first["level"], &first["target"]), (&"DEBUG".into(), &"logs".into()));
    let panic = event(&lines[1]);
    assert_eq!(panic["message"], "panicked: the disk went away");
    assert_eq!(panic["thread"], "log-writer");
    assert!(panic["location"].as_str().is_some_and(|place| place.contains("logs.rs:")));
}

#[test]
fn text_that_is_asked_for_has_no_colours_in_a_pipe() {
    let (lines, _) = lines_of("text", &[]);
    let text = lines.concat();
    assert!(text.contains("DEBUG") && text.contains("bytes=7"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_collector_behind_tls_is_refused_by_name() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318");
    let (_, output) = lines_of("auto", &[endpoint]);
    assert!(output.contains("OTEL_EXPORTER_OTLP_ENDPOINT") && output.contains("TLS"), "{output}");
}
