//! What is told twice is no difference, and times move with their condition alone.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{CASSANDRA, Seen, pod};
use crate::mesh::fixtures::{examples, with_spec};
use crate::mesh::names::Component;
use crate::mesh::topology::Waiting;

fn later(time: Timestamp) -> Timestamp {
    time + SignedDuration::from_secs(60)
}

#[test]
fn the_time_of_a_condition_moves_only_with_its_status() {
    let mut seen = Seen::running(with_spec(CASSANDRA), 2, 3);
    seen.mesh.status = Some(seen.status());
    let begun = seen.condition("Ready").last_transition_time;
    seen.now = later(seen.now);
    seen.nodes(3, 2);
    let counted = seen.condition("Ready");
    assert_eq!(counted.last_transition_time, begun, "another message, the same status");
    seen.mesh.status = Some(seen.status());
    seen.nodes(3, 1);
    let down = seen.condition("Ready");
    assert_eq!((down.status.as_str(), down.last_transition_time.0), ("False", seen.now));
}

#[test]
fn every_condition_says_for_which_generation_it_holds() {
    for (name, mesh) in examples() {
        let status = Seen::nothing(mesh).status();
        let generations: Vec<_> =
            status.conditions.iter().map(|condition| condition.observed_generation).collect();
        assert_eq!(generations, [Some(7); 3], "{name}");
        assert_eq!(status.observed_generation, Some(7), "{name}");
    }
}

#[test]
fn clients_and_people_are_told_where_to_go() {
    let status = Seen::nothing(with_spec(CASSANDRA)).status();
    let endpoints = status.endpoints.expect("endpoints");
    assert_eq!(endpoints.ingest.as_deref(), Some("http://demo-ingest.shop.svc.cluster.local"));
    assert_eq!(endpoints.cql.as_deref(), Some("demo-store.shop.svc.cluster.local:9042"));
    assert_eq!(endpoints.credentials_secret.as_deref(), Some("demo-store-credentials"));
    let versions = status.versions.expect("versions");
    assert_eq!(versions.store.as_deref(), Some("docker.io/library/cassandra:5.0"));
    let selector = status.ingest.and_then(|ingest| ingest.selector).expect("a selector");
    assert_eq!(
        selector,
        "app.kubernetes.io/component=ingest,app.kubernetes.io/instance=demo,\
         app.kubernetes.io/name=pulsemesh"
    );
    let spec = "{ingest: {service: {port: 8080}}, store: {embedded: {}}}";
    let endpoints = Seen::nothing(with_spec(spec)).status().endpoints.expect("endpoints");
    let url = "http://demo-ingest.shop.svc.cluster.local:8080";
    assert_eq!(endpoints.ingest.as_deref(), Some(url));
    assert_eq!((endpoints.cql, endpoints.credentials_secret), (None, None));
}

proptest! {
    #[test]
    fn telling_the_same_again_is_no_difference(
        (pods, ready, ring, up) in (0i32..4, 0i32..4, 0i32..5, 0i32..5),
        (is_valid, is_paused, changed, nanosecond) in (any::<bool>(), any::<bool>(), 0usize..2,
            0i32..1_000_000_000),
        is_waiting in any::<bool>(),
    ) {
        let mut seen = Seen::running(with_spec(CASSANDRA), pods, 0);
        seen.observed.pods = (0..pods).map(|n| pod(Component::Ingest, n, n < ready)).collect();
        seen.nodes(ring, up.min(ring));
        if !is_valid {
            seen.mesh.spec.ingest.settings.insert("foo".to_owned(), String::new());
        }
        seen.mesh.spec.paused = is_paused;
        seen.changed = changed;
        let waiting = Waiting { reason: "Waiting", message: "for it".to_owned() };
        seen.step.waiting = is_waiting.then_some(waiting);
        seen.now = Timestamp::new(1_800_000_000, nanosecond).expect("a time");
        let first = seen.status();
        // As an API server keeps it.
        let kept = serde_json::to_value(&first).expect("JSON");
        seen.mesh.status = Some(serde_json::from_value(kept).expect("a status"));
        seen.now = later(seen.now);
        prop_assert_eq!(&seen.status(), &first);
        for condition in &first.conditions {
            let first = condition.reason.chars().next();
            prop_assert!(first.is_some_and(|first| first.is_ascii_uppercase()));
            prop_assert!(condition.reason.chars().all(|it| it.is_ascii_alphanumeric()));
        }
    }
}
