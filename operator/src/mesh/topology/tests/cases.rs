//! Single decisions, each from a cluster that the model has brought to rest.

use std::collections::BTreeSet;

use super::cluster::{Cluster, Place};
use super::observe::{Lie, pod_name};
use super::plan::{MESH, plan};
use super::runs::Run;
use crate::mesh::names;
use crate::mesh::plan::Plan;
use crate::mesh::topology::{Action, StoreStep, next};
use crate::nodes::State;

/// A cluster at rest with so many nodes in each rack, and its plan.
fn at_rest(racks: &[i32]) -> (Cluster, Plan) {
    let mut run = Run::new(racks.len());
    run.wish(racks, false, false);
    run.settle();
    (run.cluster, run.plan)
}

fn reason(step: &StoreStep) -> Option<&'static str> {
    step.stalled.as_ref().or(step.waiting.as_ref()).map(|told| told.reason)
}

fn replicas(step: &StoreStep) -> Vec<i32> {
    step.racks.values().map(|rack| rack.replicas).collect()
}

fn pod(rack: usize, ordinal: i32) -> String {
    pod_name((rack, ordinal))
}

#[test]
fn the_first_node_comes_after_its_credentials_and_alone() {
    let wish = plan(&[2, 2], 3, "one", "1Gi");
    let mut cluster = Cluster::default();
    let step = next(&wish, &cluster.observe(None));
    assert_eq!(step.actions, [Action::MakeCredentials]);
    assert_eq!(replicas(&step), [0, 0], "a claim without credentials could never be opened");
    cluster.has_secret = true;
    let step = next(&wish, &cluster.observe(None));
    assert_eq!((step.actions.len(), replicas(&step)), (0, vec![1, 0]));
}

#[test]
fn credentials_are_never_made_over_data_or_while_unknown() {
    let (mut cluster, wish) = at_rest(&[1]);
    cluster.has_secret = false;
    // The StatefulSet is gone too: the claim is enough.
    cluster.sets.clear();
    cluster.pods.clear();
    let step = next(&wish, &cluster.observe(None));
    assert_eq!((reason(&step), step.actions.len()), (Some("CredentialsLost"), 0));
    assert_eq!(replicas(&step), [1], "the nodes come back all the same");
    let mut unread = Cluster::default().observe(None);
    unread.secrets.clear();
    assert_eq!(next(&wish, &unread).actions, []);
    let mut half = Cluster::default().observe(None);
    let keys = Some(BTreeSet::from(["username".to_owned()]));
    half.secrets.insert(names::credentials(MESH), keys);
    let step = next(&wish, &half);
    assert_eq!((reason(&step), step.actions.len()), (Some("CredentialsIncomplete"), 0));
}

#[test]
fn the_first_answer_has_the_login_secured_before_anybody_joins() {
    let (mut cluster, _) = at_rest(&[1]);
    cluster.is_secured = false;
    let step = next(&plan(&[3], 3, "one", "1Gi"), &cluster.observe(None));
    assert_eq!(step.actions, [Action::Secure(pod(0, 0))]);
    assert_eq!(replicas(&step), [1]);
}

#[test]
fn the_rack_with_fewest_nodes_gets_the_next_and_the_one_with_most_loses_one() {
    let (cluster, _) = at_rest(&[2, 1, 1]);
    let step = next(&plan(&[3, 3, 2], 3, "one", "1Gi"), &cluster.observe(None));
    assert_eq!(replicas(&step), [2, 2, 1]);
    let (cluster, _) = at_rest(&[1, 3, 2]);
    let step = next(&plan(&[1, 1, 1], 3, "one", "1Gi"), &cluster.observe(None));
    assert_eq!(replicas(&step), [1, 3, 2], "the pod stays while its node leaves");
    let [Action::Decommission(leaver)] = &step.actions[..] else { panic!("{step:?}") };
    assert_eq!(leaver.pod, pod(1, 2));
}

#[test]
fn fewer_nodes_than_copies_of_any_keyspace_are_refused() {
    let (cluster, _) = at_rest(&[3]);
    let wish = plan(&[2], 2, "one", "1Gi");
    let step = next(&wish, &cluster.observe(None));
    assert_eq!((reason(&step), step.actions.len()), (Some("TooFewNodes"), 0));
    let (cluster, _) = at_rest(&[4]);
    let wish = plan(&[3], 3, "one", "1Gi");
    let mut observed = cluster.observe(None);
    assert_eq!(next(&wish, &observed).actions.len(), 1);
    // One view is enough, and a keyspace that a person made counts.
    for view in observed.views.values_mut().take(1).flatten() {
        view.replication.insert("own".to_owned(), 4);
    }
    let step = next(&wish, &observed);
    assert_eq!((reason(&step), step.actions.len()), (Some("TooFewNodes"), 0));
}

/// Nothing of the ring may be changed; told with this reason.
fn check_waits(cluster: &Cluster, lie: Option<(Place, Lie)>, expected: &str) {
    for nodes in [2, 4] {
        let step = next(&plan(&[nodes], 2, "one", "1Gi"), &cluster.observe(lie));
        assert_eq!((replicas(&step), &step.actions[..]), (vec![3], &[][..]), "{step:?}");
        assert_eq!(reason(&step), Some(expected), "{step:?}");
    }
}

