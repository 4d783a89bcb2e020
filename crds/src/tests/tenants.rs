//! The rules of tenants, and those of a mesh that are about them, with what a user reads.

use super::with_spec;
use crate::PulseTenant;
use crate::ingest::Ack;
use crate::tenant::{KeyKind, Limits};

fn tenant(name: &str, spec: &str) -> PulseTenant {
    let text = format!(
        "{{apiVersion: pulsemesh.io/v1alpha1, kind: PulseTenant, metadata: {{name: {name}}}, \
         spec: {spec}}}"
    );
    serde_saphyr::from_str(&text).expect("the YAML of a tenant")
}

#[track_caller]
fn judge<E: ToString>(outcome: Result<(), E>, refusal: &str) {
    match outcome {
        Ok(()) => assert!(refusal.is_empty(), "accepted: {refusal}"),
        Err(error) => {
            let message = error.to_string();
            assert!(!refusal.is_empty() && message.contains(refusal), "{message}");
        }
    }
}

#[test]
fn what_is_left_out_of_a_tenant_has_the_documented_defaults() {
    let spec = tenant("shop", "{mesh: demo, keys: [{name: a, kind: both}]}").spec;
    assert_eq!((spec.limits, spec.ack_max), (Limits::default(), Ack::Stored));
    assert_eq!((spec.limits.requests_per_minute, spec.limits.burst), (300, 0));
    assert_eq!((spec.keys[0].kind, spec.keys[0].kind.as_str()), (KeyKind::Both, "both"));
    assert!(spec.metadata.is_empty() && spec.schemas.is_empty() && spec.retention.is_none());
    assert!(!with_spec("{store: {embedded: {}}}").spec.ingest.tenants.required);
}

#[test]
fn a_tenant_stays_with_its_mesh_and_has_a_name_that_fits_a_label() {
    let (old, new) = (tenant("shop", "{mesh: demo}"), tenant("shop", "{mesh: other}"));
    judge(old.validate_cel_update(&old), "");
    judge(new.validate_cel_update(&old), "mesh can't be changed: what the tenant has stored");
    judge(tenant(&"a".repeat(63), "{mesh: demo}").validate_cel(), "");
    judge(tenant(&"a".repeat(64), "{mesh: demo}").validate_cel(), "at most 63 characters");
}

#[test]
fn a_schema_asks_for_something() {
    let with =
        |more: &str| tenant("shop", &format!("{{mesh: demo, schemas: [{{kind: a{more}}}]}}"));
    judge(with(", required: [payload.id]").validate_cel(), "");
    judge(with(", schema: {type: object, properties: {a: {}}}").validate_cel(), "");
    judge(with("").validate_cel(), "needs required, schema or both");
    let kept = with(", schema: {type: object, 'x-own': [1, {a: null}]}").spec.schemas;
    let schema = kept[0].schema.as_ref().expect("a schema");
    assert_eq!(schema["x-own"][1]["a"], serde_json::Value::Null, "kept as it is");
}

#[test]
fn a_redis_is_named_without_its_password() {
    let with = |redis: &str| {
        with_spec(&format!("{{store: {{embedded: {{}}}}, ingest: {{redis: {{{redis}}}}}}}"))
    };
    let judge = |redis: &str, refusal: &str| judge(with(redis).validate_cel(), refusal);
    judge("url: 'redis://mesh@cache:6379/1', passwordSecret: {name: login}", "");
    judge("url: 'redis://cache:6379'", "");
    judge("url: 'rediss://cache', caSecret: {name: ca}", "");
    judge("url: 'redis://cache', caSecret: {name: ca}", "need each other");
    judge("url: 'rediss://cache'", "need each other");
    judge("url: 'redis://mesh@cache'", "names a user, who needs redis.passwordSecret");
    judge("url: 'redis://mesh:s3cret@cache'", "redis.url holds a password");
    judge("url: 'redis://:s3cret@cache'", "redis.url holds a password");
}
