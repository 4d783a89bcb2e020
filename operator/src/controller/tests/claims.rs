//! Whole looks at meshes whose logs and nodes lie in claims, in a cluster whose controllers work.

use serde_json::{Value, json};

use super::look::{delete, has, settle, worker};
use super::ring::Ring;
use super::{FakeApi, NAMESPACE, mesh};
use crate::controller::worker::Next;
use crate::fake::Faults;

/// A mesh whose logs lie in claims, before a database of another.
fn with_logs(policy: &str) -> Value {
    mesh(
        "demo",
        json!({
            "ingest": {"replicas": 3, "log": {"storage": {"size": "4Gi"}}},
            "store": {"external": {"cassandra": {"nodes": ["a.example:9042"]}}},
            "deletionPolicy": policy,
        }),
    )
}

async fn settled(mesh: Value) -> (FakeApi, Ring) {
    let api = FakeApi::default();
    let ring = Ring::of(&api);
    api.put("pulsemeshes", mesh);
    settle(&api, &ring).await;
    (api, ring)
}

fn names(api: &FakeApi, plural: &str) -> Vec<String> {
    let of = |(key, _): (crate::fake::Key, Value)| (key.0 == plural).then_some(key.2);
    api.content().into_iter().filter_map(of).collect()
}

/// Looks until the mesh is gone or nothing changes; how many logs were drained by Jobs.
async fn see_off(api: &FakeApi, ring: &Ring) -> usize {
    let worker = worker(api, ring.clone());
    let mut drained = 0;
    for _ in 0..20 {
        let next = Box::pin(worker.look(NAMESPACE, "demo")).await.expect("looked");
        drained = drained.max(names(api, "jobs").len());
        api.beat();
        if next == Next::Gone {
            break;
        }
    }
    drained
}

#[tokio::test]
async fn a_deleted_mesh_drains_its_claims_and_takes_them_away() {
    let (api, ring) = settled(with_logs("Delete")).await;
    assert_eq!(names(&api, "persistentvolumeclaims").len(), 3);
    delete(&api).await;
    assert_eq!(see_off(&api, &ring).await, 3);
    assert_eq!(api.content(), [], "nothing holds a claim");
}

#[tokio::test]
async fn logs_are_drained_also_where_somebody_took_the_stateful_set_away() {
    let (api, ring) = settled(with_logs("Delete")).await;
    delete(&api).await;
    api.remove("statefulsets", "demo-ingest");
    assert_eq!(see_off(&api, &ring).await, 3);
    assert_eq!(api.content(), []);
}

#[tokio::test]
async fn a_mesh_that_goes_with_its_namespace_waits_for_no_job_that_can_not_be_made() {
    let (api, ring) = settled(with_logs("Delete")).await;
    api.fail(Faults { namespace_ends: true, ..Faults::default() });
    delete(&api).await;
    assert_eq!(see_off(&api, &ring).await, 0);
    assert_eq!(api.content(), []);
}

#[tokio::test]
async fn a_deletion_waits_for_a_spec_that_says_where_logs_belong() {
    let (api, ring) = settled(with_logs("Delete")).await;
    let unknown = json!({"no-such-setting": "1"});
    api.change("pulsemeshes", |mesh| mesh["spec"]["ingest"]["settings"] = unknown.clone());
    delete(&api).await;
    assert_eq!(see_off(&api, &ring).await, 0);
    assert_eq!(names(&api, "persistentvolumeclaims").len(), 3, "what they hold was accepted");
    let told = api.content().into_iter().find(|(key, _)| key.0 == "pulsemeshes");
    let told = told.expect("the mesh waits").1["status"]["conditions"].to_string();
    assert!(told.contains("correct the spec"), "{told}");
    api.change("pulsemeshes", |mesh| mesh["spec"]["ingest"]["settings"] = json!({}));
    assert_eq!(see_off(&api, &ring).await, 3);
    assert_eq!(api.content(), []);
}

#[tokio::test]
async fn a_mesh_that_retains_its_claims_leaves_them() {
    let (api, ring) = settled(with_logs("Retain")).await;
    delete(&api).await;
    settle(&api, &ring).await;
    assert_eq!(names(&api, "persistentvolumeclaims").len(), 3);
    assert!(!has(&api, "pulsemeshes") && !has(&api, "jobs") && !has(&api, "statefulsets"));
}

#[tokio::test]
async fn claims_of_ingest_grow_where_their_class_can_and_the_store_is_not_ours() {
    for (grows, expected) in [(true, "8Gi"), (false, "4Gi")] {
        let api = FakeApi::default();
        let ring = Ring::of(&api);
        let class = json!({"metadata": {"name": "fast"}, "provisioner": "a",
                           "allowVolumeExpansion": grows});
        api.put("storageclasses", class);
        api.put("pulsemeshes", with_logs("Retain"));
        settle(&api, &ring).await;
        api.change("persistentvolumeclaims", |claim| {
            claim["spec"]["storageClassName"] = "fast".into();
        });
        api.change("pulsemeshes", |mesh| {
            mesh["spec"]["ingest"]["log"]["storage"]["size"] = "8Gi".into();
        });
        let worker = worker(&api, ring);
        Box::pin(worker.look(NAMESPACE, "demo")).await.expect("looked");
        let claims = api.content().into_iter().filter(|(key, _)| key.0 == "persistentvolumeclaims");
        for (key, claim) in claims {
            let size = &claim["spec"]["resources"]["requests"]["storage"];
            assert_eq!(size, expected, "{key:?}");
        }
    }
}
