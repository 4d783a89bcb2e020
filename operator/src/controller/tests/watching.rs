//! What triggers a reconcile, and what must not hold one up.

use std::time::Duration;

use pulsemesh_runtime::stop::Stop;
use pulsemesh_runtime::tasks::Tasks;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use super::{FakeApi, Metrics, NAMESPACE, Unreachable, clients, count, defaults, external, mesh};
use crate::controller::{Parts, start};
use crate::fake::Faults;
use crate::health::Health;
use crate::mesh::names;
use crate::nodes::Nodes;
use crate::settings::Settings;

/// For what happens within milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Running {
    pub(super) metrics: Metrics,
    health: Health,
    tasks: Tasks,
    stop: Stop,
}

fn run(api: &FakeApi, namespaces: &[&str]) -> Running {
    run_with(api, namespaces, Unreachable)
}

pub(super) fn run_with<N: Nodes>(api: &FakeApi, namespaces: &[&str], nodes: N) -> Running {
    let settings = Settings {
        defaults: defaults(),
        namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
        admin_listen: ([127, 0, 0, 1], 0).into(),
        lease: None,
        concurrency: 2,
        resync: Duration::from_secs(3600),
        reconcile_timeout: Duration::from_secs(10),
        log_format: pulsemesh_runtime::telemetry::LogFormat::Text,
        log_level: "info".to_owned(),
    };
    let (metrics, stop) = (super::metrics(), Stop::new());
    let mut tasks = Tasks::on(Handle::current());
    let parts = Parts {
        clients: clients(api),
        config: kube::Config::new("http://127.0.0.1:1".parse().expect("a URI")),
        nodes,
        settings,
        identity: "test".to_owned(),
        metrics: metrics.clone(),
    };
    let health = start(parts, &mut tasks, &stop).expect("started");
    Running { metrics, health, tasks, stop }
}

pub(super) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !done() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| unreachable!("not within {PATIENCE:?}: {what}"));
}

fn is_well(checks: &[pulsemesh_runtime::admin::Check]) -> bool {
    checks.iter().all(|check| check.problem.is_none())
}

#[tokio::test]
async fn one_invalid_mesh_stops_no_other() {
    let api = FakeApi::default();
    api.put("pulsemeshes", mesh("broken", json!({"store": 5})));
    api.put("pulsemeshes", external("sound"));
    let running = run(&api, &[]);
    until("both are looked at", || {
        count(&running.metrics, "invalid") > 0 && count(&running.metrics, "ok") > 0
    })
    .await;
    until("every watch is up", || is_well(&running.health.readiness())).await;
    assert_eq!(count(&running.metrics, "failed"), 0);
}

#[tokio::test]
async fn a_watch_that_fails_for_ever_holds_no_reconcile_up() {
    let api = FakeApi::default();
    api.fail(Faults { broken_watch: Some("pods"), ..Faults::default() });
    api.put("pulsemeshes", external("demo"));
    let running = run(&api, &[]);
    until("it is looked at", || count(&running.metrics, "ok") > 0).await;
    // Long enough for the broken watch to have failed again and to pause for seconds.
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let before = count(&running.metrics, "ok");
        let begun = Instant::now();
        let labels = names::labels("demo", names::Component::Ingest);
        let metadata = json!({"name": "a", "namespace": NAMESPACE, "labels": labels});
        api.put("services", json!({"metadata": metadata, "spec": {"round": round}}));
        until("a change is looked at", || count(&running.metrics, "ok") > before).await;
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// As after an upgrade that has not brought the definition yet.
#[tokio::test]
async fn a_definition_of_tenants_that_is_missing_holds_no_mesh_up_and_is_found_when_it_comes() {
    let api = FakeApi::default();
    let missing = Some("pulsetenants");
    api.fail(Faults { unknown: missing, broken_watch: missing, ..Faults::default() });
    let mut closed = external("demo");
    closed["spec"]["ingest"] = json!({"tenants": {"required": true}});
    api.put("pulsemeshes", closed);
    let tenant = json!({
        "apiVersion": "pulsemesh.io/v1alpha1", "kind": "PulseTenant",
        "metadata": {"name": "team", "namespace": NAMESPACE, "uid": "uid-of-team"},
        "spec": {"mesh": "demo", "keys": [{"name": "a", "kind": "both"}]},
    });
    api.put("pulsetenants", tenant);
    let running = run(&api, &[]);
    let has = |name: &str| api.object("secrets", NAMESPACE, name).is_some();
    until("pods have a file to start with", || has("demo-tenants")).await;
    until("it is looked at", || count(&running.metrics, "ok") > 0).await;
    until("every other watch is up", || is_well(&running.health.readiness())).await;
    assert!(is_well(&running.health.liveness()) && !has("team-a"));
    api.fail(Faults::default());
    until("its key is made", || has("team-a")).await;
    let told = || {
        let secret = api.object("secrets", NAMESPACE, "demo-tenants").expect("the file");
        secret["metadata"]["annotations"][names::TENANT_COUNT] == "1"
    };
    until("it is in the file", told).await;
    api.remove("pulsetenants", "team");
    until("it is in the file no more", || !told()).await;
}

#[tokio::test]
async fn only_the_listed_namespaces_are_looked_after_and_stopping_ends_the_work() {
    let api = FakeApi::default();
    let mut elsewhere = external("elsewhere");
    elsewhere["metadata"]["namespace"] = "other".into();
    api.put("pulsemeshes", elsewhere);
    api.put("pulsemeshes", external("demo"));
    let running = run(&api, &[NAMESPACE, "empty"]);
    until("it is looked at", || count(&running.metrics, "ok") > 0).await;
    until("every watch is up", || is_well(&running.health.readiness())).await;
    let requests = api.take_requests();
    assert!(requests.contains(&"GET pulsemeshes demo".to_owned()), "{requests:?}");
    assert!(!requests.contains(&"GET pulsemeshes elsewhere".to_owned()), "{requests:?}");
    running.stop.request();
    let leader = &running.metrics.leader;
    assert_eq!(leader.get(), 1);
    // The queue lets triggers pass from now on.
    sleep(Duration::from_millis(50)).await;
    api.take_requests();
    api.put("pulsemeshes", external("late"));
    sleep(Duration::from_millis(400)).await;
    let requests = api.take_requests();
    assert!(!requests.contains(&"GET pulsemeshes late".to_owned()), "{requests:?}");
    drop(running.tasks);
}
