//! What is refused, where, and in which words.

use crate::mesh::fixtures::{defaults, plan, with_spec};
use crate::mesh::validate::validate;

/// The paths and messages of all problems; each expected pair is a path and a part of its
/// message.
#[track_caller]
fn check(spec: &str, expected: &[(&str, &str)]) {
    let problems = validate(&with_spec(spec), &defaults()).err().unwrap_or_default();
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    let wanted: Vec<_> = expected.iter().map(|(path, _)| *path).collect();
    assert_eq!(paths, wanted, "{spec}\n{problems:#?}");
    for (problem, (_, part)) in problems.iter().zip(expected) {
        assert!(problem.message.contains(part), "{spec}\n{problem}");
    }
}

/// A spec with these fields of ingest and a Cassandra.
fn ingest(fields: &str) -> String {
    format!("{{ingest: {{{fields}}}, store: {{cassandra: {{nodes: 1, storage: {{size: 1Gi}}}}}}}}")
}

/// A spec with these settings and a Cassandra.
fn settings(pairs: &str) -> String {
    ingest(&format!("settings: {{{pairs}}}"))
}

/// A spec with these fields of an external Cassandra.
fn external(fields: &str) -> String {
    format!("{{store: {{external: {{cassandra: {{{fields}}}}}}}}}")
}

/// A spec with these fields of Cassandra.
fn cassandra(fields: &str) -> String {
    format!("{{store: {{cassandra: {{storage: {{size: 1Gi}}, {fields}}}}}}}")
}

