//! A schema that pods would refuse costs its tenant alone; what the operator takes, pods take.

use proptest::prelude::*;
use pulsemesh_crds::PulseTenant;
use serde_json::{Value, json};

use super::super::file::{File, LeftOut};
use super::{api, file, look, settle, tenant, tenants, text, told, whose};
use crate::fake::FakeApi;
use pulsemesh_ingest::tenant::file::parse;

fn with_schemas(name: &str, schemas: Value) -> Value {
    let mut tenant = tenant(name, &[("a", "both")]);
    tenant["spec"]["schemas"] = schemas;
    tenant
}

fn set_schemas(api: &FakeApi, name: &str, schemas: &Value) {
    api.change("pulsetenants", |tenant| {
        if tenant["metadata"]["name"] == name {
            tenant["spec"]["schemas"] = schemas.clone();
        }
    });
}

fn good() -> Value {
    json!([{"kind": "order", "required": ["user"], "schema": {"type": "object"}}])
}

#[tokio::test]
async fn what_pods_would_refuse_is_left_out_and_told_with_its_place() {
    let many: Vec<Value> =
        (0..65).map(|n| json!({"kind": format!("k{n}"), "required": ["a"]})).collect();
    let deep = (0..60).fold(json!(true), |inner, _| json!({"not": inner}));
    let words: Vec<String> = (0..5_000).map(|number| format!("word-{number}")).collect();
    let cases = [
        (json!([{"kind": "k", "schema": {"type": "numbr"}}]), "`k` at /type: "),
        (
            json!([{"kind": "o", "required": ["a"]},
                   {"kind": "k", "schema": {"properties": {"a": {"minimum": "1"}}}}]),
            "`k` at /properties/a/minimum: ",
        ),
        (json!([{"kind": "k", "schema": {"pattern": "(?=a)"}}]), "pattern"),
        (json!([{"kind": "k", "schema": {"$ref": "https://example.com/s"}}]), "nothing is fetched"),
        (json!([{"kind": "k", "schema": {"not": deep}}]), "nested deeper"),
        (json!([{"kind": "k", "schema": {"enum": words}}]), "at most 32768 fit"),
        (json!([{"kind": "k", "required": ["a..b"]}]), "`a..b`, which is no path"),
        (json!([{"kind": "ö".repeat(128), "required": ["a"]}]), "names no kind"),
        (json!(many), "at most 64 fit"),
    ];
    let name = |at: usize| format!("bad-{at}");
    let bad = cases.iter().enumerate().map(|(at, (case, _))| with_schemas(&name(at), case.clone()));
    let fine = [with_schemas("fine", good()), tenant("shop", &[("a", "both")])];
    let api = api(bad.chain(fine));
    settle(&api).await;
    for (at, (_, expected)) in cases.iter().enumerate() {
        let (reason, message) = told(&api, &name(at));
        assert_eq!(reason, "SchemasInvalid", "{at}: {message}");
        assert!(message.contains(expected) && message.len() < 700, "{at}: {message}");
        assert!(message.ends_with("nobody may send for the tenant"), "{at}: {message}");
        assert_eq!(whose(&api, &text(&api, &format!("bad-{at}-a"), "api-key")), None, "{at}");
    }
    assert_eq!(tenants(&api).table().tenants().len(), 2);
    for name in ["fine", "shop"] {
        assert_eq!(told(&api, name).0, "Known");
        let key = text(&api, &format!("{name}-a"), "api-key");
        assert_eq!(whose(&api, &key).as_deref(), Some(name));
    }
}

#[tokio::test]
async fn a_tenant_that_was_taken_before_goes_on_with_the_schemas_that_it_had() {
    let api = api([with_schemas("shop", good()), tenant("mail", &[("a", "both")])]);
    settle(&api).await;
    let before = file(&api);
    let key = text(&api, "shop-a", "api-key");
    let bad = json!([{"kind": "order", "schema": {"type": "numbr"}}]);
    for name in ["shop", "mail"] {
        set_schemas(&api, name, &bad);
    }
    settle(&api).await;
    assert_eq!(file(&api), before, "one had a schema, the other none");
    for name in ["shop", "mail"] {
        let (reason, message) = told(&api, name);
        assert_eq!(reason, "SchemasInvalid");
        assert!(message.contains("at /type") && message.contains("had before"), "{message}");
    }
    // All else of it is as it says now: keys, limits, and another tenant's new key.
    api.change("pulsetenants", |tenant| {
        tenant["spec"]["limits"] = json!({"requestsPerMinute": 7});
    });
    api.remove("secrets", "shop-a");
    api.put("pulsetenants", tenant("late", &[("a", "both")]));
    settle(&api).await;
    let all = tenants(&api);
    assert!(all.identify(Some(&key)).is_err(), "the former key");
    let caller = all.identify(Some(&text(&api, "shop-a", "api-key"))).expect("the new one");
    assert_eq!(caller.tenant.limits.requests_per_minute, 7);
    assert!(caller.tenant.schemas.as_ref().is_some_and(|known| known.of("order").is_some()));
    assert!(whose(&api, &text(&api, "late-a", "api-key")).is_some());
    set_schemas(&api, "shop", &json!([{"kind": "refund", "required": ["user"]}]));
    settle(&api).await;
    assert_eq!(told(&api, "shop").0, "Known");
    let all = tenants(&api);
    let schemas = all.table().find("shop").and_then(|tenant| tenant.schemas.clone());
    assert!(schemas.is_some_and(|known| known.of("order").is_none()));
}

