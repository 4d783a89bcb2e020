//! What is printed, and with which code the process exits.

use std::path::Path;

use super::*;

fn outcome(arguments: &[&str]) -> (ExitCode, String) {
    let mut out = Vec::new();
    let arguments = ["pulsemesh-operator"].iter().chain(arguments).map(OsString::from);
    let code = main_with(arguments, &mut out);
    (code, String::from_utf8(out).expect("text"))
}

/// The problems of a file with this text.
fn refusals(text: &str) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    let (mut out, mut problems) = (Vec::new(), Vec::new());
    let defaults = crate::mesh::fixtures::defaults();
    let code = plan::run(file.path(), &defaults, &mut out, &mut problems).expect("printed");
    assert_eq!(code, ExitCode::from(EXIT_USAGE), "{text}");
    assert!(out.is_empty(), "{text}");
    String::from_utf8(problems).expect("text")
}

fn mesh(spec: &str) -> String {
    format!(
        "{{apiVersion: pulsemesh.io/v1alpha1, kind: PulseMesh, metadata: {{name: demo}}, \
         spec: {spec}}}\n"
    )
}

#[test]
fn the_flags_are_sound_and_the_help_has_examples() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
    let help = Cli::command().render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn definitions_are_printed_as_they_are_committed() {
    let (code, text) = outcome(&["crd"]);
    assert_eq!(code, ExitCode::from(EXIT_OK));
    assert!(text.contains("name: pulsemeshes.pulsemesh.io"), "{text}");
    assert!(text.contains("name: pulsetenants.pulsemesh.io"), "{text}");
}

#[test]
fn roles_are_for_the_cluster_or_for_namespaces_alone() {
    insta::assert_snapshot!(outcome(&["rbac"]).1);
    let (_, roles) = outcome(&["rbac", "-n", "a,b", "--lease-namespace", "operators"]);
    assert!(!roles.contains("ClusterRole") && !roles.contains("storageclasses"), "{roles}");
    assert_eq!(roles.matches("kind: Role").count(), 3, "{roles}");
    assert_eq!(roles.matches("- leases").count(), 1, "{roles}");
}

#[test]
fn a_plan_refuses_what_a_cluster_would() {
    let two = refusals(&format!("{}---\n{}", mesh("{store: {}}"), mesh("{store: {embedded: 1}}")));
    assert!(two.contains("demo: spec.store: exactly one of embedded, cassandra"), "{two}");
    assert!(two.contains("must be of type object"), "{two}");
    let shrunk = mesh("{store: {embedded: {}}, ingest: {replicas: 2}}");
    assert!(refusals(&shrunk).contains("the embedded store lies in one pod"));
    let long = mesh("{store: {embedded: {}}}").replace("demo", &"a".repeat(31));
    assert!(refusals(&long).contains("at most 30 characters"));
    assert!(refusals("{").contains(": "));
    assert!(refusals("").contains("no mesh"));
}

#[test]
fn a_plan_shows_the_secrets_of_tenants_with_words_in_place_of_keys() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/examples/tenants.yaml");
    let (code, text) = outcome(&["plan", "-f", &example.display().to_string()]);
    assert_eq!(code, ExitCode::from(EXIT_OK), "{text}");
    for name in ["checkout-gateway", "checkout-board", "mailer-ops", "shared-tenants"] {
        assert!(text.contains(&format!("  name: {name}\n")), "{name}\n{text}");
    }
    assert!(!text.contains("pmk_"), "no key is made");
    let tenant = |mesh: &str, more: &str| {
        format!(
            "{{apiVersion: pulsemesh.io/v1alpha1, kind: PulseTenant, metadata: {{name: shop}}, \
             spec: {{mesh: {mesh}{more}}}}}\n"
        )
    };
    let stray = refusals(&tenant("other", ""));
    assert!(stray.contains("shop: there is no PulseMesh other in the file"), "{stray}");
    let kind = refusals(&tenant("demo", ", keys: [{name: a, kind: root}]"));
    assert!(kind.contains("Unsupported value: \"root\""), "{kind}");
    let none = refusals(&tenant("demo", ", schemas: [{kind: a}]"));
    assert!(none.contains("a schema needs required, schema or both"), "{none}");
}

#[test]
fn a_file_that_is_not_there_is_a_failure_and_wrong_flags_are_wrong_usage() {
    let missing = Path::new("missing.yaml").display().to_string();
    assert_eq!(outcome(&["plan", "-f", &missing]).0, ExitCode::from(EXIT_FAILED));
    for wrong in [&["--concurrency", "0"][..], &["--resync", "0s"], &["--log-level", "loud"]] {
        assert_eq!(outcome(wrong).0, ExitCode::from(EXIT_USAGE), "{wrong:?}");
    }
}