#[test]
fn while_any_node_is_down_or_unclear_the_ring_is_left_alone() {
    let (mut cluster, _) = at_rest(&[3]);
    for (lie, expected) in [
        (Lie::OthersDown, "NodeDown"),
        (Lie::Ghost, "UnknownNode"),
        (Lie::Nobody, "NodesDisagree"),
        (Lie::Silence, "NodeNotUp"),
        (Lie::OwnLeave, "NodeLeaving"),
    ] {
        check_waits(&cluster, Some(((0, 1), lie)), expected);
    }
    cluster.pods.entry((0, 2)).and_modify(|pod| pod.is_hung = true);
    cluster.beat();
    check_waits(&cluster, None, "NodeNotUp");
}

#[test]
fn a_node_that_no_pod_is_waits_for_a_person_also_while_pods_are_changed() {
    let (mut cluster, _) = at_rest(&[3]);
    for image in ["one", "two"] {
        let wish = plan(&[3], 3, image, "1Gi");
        let step = next(&wish, &cluster.observe(None));
        cluster.perform(&wish, &step, super::perform::Until::All);
        let step = next(&wish, &cluster.observe(Some(((0, 1), Lie::Ghost))));
        let stalled = step.stalled.as_ref().expect("a person is told");
        assert_eq!(stalled.reason, "UnknownNode");
        assert!(stalled.message.contains("nodetool removenode host-0"), "{stalled:?}");
        let down = next(&wish, &cluster.observe(Some(((0, 1), Lie::OthersDown))));
        assert_eq!(down.stalled, None, "time may mend it");
    }
}

#[test]
fn a_leave_that_was_begun_is_finished_though_the_wish_has_changed() {
    let (mut cluster, _) = at_rest(&[4]);
    let fewer = plan(&[3], 3, "one", "1Gi");
    let step = next(&fewer, &cluster.observe(None));
    cluster.perform(&fewer, &step, super::perform::Until::FirstNote);
    let more = plan(&[5], 3, "one", "1Gi");
    let step = next(&more, &cluster.observe(None));
    assert!(matches!(&step.actions[..], [Action::Decommission(_)]), "{step:?}");
    assert_eq!((replicas(&step), reason(&step)), (vec![4], Some("NodeLeaving")));
    let told = step.waiting.expect("told").message;
    assert!(told.contains("before the wish for 5 nodes is met"), "{told}");
}

#[test]
fn a_pod_goes_only_after_another_node_and_the_claim_say_that_its_node_has_left() {
    let (mut cluster, _) = at_rest(&[4]);
    let wish = plan(&[3], 3, "one", "1Gi");
    let mut seen = Vec::new();
    while cluster.sets[&0].replicas == 4 {
        let step = next(&wish, &cluster.observe(None));
        seen.extend(step.actions.iter().map(|action| match action {
            Action::Decommission(_) => "leave",
            Action::MarkLeft(_) => "mark",
            other => panic!("{other:?}"),
        }));
        cluster.perform(&wish, &step, super::perform::Until::All);
        cluster.beat();
    }
    seen.dedup();
    assert_eq!(seen, ["leave", "mark"]);
    // What nobody knows any more is no reason by itself.
    let (mut cluster, _) = at_rest(&[4]);
    let leaver = cluster.claims[&(0, 3)].data.expect("a node");
    cluster.nodes.entry(leaver).and_modify(|node| node.state = State::Left);
    cluster.nodes.values_mut().for_each(|node| {
        node.knows.remove(&leaver);
    });
    let step = next(&wish, &cluster.observe(None));
    assert_eq!((replicas(&step), &step.actions[..]), (vec![4], &[][..]), "{step:?}");
}

#[test]
fn a_node_that_starts_anew_on_the_claim_of_one_that_has_left_is_another() {
    let (mut cluster, _) = at_rest(&[4]);
    let fewer = plan(&[3], 3, "one", "1Gi");
    while !cluster.claims[&(0, 3)].notes.contains_key(names::LEFT) {
        let step = next(&fewer, &cluster.observe(None));
        cluster.perform(&fewer, &step, super::perform::Until::All);
        cluster.beat();
    }
    let mut anew = cluster.clone();
    // Its pod is deleted before the operator looks again, and made anew.
    anew.pods.remove(&(0, 3));
    anew.beat();
    let step = next(&fewer, &anew.observe(None));
    let free = Action::FreeClaim(names::store_claim(&pod(0, 3)));
    assert_eq!((replicas(&step), &step.actions[..]), (vec![4], std::slice::from_ref(&free)));
    // A new wish waits for the pod, then for the notes, before a node joins there.
    let more = plan(&[4], 3, "one", "1Gi");
    let step = next(&more, &cluster.observe(None));
    assert_eq!((replicas(&step), &step.actions[..]), (vec![3], &[][..]));
    cluster.perform(&more, &step, super::perform::Until::All);
    let step = next(&more, &cluster.observe(None));
    assert_eq!((replicas(&step), &step.actions[..]), (vec![3], &[][..]), "the pod is there yet");
    cluster.beat();
    let step = next(&more, &cluster.observe(None));
    assert_eq!((replicas(&step), &step.actions[..]), (vec![3], &[free][..]));
    cluster.perform(&more, &step, super::perform::Until::All);
    assert_eq!(replicas(&next(&more, &cluster.observe(None))), [4]);
}

