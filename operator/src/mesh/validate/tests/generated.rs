//! Any spec: it is planned or refused and never more; what is planned, the ingest takes.

use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use pulsemesh_crds::PulseMesh;
use pulsemesh_ingest::settings::{DEFINITIONS, from_toml};

use crate::mesh::fixtures::{defaults, objects, settings_file, with_spec};
use crate::mesh::observed::Observed;
use crate::mesh::validate::validate;

/// Nothing, or one of these.
fn maybe(fields: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), fields.prop_map(|field| format!("{field}, "))]
}

fn size() -> impl Strategy<Value = String> {
    (1u64..4000, prop_oneof![1 => "Ki", 4 => "Mi", 4 => "Gi", 1 => "M", 1 => "G"])
        .prop_map(|(number, unit)| format!("{number}{unit}"))
}

fn setting() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => (0..DEFINITIONS.len()).prop_map(|place| DEFINITIONS[place].name.to_owned()),
        1 => "[a-z]{1,12}",
    ];
    let value = prop_oneof![
        "[0-9]{1,9}",
        (1u32..100, prop_oneof!["ms", "s", "m", "h", "MiB", "Mi", "GiB", "M"])
            .prop_map(|(number, unit)| format!("{number}{unit}")),
        Just("true".to_owned()),
        Just("durable".to_owned()),
        Just("one".to_owned()),
        "[a-z=,]{0,8}",
    ];
    (name, value).prop_map(|(name, value)| format!("{name}: '{value}'"))
}

fn settings() -> impl Strategy<Value = String> {
    let sound = prop_oneof![
        Just("threads: '3'".to_owned()),
        Just("window-bytes: 8MiB".to_owned()),
        Just("idempotency-window: 45m".to_owned()),
        Just("dead-letter-budget: 3MiB".to_owned()),
        Just("idempotency-keys-max: '5000'".to_owned()),
    ];
    let one = prop_oneof![1 => setting(), 5 => sound];
    proptest::collection::vec(one, 0..4).prop_map(|pairs| {
        let pairs: std::collections::BTreeSet<_> = pairs.into_iter().collect();
        let mut names = std::collections::BTreeSet::new();
        let once = pairs
            .into_iter()
            .filter(|pair| names.insert(pair.split(':').next().unwrap_or_default().to_owned()));
        format!("settings: {{{}}}", once.collect::<Vec<_>>().join(", "))
    })
}

fn ingest() -> impl Strategy<Value = String> {
    let parts = (
        maybe((0i32..6).prop_map(|replicas| format!("replicas: {replicas}"))),
        maybe((1i32..4, 1i32..6).prop_map(|(min, max)| {
            format!("autoscaling: {{minReplicas: {min}, maxReplicas: {max}}}")
        })),
        maybe(prop_oneof!["ack: Memory", "ack: Durable", "ack: Stored"]),
        maybe((size(), 1u32..1_000_000).prop_map(|(size, pulses)| {
            format!("buffer: {{size: {size}, pulses: {pulses}, overflow: Drop}}")
        })),
        maybe(
            (1u32..100_000, 1u32..90).prop_map(|(size, seconds)| {
                format!("batch: {{size: {size}, interval: {seconds}s}}")
            }),
        ),
        maybe((size(), size()).prop_map(|(budget, size)| {
            format!("log: {{budget: {budget}, storage: {{size: {size}}}}}")
        })),
        maybe(
            (10u32..2_000)
                .prop_map(|seconds| format!("pod: {{terminationGracePeriodSeconds: {seconds}}}")),
        ),
        settings(),
    );
    parts.prop_map(|(a, b, c, d, e, f, g, h)| format!("{{{a}{b}{c}{d}{e}{f}{g}{h}}}"))
}

fn store() -> impl Strategy<Value = String> {
    let racks = maybe(Just("racks: [a, b]".to_owned()));
    let login = maybe(Just("credentialsSecret: {name: login}".to_owned()));
    let tls = maybe(Just("tls: {secret: {name: tls}}".to_owned()));
    prop_oneof![
        Just("{embedded: {}}".to_owned()),
        size().prop_map(|size| format!("{{embedded: {{storage: {{size: {size}}}}}}}")),
        (racks, 1i32..9, size(), size()).prop_map(|(racks, nodes, storage, heap)| format!(
            "{{cassandra: {{{racks}nodes: {nodes}, heap: {heap}, storage: {{size: {storage}}}}}}}"
        )),
        (1i32..5, size()).prop_map(|(nodes, memory)| format!(
            "{{scylla: {{nodes: {nodes}, memory: {memory}, storage: {{size: 1Gi}}}}}}"
        )),
        (login, tls, 1u32..99_999).prop_map(|(login, tls, port)| format!(
            "{{external: {{cassandra: {{{login}{tls}nodes: ['a:{port}']}}}}}}"
        )),
    ]
}

fn any_mesh() -> impl Strategy<Value = PulseMesh> {
    (ingest(), store())
        .prop_map(|(ingest, store)| with_spec(&format!("{{ingest: {ingest}, store: {store}}}")))
}

proptest! {
    #[test]
    fn any_spec_is_planned_or_refused_and_what_is_planned_the_ingest_takes(mesh in any_mesh()) {
        match validate(&mesh, &defaults()) {
            Err(problems) => prop_assert!(!problems.is_empty()),
            Ok(plan) => {
                let file = settings_file(&plan, &Observed::default());
                let read = from_toml(Path::new("ingest.toml"), &file);
                prop_assert!(read.is_ok(), "{}\n{file}", read.err().map(|it| it.to_string())
                    .unwrap_or_default());
                let bytes = || {
                    let objects = objects(&plan, &Observed::default());
                    objects.iter().map(|object| {
                        serde_json::to_string(&object.value).expect("JSON")
                    }).collect::<Vec<_>>()
                };
                prop_assert_eq!(bytes(), bytes());
            }
        }
    }
}

#[test]
fn generated_specs_are_planned_often_enough_to_prove_something() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let planned = (0..400)
        .filter(|_| {
            let mesh = any_mesh().new_tree(&mut runner).expect("a mesh").current();
            validate(&mesh, &defaults()).is_ok()
        })
        .count();
    assert!((60..340).contains(&planned), "{planned} of 400 are planned");
}
