//! Orders against an API server that is a function, and nodes that do as they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::{Performed, perform};
use crate::mesh::names;
use crate::mesh::observed::Observed;
use crate::mesh::plan::Plan;
use crate::mesh::topology::tests::plan::plan;
use crate::mesh::topology::{Action, Leaver, StoreStep};
use crate::nodes::{NodeRef, Nodes, NodesError, View};

const POD: &str = "demo-store-a-0";
const CLAIM: &str = "data-demo-store-a-0";

/// All that was asked of the API server and of nodes, in order.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// Nodes that write down what they are told.
#[derive(Debug)]
struct Told {
    asked: Asked,
    is_unwilling: bool,
    /// How often what was begun has failed.
    failures: u32,
}

impl Told {
    fn hear(&self, what: &str, node: &NodeRef) -> Result<(), NodesError> {
        let heard = (what.to_owned(), json!(node.pod));
        self.asked.lock().expect("a list").push(heard);
        if self.is_unwilling {
            let (pod, why) = (node.pod.clone(), "it will not".to_owned());
            return Err(NodesError::Refused { pod, order: "to obey", why });
        }
        if let times @ 1.. = self.failures {
            let (pod, why) = (node.pod.clone(), "no peer".to_owned());
            return Err(NodesError::Failing { pod, order: "to obey", times, why });
        }
        Ok(())
    }
}

impl Nodes for Told {
    async fn view(&self, node: &NodeRef) -> Result<View, NodesError> {
        Err(NodesError::Unreachable { pod: node.pod.clone(), why: "no view".to_owned() })
    }
    async fn secure(&self, node: &NodeRef) -> Result<(), NodesError> {
        self.hear("secure", node)
    }
    async fn decommission(&self, node: &NodeRef) -> Result<(), NodesError> {
        self.hear("decommission", node)
    }
    async fn mark_left(&self, node: &NodeRef) -> Result<(), NodesError> {
        self.hear("mark left", node)
    }
    async fn raise_replication(
        &self,
        node: &NodeRef,
        keyspace: &str,
        datacenter: &str,
        copies: i32,
    ) -> Result<(), NodesError> {
        self.hear(&format!("raise {keyspace} in {datacenter} to {copies}"), node)
    }
    async fn repaired(&self, node: &NodeRef, reason: &str) -> Result<bool, NodesError> {
        self.hear(&format!("repair for {reason}"), node).map(|()| true)
    }
}

/// Answers with the pod, the claim or what was sent; a Secret exists already if `has_secret`.
fn client(asked: &Asked, has_secret: bool) -> Client {
    let asked = Arc::clone(asked);
    let answer = move |request: Request<Body>| {
        let asked = Arc::clone(&asked);
        async move {
            let what = format!("{} {}", request.method(), request.uri().path());
            let body = request.into_body().collect_bytes().await.expect("a body");
            let sent: Value = serde_json::from_slice(&body).unwrap_or_default();
            let conflict = has_secret && what.starts_with("POST");
            asked.lock().expect("a list").push((what, sent));
            let (status, answer) = if conflict {
                let reason = "AlreadyExists";
                (
                    409,
                    json!({ "kind": "Status", "status": "Failure", "reason": reason, "code": 409,
                              "message": "it exists" }),
                )
            } else {
                (200, json!({ "metadata": { "name": POD, "uid": "pod-1" }, "spec": {} }))
            };
            let body = Body::from(serde_json::to_vec(&answer).expect("JSON"));
            Response::builder().status(status).body(body)
        }
    };
    Client::new(tower::service_fn(answer), "default")
}

fn observed() -> Observed {
    let pod = json!({
        "metadata": { "name": POD, "uid": "pod-1" },
        "status": { "podIP": "10.0.0.1", "conditions": [{
            "type": names::JOINED, "status": "True", "message": "",
        }] },
    });
    let claim = json!({ "metadata": { "name": CLAIM, "uid": "claim-1" } });
    Observed {
        pods: vec![serde_json::from_value(pod).expect("a pod")],
        claims: vec![serde_json::from_value(claim).expect("a claim")],
        secrets: BTreeMap::from([(names::credentials("demo"), None::<BTreeSet<String>>)]),
        ..Observed::default()
    }
}

fn step(actions: Vec<Action>) -> StoreStep {
    StoreStep { actions, ..StoreStep::default() }
}

fn leaver(pod_uid: &str) -> Leaver {
    let [pod, pod_uid, claim, host_id] = [POD, pod_uid, CLAIM, "host-1"].map(str::to_owned);
    Leaver { pod, pod_uid, claim, host_id }
}

/// What was asked, and what came of it.
async fn run(
    step: &StoreStep,
    change: impl FnOnce(&mut Told),
) -> (Vec<(String, Value)>, Performed) {
    let asked = Asked::default();
    let mut nodes = Told { asked: Arc::clone(&asked), is_unwilling: false, failures: 0 };
    change(&mut nodes);
    let wish: Plan = plan(&[1], 1, "one", "1Gi");
    let performed = perform(&client(&asked, false), &nodes, &wish, &observed(), step).await;
    let asked = std::mem::take(&mut *asked.lock().expect("a list"));
    (asked, performed)
}

