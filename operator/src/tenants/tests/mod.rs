//! The tenants of a mesh against an API server in memory; the file is read by the ingest itself.

mod crashes;
mod schemas;
mod told;

use std::sync::Arc;

use pulsemesh_ingest::tenant::file::parse;
use pulsemesh_ingest::tenant::{Permission, Tenants};
use serde_json::{Value, json};

use super::TenantWorker;
use super::look::Next;
use crate::fake::FakeApi;
use crate::mesh::fixtures::defaults;
use crate::mesh::names::{self, ROTATE};

const NAMESPACE: &str = "shop";

/// A mesh of the name `demo` that needs keys.
fn closed() -> Value {
    json!({
        "apiVersion": "pulsemesh.io/v1alpha1", "kind": "PulseMesh",
        "metadata": {"name": "demo", "namespace": NAMESPACE, "uid": "uid-of-demo"},
        "spec": {"ingest": {"tenants": {"required": true}}, "store": {"embedded": {}}},
    })
}

/// A tenant of it with a key of each of these names and kinds.
fn tenant(name: &str, keys: &[(&str, &str)]) -> Value {
    let keys: Vec<Value> =
        keys.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
    json!({
        "apiVersion": "pulsemesh.io/v1alpha1", "kind": "PulseTenant",
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": format!("uid-of-{name}"),
                     "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"mesh": "demo", "keys": keys},
    })
}

/// An API server with the mesh and these tenants.
fn api(tenants: impl IntoIterator<Item = Value>) -> FakeApi {
    let api = FakeApi::default();
    api.put("pulsemeshes", closed());
    tenants.into_iter().for_each(|tenant| api.put("pulsetenants", tenant));
    api
}

fn worker(api: &FakeApi) -> TenantWorker {
    TenantWorker { client: api.client(), defaults: defaults(), verdicts: Arc::default() }
}

async fn look(api: &FakeApi) -> Next {
    worker(api).look(NAMESPACE, "demo").await.expect("nothing fails")
}

/// Looks until nothing is written any more, again after a failure; how many looks failed.
async fn settle(api: &FakeApi) -> usize {
    let mut failures = 0;
    for _ in 0..20 {
        api.take_requests();
        let looked = worker(api).look(NAMESPACE, "demo").await;
        failures += usize::from(looked.is_err());
        if looked.is_ok() && api.take_writes().is_empty() {
            return failures;
        }
    }
    unreachable!("it never settles")
}

/// The text in a Secret.
fn text(api: &FakeApi, secret: &str, key: &str) -> String {
    let secret = api.object("secrets", NAMESPACE, secret).expect(secret);
    let bytes: k8s_openapi::ByteString =
        serde_json::from_value(secret["data"][key].clone()).expect("data");
    String::from_utf8(bytes.0).expect("text")
}

fn file(api: &FakeApi) -> String {
    text(api, &names::tenants("demo"), names::TENANTS_FILE)
}

/// The file as the ingest has it.
fn tenants(api: &FakeApi) -> Tenants {
    let file = file(api);
    Tenants::of(parse("tenants.yaml", file.as_bytes()).unwrap_or_else(|error| {
        unreachable!("{error}\n{file}");
    }))
}

fn whose(api: &FakeApi, key: &str) -> Option<String> {
    tenants(api).identify(Some(key)).ok().map(|caller| caller.tenant.name.to_string())
}

