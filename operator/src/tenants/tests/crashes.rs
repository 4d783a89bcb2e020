//! A crash at any write of a look converges to the same objects, and no key that somebody was
//! given is lost on the way.

use serde_json::{Value, json};

use super::{api, settle, tenant, text, whose};
use crate::fake::{FakeApi, Faults, Key};
use crate::mesh::names::{FORMER_KEY, KEY_HASH, ROTATE};

/// All objects without what is chosen by chance.
fn comparable(api: &FakeApi) -> Vec<(Key, Value)> {
    let mut content = api.content();
    for (key, object) in &mut content {
        if let Some(condition) = object.pointer_mut("/status/conditions/0") {
            condition["lastTransitionTime"] = Value::Null;
        }
        if key.0 != "secrets" {
            continue;
        }
        object["data"] = Value::Null;
        for annotation in [KEY_HASH, FORMER_KEY] {
            if let Some(text) = object["metadata"]["annotations"].get_mut(annotation) {
                *text = Value::Null;
            }
        }
    }
    content
}

/// Everything that a look can have to do at once: keys to make, to replace, to take away, and
/// another URL to tell.
async fn much_to_do() -> FakeApi {
    let api =
        api([tenant("shop", &[("a", "both"), ("b", "read")]), tenant("mail", &[("a", "both")])]);
    settle(&api).await;
    api.change("secrets", |secret| {
        if secret["metadata"]["name"] == "shop-a" {
            secret["metadata"]["annotations"][ROTATE] = "1h".into();
        }
    });
    api.change("pulsetenants", |tenant| {
        if tenant["metadata"]["name"] == "shop" {
            tenant["spec"]["keys"] = json!([{"name": "a", "kind": "both"},
                                            {"name": "c", "kind": "write"}]);
        }
    });
    api.change("pulsemeshes", |mesh| mesh["spec"]["ingest"]["service"] = json!({"port": 81}));
    api.put("pulsetenants", tenant("late", &[("a", "both"), ("b", "admin")]));
    api
}

async fn crash_at_each_write(answer_is_lost: bool) {
    let begun = much_to_do().await;
    let (shop, mail) = (text(&begun, "shop-a", "api-key"), text(&begun, "mail-a", "api-key"));
    let calm = begun.fork();
    settle(&calm).await;
    let (expected, mut met) = (comparable(&calm), 0);
    for at in 0.. {
        let api = begun.fork();
        api.fail(Faults { write_fails_after: Some(at), answer_is_lost, ..Faults::default() });
        settle(&api).await;
        if !api.has_failed() {
            break;
        }
        met += 1;
        assert_eq!(comparable(&api), expected, "write {at} fails, lost: {answer_is_lost}");
        // Nobody is shut out: what is replaced is good for an hour, what stays is good.
        assert_eq!(whose(&api, &shop).as_deref(), Some("shop"), "write {at}");
        assert_eq!(whose(&api, &mail).as_deref(), Some("mail"), "write {at}");
        for (secret, tenant) in
            [("shop-a", "shop"), ("shop-c", "shop"), ("mail-a", "mail"), ("late-b", "late")]
        {
            let key = text(&api, secret, "api-key");
            assert_eq!(whose(&api, &key).as_deref(), Some(tenant), "write {at}: {secret}");
        }
    }
    assert!(met >= 8, "{met} writes failed");
}

#[tokio::test]
async fn a_write_that_fails_at_any_moment_changes_nothing_of_the_end() {
    crash_at_each_write(false).await;
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_at_any_moment_changes_nothing_of_the_end() {
    crash_at_each_write(true).await;
}