#[tokio::test]
async fn the_file_of_another_or_a_mangled_one_gives_no_schemas_back() {
    let api = api([with_schemas("shop", good())]);
    settle(&api).await;
    api.change("secrets", |secret| {
        if secret["metadata"]["name"] == "demo-tenants" {
            secret["data"]["tenants.yaml"] = "LSB7Im5hbWUiOiJzaG9wIiwic2NoZW1hcyI6W3t9XX0K".into();
        }
    });
    set_schemas(&api, "shop", &json!([{"kind": "order", "schema": {"type": "numbr"}}]));
    settle(&api).await;
    let (reason, message) = told(&api, "shop");
    assert!(reason == "SchemasInvalid" && message.contains("nobody may send"), "{message}");
    assert_eq!(tenants(&api).table().tenants().len(), 1, "one that can't exist");
}

#[tokio::test]
async fn a_paused_mesh_tells_of_schemas_and_changes_nothing() {
    let api = api([with_schemas("shop", good())]);
    settle(&api).await;
    let before = file(&api);
    api.change("pulsemeshes", |mesh| mesh["spec"]["paused"] = json!(true));
    set_schemas(&api, "shop", &json!([{"kind": "order", "schema": {"type": "numbr"}}]));
    settle(&api).await;
    assert_eq!((file(&api), told(&api, "shop").0), (before, "SchemasInvalid".to_owned()));
    look(&api).await;
}

#[test]
fn schemas_beyond_those_of_one_file_cost_the_newest_tenants() {
    let made = |number: usize| -> PulseTenant {
        let kinds = (0..40).map(|kind| {
            json!({"kind": format!("k{kind}"), "schema": {"title": format!("{number}-{kind}")}})
        });
        let tenant = with_schemas(&format!("tenant-{number:05}"), kinds.collect());
        serde_json::from_value(tenant).expect("a tenant")
    };
    let (mut file, now) = (File::default(), jiff::Timestamp::UNIX_EPOCH);
    let added: Vec<_> = (0..30).map(|number| file.add(&made(number), &[], now)).collect();
    assert!(added[..25].iter().all(Result::is_ok), "1,000 schemas");
    for left_out in &added[25..] {
        let Err(LeftOut::Schemas(why)) = left_out else { unreachable!("{left_out:?}") };
        assert!(why.contains("at most 1000 different schemas"), "{why}");
    }
    assert_eq!(file.add(&made(3), &[], now).map_err(drop), Ok(None), "the same count once");
}

/// JSON as a schema may have it, with the members that mean something.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(1e20)),
        "\\PC{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("object")),
        Just(Value::from("~")),
    ];
    let name = prop_oneof![
        Just("title".to_owned()),
        Just("default".to_owned()),
        Just("enum".to_owned()),
        Just("type".to_owned()),
        Just("pattern".to_owned()),
        Just("minimum".to_owned()),
        Just("const".to_owned()),
        Just("properties".to_owned()),
        Just("$ref".to_owned()),
        any::<String>(),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_a_tenant_says_pods_take_the_file(
        (kind, schema) in (any::<String>(), schema()),
        required in prop::collection::vec(any::<String>(), 0..3),
        (name, value) in (any::<String>(), any::<String>()),
    ) {
        let mut bad = with_schemas("any", json!([{"kind": kind, "required": required}]));
        if schema.is_object() {
            bad["spec"]["schemas"][0]["schema"] = schema;
        }
        bad["spec"]["metadata"] = Value::Object([(name, value.into())].into_iter().collect());
        let (mut file, now) = (File::default(), jiff::Timestamp::UNIX_EPOCH);
        for tenant in [tenant("shop", &[]), bad] {
            let tenant: PulseTenant = serde_json::from_value(tenant).expect("a tenant");
            let _taken = file.add(&tenant, &[], now);
        }
        let text = file.text("demo", 1);
        let table = parse("tenants.yaml", text.as_bytes());
        prop_assert!(table.is_ok(), "{table:?}\n{text}");
        prop_assert_eq!(table.map(|table| table.tenants().len()).ok(), Some(file.tenants as usize));
    }
}