#[test]
fn a_setting_that_has_a_field_is_refused_with_the_field() {
    for (name, value, field) in [
        ("listen", "0.0.0.0:80", "spec.ingest.service.port"),
        ("data-dir", "/data", "spec.ingest.log.storage"),
        ("store", "memory", "spec.store"),
        ("retention", "1d", "the retention of spec.store"),
        ("cassandra-nodes", "a:9042", "spec.store"),
        ("cassandra-password-file", "/x", "spec.store.external.cassandra.credentialsSecret"),
        ("cassandra-tls", "true", "spec.store.external.cassandra.tls"),
        ("ack", "stored", "spec.ingest.ack"),
        ("overflow", "drop", "spec.ingest.buffer"),
        ("log-budget", "1GiB", "spec.ingest.log.budget"),
        ("workers", "4", "spec.ingest.batch"),
        ("stop-drain", "false", "spec.ingest.pod.terminationGracePeriodSeconds"),
    ] {
        let path = format!("spec.ingest.settings.{name}");
        let hint = format!("use {field} instead");
        check(&settings(&format!("{name}: '{value}'")), &[(&path, &hint)]);
    }
    check(
        &settings("admin-listen: '0.0.0.0:9'"),
        &[("spec.ingest.settings.admin-listen", "probes and metrics are asked there")],
    );
    check(
        &settings("memory-store-rows: '9'"),
        &[("spec.ingest.settings.memory-store-rows", "no mesh keeps its rows in memory")],
    );
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_name() {
    let path = |name: &str| format!("spec.ingest.settings.{name}");
    check(
        &settings("windw-bytes: 8MiB"),
        &[(&path("windw-bytes"), "did you mean `window-bytes`?")],
    );
    check(
        &settings("window_bytes: 8MiB"),
        &[(&path("window_bytes"), "did you mean `window-bytes`?")],
    );
    check(&settings("kafka: a"), &[(&path("kafka"), "docs/settings.md lists them all")]);
}

#[test]
fn a_value_that_the_ingest_would_refuse_is_refused_here() {
    for (name, value, part) in [
        ("threads", "0", "a whole number from 1 to 1024"),
        ("window-bytes", "64M", "a size from 1MiB to 1GiB"),
        ("idempotency-window", "30", "a time from 1m to 7d"),
        ("cassandra-compression", "zstd", "write one of lz4, none"),
        ("cassandra-id-index", "yes", "write true or false"),
        ("log-level", "info,,=", "parse log level"),
    ] {
        let path = format!("spec.ingest.settings.{name}");
        check(&settings(&format!("{name}: '{value}'")), &[(&path, part)]);
    }
    let interval = "batch: {interval: 90s}";
    check(&ingest(interval), &[("spec.ingest.batch.interval", "a time from 1ms to 1m")]);
    check(&ingest("buffer: {size: 1Ki}"), &[("spec.ingest.buffer.size", "from 1MiB to 1TiB")]);
    check(
        &ingest("buffer: {size: none}"),
        &[
            ("spec.ingest.buffer.size", "`none` is no size"),
            ("spec.ingest.buffer.size", "from 1MiB to 1TiB"),
        ],
    );
    check(
        &cassandra("retention: 5000d"),
        &[("spec.store.cassandra.retention", "from 1h to 3650d")],
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    check(
        "{ingest: {ack: Stored, settings: {ack-max: durable}}, store: {embedded: {}}}",
        &[("spec.ingest.settings.ack-max", "is below spec.ingest.ack, `stored`")],
    );
    check(&ingest("log: {budget: 32Mi}"), &[("spec.ingest.log.budget", "give it 64MiB or more")]);
    check(
        &settings("log-segment-size: 512MiB"),
        &[("spec.ingest.settings.log-segment-size", "over a quarter")],
    );
    check(
        &settings("body-bytes-max: 64MiB, bytes-in-flight: 1GiB"),
        &[("spec.ingest.settings.decompressed-bytes-max", "is below body-bytes-max, 64MiB")],
    );
    check(
        &settings("bytes-in-flight: 16MiB"),
        &[("spec.ingest.settings.bytes-in-flight", "write 40MiB or more")],
    );
    let spec = cassandra("retention: 1h}}, ingest: {settings: {idempotency-window: 2h");
    let path = "spec.ingest.settings.idempotency-window";
    check(&spec, &[(path, "longer than the store's retention, 1h")]);
    let spec = settings("retention-classes: 'a=1d,b=1h', idempotency-window: 2h");
    check(&spec, &[(path, "longer than the retention class `b`, 1h")]);
    let path = "spec.ingest.settings.retention-classes";
    check(&settings("retention-classes: a=1y"), &[(path, "`a=1y` is no retention class")]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let spec = "{ingest: {replicas: 2, batch: {interval: 2h}, settings: {ack: stored, foo: a}, \
                pod: {labels: {app.kubernetes.io/name: x}}}, store: {embedded: {retention: 1s}}}";
    check(
        spec,
        &[
            ("spec.store.embedded.retention", "write a time"),
            ("spec.ingest.replicas", "the embedded store lies in one pod"),
            ("spec.ingest.batch.interval", "write a time"),
            ("spec.ingest.settings.ack", "use spec.ingest.ack"),
            ("spec.ingest.settings.foo", "no setting `foo`"),
            ("spec.ingest.pod.labels.app.kubernetes.io/name", "the operator's own"),
        ],
    );
}

#[test]
fn there_is_exactly_one_store_and_the_embedded_one_has_one_pod() {
    check("{store: {}}", &[("spec.store", "exactly one of")]);
    let both = "{store: {embedded: {}, cassandra: {storage: {size: 1Gi}}}}";
    check(both, &[("spec.store", "exactly one of")]);
    check("{store: {external: {}}}", &[("spec.store.external.cassandra", "is missing")]);
    let spec = "{ingest: {autoscaling: {maxReplicas: 2}}, store: {embedded: {}}}";
    check(spec, &[("spec.ingest.autoscaling", "lies in one pod")]);
    let spec = "{ingest: {settings: {cassandra-id-index: 'false'}}, store: {embedded: {}}}";
    check(spec, &[("spec.ingest.settings.cassandra-id-index", "no effect with the embedded")]);
}

#[test]
fn a_claim_holds_what_the_budgets_say() {
    let log = "log: {budget: 1Gi, storage: {size: 2Gi}}";
    plan(&ingest(log));
    let more = format!("{log}, settings: {{dead-letter-budget: 2GiB}}");
    check(&ingest(&more), &[("spec.ingest.log.storage.size", "`2Gi` is below")]);
    plan("{store: {embedded: {storage: {size: 512Mi}}}}");
    check(
        "{store: {embedded: {storage: {size: 100Mi}}}}",
        &[("spec.ingest.log.budget", "25MiB (a quarter of store.embedded.storage at most)")],
    );
}

#[test]
fn an_autoscaler_needs_something_to_measure() {
    let spec = |resources: &str| {
        ingest(&format!("autoscaling: {{maxReplicas: 3}}, resources: {{{resources}}}"))
    };
    plan(&spec("requests: {cpu: 1}"));
    plan(&spec("limits: {cpu: 1}"));
    check(
        &spec("requests: {memory: 1Gi}"),
        &[("spec.ingest.resources.requests.cpu", "measures shares")],
    );
}

#[test]
fn nodes_racks_and_replicas_fit_each_other() {
    let racks = "spec.store.cassandra.racks";
    check(&cassandra("nodes: 1, racks: [a, b]"), &[(racks, "2 racks for 1 nodes")]);
    check(&cassandra("nodes: 3, racks: [a, b, a]"), &[(racks, "`a` is named twice")]);
    check(
        &cassandra("nodes: 2, replicationFactor: 3"),
        &[("spec.store.cassandra.replicationFactor", "`3` does not fit 2 nodes")],
    );
    check(&cassandra("heap: 64Mi"), &[("spec.store.cassandra.heap", "give it 256Mi or more")]);
    check(
        "{store: {scylla: {storage: {size: 1Gi}, memory: 1Mi}}}",
        &[("spec.store.scylla.memory", "give it 1024Mi or more")],
    );
}

#[test]
fn the_nodes_of_another_are_hosts_with_ports() {
    plan(&external("nodes: ['a.example:9042', '10.0.0.1:9042', '[::1]:9042']"));
    let first = "spec.store.external.cassandra.nodes[0]";
    check(&external("nodes: ['a.example:99999']"), &[(first, "which is no port")]);
    check(&external("nodes: ['::1:9042']"), &[(first, "names no host")]);
    check(&external("nodes: ['http://a:9042']"), &[(first, "names no host")]);
    check(
        &external("nodes: ['a:9042'], datacenter: 'eu west'"),
        &[("spec.store.external.cassandra.datacenter", "letters, digits")],
    );
}

#[test]
fn labels_and_annotations_of_the_operator_stay_its_own() {
    check(
        &cassandra("pod: {labels: {pulsemesh.io/x: a}, annotations: {pulsemesh.io/made-from: a}}"),
        &[
            ("spec.store.cassandra.pod.labels.pulsemesh.io/x", "the operator's own"),
            ("spec.store.cassandra.pod.annotations.pulsemesh.io/made-from", "the operator's own"),
        ],
    );
    check(
        &ingest("service: {annotations: {pulsemesh.io/applied: a}}"),
        &[("spec.ingest.service.annotations.pulsemesh.io/applied", "the operator's own")],
    );
    plan(&ingest("pod: {labels: {team: a}, annotations: {example.com/x: a}}"));
}