#[test]
fn an_operator_of_another_version_keeps_the_template_until_the_spec_changes() {
    let (cluster, wish) = at_rest(&[2]);
    let mut observed = cluster.observe(None);
    for object in &mut observed.objects {
        let template = &mut object.value.data["spec"]["template"];
        template["metadata"]["annotations"][names::RENDERED] = "another".into();
    }
    let step = next(&wish, &observed);
    assert!(step.update_pending && step.racks["a"].keep_template, "{step:?}");
    assert_eq!(reason(&step), None, "it is no reason to wait");
    let step = next(&plan(&[2], 2, "two", "1Gi"), &observed);
    assert!(!step.update_pending && !step.racks["a"].keep_template, "{step:?}");
    assert_eq!(step.racks["a"].partition, 2, "and no pod gets it at once");
    let step = next(&wish, &cluster.observe(None));
    assert!(!step.update_pending && !step.racks["a"].keep_template, "{step:?}");
}

#[test]
fn a_changed_template_reaches_one_pod_of_one_rack_and_a_broken_one_first() {
    let (mut cluster, _) = at_rest(&[2, 2]);
    let wish = plan(&[2, 2], 3, "two", "1Gi");
    let step = next(&wish, &cluster.observe(None));
    cluster.perform(&wish, &step, super::perform::Until::All);
    let partitions = |cluster: &Cluster| {
        let step = next(&wish, &cluster.observe(None));
        step.racks.values().map(|rack| rack.partition).collect::<Vec<_>>()
    };
    assert_eq!(partitions(&cluster), [1, 2]);
    let mut broken = cluster.clone();
    broken.pods.entry((1, 1)).and_modify(|pod| pod.is_hung = true);
    broken.beat();
    assert_eq!(partitions(&broken), [2, 1], "to restart it may mend it, others stay");
    broken.pods.entry((1, 1)).and_modify(|pod| pod.is_hung = false);
    broken.pods.entry((0, 0)).and_modify(|pod| pod.is_hung = true);
    broken.beat();
    assert_eq!(partitions(&broken), [2, 2], "one that is not next in its rack holds up all");
}

#[test]
fn claims_grow_before_their_statefulset_is_made_anew_and_only_where_their_class_can() {
    let (cluster, _) = at_rest(&[2]);
    let wish = plan(&[2], 2, "one", "2Gi");
    let mut observed = cluster.observe(None);
    let step = next(&wish, &observed);
    let grown = |step: &StoreStep| {
        step.actions.iter().filter(|action| matches!(action, Action::GrowClaim { .. })).count()
    };
    assert_eq!(grown(&step), 2, "{step:?}");
    for classes in [vec![], vec!["other".to_owned()]] {
        observed.growable_classes = Some(classes.into_iter().collect());
        let step = next(&wish, &observed);
        assert_eq!((grown(&step), reason(&step)), (0, Some("ClaimCannotGrow")));
    }
    let mut cluster = cluster;
    cluster.claims.values_mut().for_each(|claim| claim.size = "3Gi".to_owned());
    let step = next(&wish, &cluster.observe(None));
    assert!(matches!(&step.actions[..], [Action::ReleasePods { .. }]), "{step:?}");
    let smaller = next(&plan(&[2], 2, "one", "1Ki"), &cluster.observe(None));
    assert_eq!(smaller.actions, [], "what is too large stays");
}

#[test]
fn peers_say_who_has_joined_and_nobody_is_judged_by_silence() {
    let (cluster, wish) = at_rest(&[3]);
    let joined = |cluster: &Cluster, lie| {
        let step = next(&wish, &cluster.observe(lie));
        (0..3).map(|ordinal| step.joined.get(&pod(0, ordinal)).map(Result::is_ok)).collect()
    };
    let all = |is_up| vec![Some(is_up); 3];
    let check = |cluster: &Cluster, lie, expected: Vec<Option<bool>>| {
        let joined: Vec<Option<bool>> = joined(cluster, lie);
        assert_eq!(joined, expected, "{lie:?}");
    };
    check(&cluster, None, all(true));
    // One other that hears it is enough; and it need not answer the operator.
    check(&cluster, Some(((0, 0), Lie::OthersDown)), all(true));
    check(&cluster, Some(((0, 0), Lie::Silence)), all(true));
    let mut down = cluster.clone();
    for ordinal in [1, 2] {
        down.pods.entry((0, ordinal)).and_modify(|pod| pod.is_hung = true);
    }
    down.beat();
    // The one that is left counts by its own word.
    check(&down, None, vec![Some(true), Some(false), Some(false)]);
    down.pods.entry((0, 0)).and_modify(|pod| pod.is_hung = true);
    down.beat();
    check(&down, None, vec![None; 3]);
}