fn told(api: &FakeApi, name: &str) -> (String, String) {
    let status = api.object("pulsetenants", NAMESPACE, name).expect(name)["status"].take();
    let condition = &status["conditions"][0];
    assert_eq!(condition["type"], "Ready", "{status}");
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

#[tokio::test]
async fn each_key_is_in_its_secret_and_opens_the_mesh_for_its_tenant() {
    let mut shop = tenant("shop", &[("gateway", "write"), ("board", "read")]);
    shop["spec"]["limits"] = json!({"requestsPerMinute": 6000, "pulsesPerMinute": 9, "burst": 7});
    shop["spec"]["ackMax"] = "Durable".into();
    shop["spec"]["metadata"] = json!({"team": "a \"b\"\n: #c"});
    let api = api([shop, tenant("mail", &[("ops", "admin")])]);
    assert_eq!(settle(&api).await, 0);
    let key = text(&api, "shop-gateway", "api-key");
    assert_eq!(text(&api, "shop-gateway", "url"), "http://demo-ingest.shop.svc.cluster.local");
    let all = tenants(&api);
    let caller = all.identify(Some(&key)).expect("known");
    assert_eq!(&*caller.tenant.name, "shop");
    assert!(caller.require(Permission::Write).is_ok() && caller.require(Permission::Read).is_err());
    let limits = caller.tenant.limits;
    assert_eq!((limits.requests_per_minute, limits.pulses_per_minute, limits.burst), (6000, 9, 7));
    assert_eq!(*caller.tenant.metadata, [("team".to_owned(), "a \"b\"\n: #c".to_owned())]);
    assert_eq!(caller.tenant.ack_highest, pulsemesh_ingest::submission::Ack::Durable);
    let ops = all.identify(Some(&text(&api, "mail-ops", "api-key"))).expect("known");
    assert!(ops.require(Permission::Admin).is_ok());
    assert_eq!(ops.tenant.limits, pulsemesh_ingest::tenant::Limits::default());
    assert!(all.identify(None).is_err());
    for name in ["shop", "mail"] {
        assert_eq!(told(&api, name).0, "Known");
    }
    let told = format!(
        "{:?}",
        api.content().iter().filter(|one| one.0.0 != "secrets").collect::<Vec<_>>()
    );
    assert!(!told.contains("pmk_") && !file(&api).contains("pmk_"), "no key but in its Secret");
}

#[tokio::test]
async fn a_steady_mesh_takes_few_reads_and_no_write() {
    let api = api([tenant("shop", &[("a", "both"), ("b", "both")]), tenant("mail", &[])]);
    settle(&api).await;
    api.take_requests();
    assert_eq!(look(&api).await, Next::Changes);
    let requests = api.take_requests();
    assert!(requests.iter().all(|request| request.starts_with("GET")), "{requests:?}");
    assert_eq!(requests.len(), 5, "{requests:?}");
}

#[tokio::test]
async fn a_secret_that_is_deleted_is_another_key_and_the_former_is_none() {
    let api = api([tenant("shop", &[("a", "both")])]);
    settle(&api).await;
    let former = text(&api, "shop-a", "api-key");
    api.remove("secrets", "shop-a");
    settle(&api).await;
    let key = text(&api, "shop-a", "api-key");
    assert_ne!(key, former);
    assert_eq!((whose(&api, &key).as_deref(), whose(&api, &former)), (Some("shop"), None));
}

#[tokio::test]
async fn a_key_that_is_replaced_stays_good_for_as_long_as_is_asked() {
    let api = api([tenant("shop", &[("a", "both")]), tenant("mail", &[("a", "both")])]);
    settle(&api).await;
    let rotate = |grace: &str| {
        let grace = grace.to_owned();
        api.change("secrets", |secret| {
            if secret["metadata"]["name"] == "shop-a" {
                secret["metadata"]["annotations"][ROTATE] = grace.clone().into();
            }
        });
    };
    let first = text(&api, "shop-a", "api-key");
    rotate("1h");
    let Next::In(next) = look(&api).await else { unreachable!("the hour ends") };
    assert!(next.as_secs() <= 3600 && next.as_secs() > 3500, "{next:?}");
    settle(&api).await;
    let second = text(&api, "shop-a", "api-key");
    assert_ne!(first, second);
    assert_eq!(whose(&api, &first).as_deref(), Some("shop"));
    assert_eq!(whose(&api, &second).as_deref(), Some("shop"));
    rotate("0s");
    settle(&api).await;
    let third = text(&api, "shop-a", "api-key");
    assert_eq!((whose(&api, &first), whose(&api, &second)), (None, None));
    assert_eq!(whose(&api, &third).as_deref(), Some("shop"));
    rotate("soon");
    settle(&api).await;
    assert_eq!(text(&api, "shop-a", "api-key"), third);
    let (reason, message) = told(&api, "shop");
    assert!(reason == "Known" && message.contains("write such as 1h"), "{message}");
    assert_eq!(whose(&api, &text(&api, "mail-a", "api-key")).as_deref(), Some("mail"));
}

#[tokio::test]
async fn what_is_taken_away_opens_nothing_any_more() {
    let api =
        api([tenant("shop", &[("a", "both"), ("b", "read")]), tenant("mail", &[("a", "both")])]);
    settle(&api).await;
    let keys = ["shop-a", "shop-b", "mail-a"].map(|secret| text(&api, secret, "api-key"));
    let good = |api: &FakeApi| keys.clone().map(|key| whose(api, &key).is_some());
    assert_eq!(good(&api), [true; 3]);
    api.change("pulsetenants", |tenant| {
        let keys = tenant["spec"]["keys"].as_array_mut().expect("keys");
        keys.retain(|key| key["name"] == "a");
    });
    settle(&api).await;
    assert_eq!(good(&api), [true, false, true]);
    assert!(api.object("secrets", NAMESPACE, "shop-b").is_none());
    api.remove("pulsetenants", "mail");
    settle(&api).await;
    assert_eq!(good(&api), [true, false, false]);
    assert!(api.object("secrets", NAMESPACE, "mail-a").is_none(), "it went with its owner");
    api.remove("pulsetenants", "shop");
    settle(&api).await;
    assert_eq!(good(&api), [false; 3], "the ingest takes a file without tenants");
    let secret = api.object("secrets", NAMESPACE, "demo-tenants").expect("the file");
    assert_eq!(secret["metadata"]["annotations"][names::TENANT_COUNT], "0");
}

#[tokio::test]
async fn what_somebody_does_to_the_file_is_undone_and_another_url_is_told() {
    let api = api([tenant("shop", &[("a", "both")])]);
    settle(&api).await;
    let before = file(&api);
    api.change("secrets", |secret| {
        if secret["metadata"]["name"] == "demo-tenants" {
            secret["data"][names::TENANTS_FILE] = "eA==".into();
        }
    });
    settle(&api).await;
    assert_eq!(file(&api), before);
    let key = text(&api, "shop-a", "api-key");
    api.change("pulsemeshes", |mesh| {
        mesh["spec"]["ingest"]["tls"] = json!({"secretName": "tls"});
        mesh["spec"]["ingest"]["service"] = json!({"port": 443});
    });
    settle(&api).await;
    assert_eq!(text(&api, "shop-a", "url"), "https://demo-ingest.shop.svc.cluster.local");
    assert_eq!(text(&api, "shop-a", "api-key"), key);
}

#[tokio::test]
async fn limits_are_divided_among_the_pods_that_share_them() {
    let api = api([tenant("shop", &[("a", "both")])]);
    let workload = |wanted: i64, ready: i64, updated: i64| {
        let metadata = json!({"name": "demo-ingest", "namespace": NAMESPACE, "generation": 1});
        let status = json!({"readyReplicas": ready, "updatedReplicas": updated,
                            "observedGeneration": 1_000});
        json!({"metadata": metadata, "spec": {"replicas": wanted}, "status": status})
    };
    for (wanted, ready, updated, expected) in [
        (1, 1, 1, None),
        (3, 0, 3, None),
        (3, 2, 3, Some("divide_by: 2\n")),
        (3, 3, 3, Some("divide_by: 3\n")),
        // A rollout with one more, and with one fewer.
        (3, 4, 1, Some("divide_by: 3\n")),
        (3, 2, 1, Some("divide_by: 3\n")),
    ] {
        api.put("statefulsets", workload(wanted, ready, updated));
        settle(&api).await;
        let file = file(&api);
        match expected {
            Some(line) => assert!(file.contains(line), "{ready} of {wanted}: {file}"),
            None => assert!(!file.contains("divide_by"), "{ready} of {wanted}: {file}"),
        }
        tenants(&api);
    }
}
