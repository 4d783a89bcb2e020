//! What each tenant is told, and what to do: for every reason why its keys open nothing.

use pulsemesh_crds::PulseTenant;
use serde_json::{Value, json};

use super::super::file::{FILE_BYTES_MAX, File, LeftOut};
use super::super::look::Next;
use super::super::sort;
use super::{NAMESPACE, api, closed, file, look, settle, tenant, tenants, told};
use crate::fake::{FakeApi, Faults};

#[track_caller]
fn check(api: &FakeApi, name: &str, reason: &str, part: &str) {
    let (told, message) = told(api, name);
    assert!(told == reason && message.contains(part), "{told}: {message}");
}

fn count(api: &FakeApi, plural: &str) -> usize {
    api.content().iter().filter(|(key, _)| key.0 == plural).count()
}

#[tokio::test]
async fn a_mesh_that_is_missing_open_or_going_is_told_and_gets_no_keys() {
    let api = FakeApi::default();
    api.put("pulsetenants", tenant("shop", &[("a", "both")]));
    settle(&api).await;
    check(&api, "shop", "MeshMissing", "there is no PulseMesh demo");
    let mut mesh = closed();
    mesh["spec"]["ingest"]["tenants"]["required"] = json!(false);
    api.put("pulsemeshes", mesh.clone());
    settle(&api).await;
    check(&api, "shop", "MeshOpen", "set spec.ingest.tenants.required of it to true");
    mesh["spec"] = json!({"store": 5});
    api.put("pulsemeshes", mesh);
    settle(&api).await;
    check(&api, "shop", "MeshInvalid", "can't be read");
    let mut mesh = closed();
    mesh["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    api.put("pulsemeshes", mesh);
    settle(&api).await;
    check(&api, "shop", "MeshDeleting", "is being deleted");
    assert_eq!(count(&api, "secrets"), 0);
}

#[tokio::test]
async fn a_mesh_that_opens_has_no_file_left_and_keeps_the_keys() {
    let api = api([tenant("shop", &[("a", "both")])]);
    settle(&api).await;
    api.change("pulsemeshes", |mesh| mesh["spec"]["ingest"]["tenants"]["required"] = json!(false));
    settle(&api).await;
    assert!(api.object("secrets", NAMESPACE, "demo-tenants").is_none());
    assert!(api.object("secrets", NAMESPACE, "shop-a").is_some());
    check(&api, "shop", "MeshOpen", "");
}

#[tokio::test]
async fn a_paused_mesh_and_its_tenants_are_left_as_they_are() {
    let api = api([tenant("shop", &[("a", "both")])]);
    settle(&api).await;
    let before = file(&api);
    api.change("pulsemeshes", |mesh| mesh["spec"]["paused"] = json!(true));
    api.put("pulsetenants", tenant("late", &[("a", "both")]));
    settle(&api).await;
    assert_eq!((file(&api), count(&api, "secrets")), (before, 2));
    check(&api, "late", "MeshPaused", "as they were");
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone_and_named() {
    let api = api([tenant("shop", &[("a", "both"), ("b", "both")])]);
    let own = json!({"metadata": {"name": "shop-a", "namespace": NAMESPACE, "uid": "own"}});
    api.put("secrets", own.clone());
    settle(&api).await;
    check(&api, "shop", "SecretTaken", "Secret shop-a exists and was not made for this tenant");
    let left = api.object("secrets", NAMESPACE, "shop-a").expect("left");
    assert_eq!(left["metadata"]["uid"], "own");
    assert!(file(&api).contains("\"b\""), "its other key is good");

    let taken = json!({"metadata": {"name": "demo-tenants", "namespace": NAMESPACE, "uid": "own"}});
    let api = super::api([tenant("shop", &[("a", "both")])]);
    api.put("secrets", taken);
    settle(&api).await;
    check(&api, "shop", "SecretTaken", "Secret demo-tenants exists");
}

#[tokio::test]
async fn what_can_not_be_in_the_file_is_told_and_all_others_are_in_it() {
    let mut long = tenant("long", &[("a", "both")]);
    long["spec"]["metadata"] = json!({"team": "ö".repeat(200)});
    let mut large = tenant("large", &[("a", "both")]);
    let words: Vec<Value> = (0..9_000).map(|number| json!(format!("word-{number}"))).collect();
    large["spec"]["schemas"] = json!([{"kind": "order", "schema": {"enum": words}}]);
    let reserved = tenant("demo", &[("tenants", "both")]);
    let api = api([long, large, reserved, tenant("none", &[]), tenant("shop", &[("a", "both")])]);
    settle(&api).await;
    check(&api, "long", "Invalid", "values at most 255");
    check(&api, "large", "SchemasInvalid", "make its schemas smaller");
    check(&api, "demo", "Invalid", "give the key another name");
    check(&api, "none", "NoKeys", "add spec.keys");
    check(&api, "shop", "Known", "pods of mesh demo know its keys");
    assert_eq!(tenants(&api).table().tenants().len(), 2);
}

#[tokio::test]
async fn a_tenant_has_a_retention_class_of_its_mesh_or_is_told_which_there_are() {
    let mut audited = tenant("audited", &[("a", "both")]);
    audited["spec"]["retention"] = "audit".into();
    let mut other = tenant("other", &[("a", "both")]);
    other["spec"]["retention"] = "default".into();
    let api = api([audited, other]);
    settle(&api).await;
    check(&api, "audited", "Invalid", "no retention class `audit`: write default, or add it");
    check(&api, "other", "Known", "pods of mesh demo know its keys");
    let mut mesh = closed();
    mesh["spec"]["ingest"]["settings"] = json!({"retention-classes": "audit=365d"});
    api.put("pulsemeshes", mesh.clone());
    settle(&api).await;
    check(&api, "audited", "Known", "pods of mesh demo know its keys");
    let known = tenants(&api);
    let audited = known.find("audited").expect("a tenant");
    assert_eq!(&*audited.retention_class, "audit");
    // What the pods of such a mesh have is not known, and they are not without it for a mistake.
    mesh["spec"]["ingest"]["settings"] = json!({"retention-classes": "audit="});
    api.put("pulsemeshes", mesh);
    settle(&api).await;
    assert!(tenants(&api).find("audited").is_some());
}

#[test]
fn a_full_file_has_the_oldest_and_a_thousand_tenants_fit_many_times() {
    let made = |number: usize| -> PulseTenant {
        let mut tenant = tenant(&format!("tenant-{number:05}"), &[("key", "both")]);
        let (minute, second) = (number / 60 % 60, number % 60);
        let time = format!("2026-01-01T{:02}:{minute:02}:{second:02}Z", number / 3600);
        tenant["metadata"]["creationTimestamp"] = time.into();
        let value = "x".repeat(100);
        tenant["spec"]["metadata"] = json!({"a": value, "b": value});
        serde_json::from_value(tenant).expect("a tenant")
    };
    let mut all: Vec<PulseTenant> = (0..6_000).rev().map(made).collect();
    sort(&mut all);
    let mut file = File::default();
    let now = jiff::Timestamp::UNIX_EPOCH;
    let added: Vec<bool> = all.iter().map(|one| file.add(one, &[], now).is_ok()).collect();
    let first_out = added.iter().position(|is_in| !is_in).expect("it is full");
    assert!(first_out > 3_000 && added[first_out..].iter().all(|is_in| !is_in), "{first_out}");
    assert_eq!(all[0].metadata.name.as_deref(), Some("tenant-00000"));
    assert_eq!(file.add(&all[first_out], &[], now), Err(LeftOut::Full));
    assert!(file.text("demo", 3).len() < FILE_BYTES_MAX + 200);
}

#[tokio::test]
async fn where_the_definition_is_missing_nobody_is_let_in_and_what_was_stays() {
    let api = api([tenant("shop", &[("a", "both")])]);
    let missing = || Faults { unknown: Some("pulsetenants"), ..Faults::default() };
    api.fail(missing());
    let Next::In(again) = look(&api).await else { unreachable!("it is looked for again") };
    assert_eq!(again.as_secs(), 60);
    assert!(file(&api).contains("No-PulseTenant-yet"));
    tenants(&api);
    api.fail(Faults::default());
    settle(&api).await;
    let known = file(&api);
    api.fail(missing());
    settle(&api).await;
    assert_eq!(file(&api), known);
}

#[tokio::test]
async fn thousands_of_keys_are_made_by_several_looks_and_the_first_are_good_soon() {
    let keys: Vec<(String, &str)> = (0..16).map(|number| (format!("k{number}"), "both")).collect();
    let keys: Vec<(&str, &str)> = keys.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
    let api = api((0..40).map(|number| tenant(&format!("tenant-{number}"), &keys)));
    assert_eq!(look(&api).await, Next::In(std::time::Duration::ZERO));
    assert_eq!(count(&api, "secrets"), 201, "200 keys and the file");
    settle(&api).await;
    assert_eq!(count(&api, "secrets"), 40 * 16 + 1);
    check(&api, "tenant-39", "Known", "");
}