fn words(asked: &[(String, Value)]) -> Vec<&str> {
    asked.iter().map(|(what, _)| what.rsplit('/').next().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_leave_is_noted_on_the_claim_before_the_node_is_told() {
    let (asked, performed) = run(&step(vec![Action::Decommission(leaver("pod-1"))]), |_| ()).await;
    assert_eq!(words(&asked), [CLAIM, POD, "decommission"]);
    let noted = &asked[0].1["metadata"];
    assert_eq!(noted["annotations"][names::LEAVING], "host-1");
    assert_eq!(noted["uid"], "claim-1", "another claim of the name is refused");
    assert!(performed.failure.is_none(), "{performed:?}");
    assert_eq!((performed.changed, performed.done.len()), (1, 1));
}

#[tokio::test]
async fn the_claim_tells_of_the_leave_only_after_the_node_has() {
    let actions = || step(vec![Action::MarkLeft(leaver("pod-1"))]);
    let (asked, _) = run(&actions(), |_| ()).await;
    assert_eq!(words(&asked), [POD, "mark left", CLAIM]);
    assert_eq!(asked[2].1["metadata"]["annotations"][names::LEFT], "host-1 pod-1");
    let (asked, performed) = run(&actions(), |nodes| nodes.is_unwilling = true).await;
    assert_eq!(words(&asked), [POD, "mark left"]);
    assert!(performed.failure.is_some_and(|why| why.to_string().contains("it will not")));
}

#[tokio::test]
async fn no_order_to_leave_reaches_another_pod_of_the_name() {
    for action in [Action::Decommission(leaver("pod-0")), Action::MarkLeft(leaver("pod-0"))] {
        let (asked, performed) = run(&step(vec![action]), |_| ()).await;
        let orders = ["decommission", "mark left"];
        assert!(!words(&asked).iter().any(|word| orders.contains(word)), "{asked:?}");
        assert!(performed.failure.is_some());
    }
}

#[tokio::test]
async fn a_condition_is_written_only_when_it_differs() {
    for (joined, expected) in [(Ok(()), 0), (Err("nobody sees it".to_owned()), 1)] {
        let joined = BTreeMap::from([(POD.to_owned(), joined), ("gone".to_owned(), Ok(()))]);
        let (asked, performed) = run(&StoreStep { joined, ..step(vec![]) }, |_| ()).await;
        assert_eq!((asked.len(), performed.changed), (expected, expected), "{asked:?}");
        for (what, sent) in asked {
            assert!(what.ends_with(&format!("{POD}/status")), "{what}");
            assert_eq!(sent["metadata"]["uid"], "pod-1");
            assert_eq!(sent["status"]["conditions"][0]["status"], "False");
        }
    }
}

#[tokio::test]
async fn credentials_are_created_and_those_that_exist_are_left_alone() {
    let make = step(vec![Action::MakeCredentials]);
    let (asked, performed) = run(&make, |_| ()).await;
    let [(what, sent)] = &asked[..] else { panic!("{asked:?}") };
    assert!(what.starts_with("POST") && what.ends_with("/secrets"), "{what}");
    assert_eq!(sent["metadata"]["name"], names::credentials("demo"));
    assert!(sent["metadata"].get("ownerReferences").is_none(), "they outlive the mesh");
    let password = sent["stringData"]["password"].as_str().expect("a password");
    assert!(password.len() >= 32 && !format!("{performed:?}").contains(password));
    let asked = Asked::default();
    let nodes = Told { asked: Arc::clone(&asked), is_unwilling: false, failures: 0 };
    let wish = plan(&[1], 1, "one", "1Gi");
    let performed = perform(&client(&asked, true), &nodes, &wish, &observed(), &make).await;
    assert!(performed.failure.is_none() && performed.done.is_empty(), "{performed:?}");
    assert_eq!(asked.lock().expect("a list").len(), 1, "nothing else is tried");
}

#[tokio::test]
async fn a_statefulset_is_taken_away_alone_and_only_if_it_is_the_one_that_was_seen() {
    let release = Action::ReleasePods { name: "demo-store-a".to_owned(), uid: "set-1".to_owned() };
    let (asked, _) = run(&step(vec![release]), |_| ()).await;
    let [(what, sent)] = &asked[..] else { panic!("{asked:?}") };
    assert!(what.starts_with("DELETE") && what.ends_with("/demo-store-a"), "{what}");
    assert_eq!(sent["propagationPolicy"], "Orphan");
    assert_eq!(sent["preconditions"]["uid"], "set-1");
}

#[tokio::test]
async fn orders_after_one_that_failed_are_given_all_the_same() {
    let grow = Action::GrowClaim { claim: CLAIM.to_owned(), size: "2Gi".to_owned() };
    let copies = Action::RaiseReplication {
        pod: POD.to_owned(),
        keyspace: "system_auth".to_owned(),
        copies: 3,
    };
    let repair = Action::Repair { pod: POD.to_owned(), claim: CLAIM.to_owned(), copies: 3 };
    let actions = vec![Action::Secure("gone".to_owned()), grow, copies, repair];
    let (asked, performed) = run(&step(actions), |_| ()).await;
    let raise = "raise system_auth in datacenter1 to 3";
    assert_eq!(words(&asked), [CLAIM, raise, "repair for 3 copies, node ", CLAIM]);
    assert_eq!(asked[0].1["spec"]["resources"]["requests"]["storage"], "2Gi");
    assert_eq!(asked[3].1["metadata"]["annotations"][names::COMPLETE_FOR], "3");
    assert!(performed.failure.is_some_and(|why| why.to_string().contains("pod gone")));
    assert_eq!(performed.done.len(), 3);
}

#[tokio::test]
async fn what_has_failed_again_and_again_is_told_to_a_person() {
    let repair = || Action::Repair { pod: POD.to_owned(), claim: CLAIM.to_owned(), copies: 3 };
    for (failures, stalls) in [(0, false), (1, false), (2, false), (3, true), (9, true)] {
        let (_, performed) = run(&step(vec![repair()]), |nodes| nodes.failures = failures).await;
        assert_eq!(performed.failure.is_some(), failures > 0);
        assert_eq!(performed.stalled.is_some(), stalls, "{performed:?}");
    }
}
