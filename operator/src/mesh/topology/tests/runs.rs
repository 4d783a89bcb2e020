//! Runs of the model with faults at any moment. What must always hold is asked at every beat;
//! what must come in the end, once faults have ended.

use proptest::prelude::*;
use proptest::sample::Index;

use super::cluster::{Cluster, Place};
use super::observe::Lie;
use super::perform::Until;
use super::plan::plan;
use crate::mesh::names;
use crate::mesh::plan::{Plan, StorePlan};
use crate::mesh::topology::{StoreStep, as_it_is, next};
use crate::nodes::State;

/// Beats and reconciles after the last fault until all must be as wished. A leave or a join takes
/// about eight; a run asks for some dozens.
const FAIR_ROUNDS: usize = 300;

#[derive(Debug, Clone)]
enum Event {
    /// The operator looks once and is killed at some time, while a node may lie.
    Reconcile(Until, Option<(Index, Lie)>),
    /// The operator puts back what was changed, without asking any node.
    PutBack,
    /// Time passes without the operator.
    Beat,
    /// Another wish, by nodes of each rack, image and size of claims.
    Wish(Vec<i32>, bool, bool),
    /// A node hangs, or goes on.
    Hang(Index, bool),
    /// A pod is deleted, and its node with it.
    Delete(Index),
    /// A StatefulSet is deleted with its pods.
    DeleteSet(Index),
    /// A node hears no news, or does again.
    Deaf(Index, bool),
}

fn events(racks: usize) -> impl Strategy<Value = Vec<Event>> {
    let until = prop_oneof![
        6 => Just(Until::All),
        1 => Just(Until::Orders),
        1 => Just(Until::Objects),
        1 => Just(Until::FirstNote),
    ];
    let lie = prop_oneof![
        Just(Lie::OwnLeave),
        Just(Lie::OthersDown),
        Just(Lie::Nobody),
        Just(Lie::Ghost),
        Just(Lie::Silence),
    ];
    let lie = proptest::option::weighted(0.2, (any::<Index>(), lie));
    let wish = proptest::collection::vec(1..4_i32, racks);
    let event = prop_oneof![
        20 => (until, lie).prop_map(|(until, lie)| Event::Reconcile(until, lie)),
        6 => Just(Event::PutBack),
        12 => Just(Event::Beat),
        2 => (wish, any::<bool>(), proptest::bool::weighted(0.3))
            .prop_map(|(nodes, image, size)| Event::Wish(nodes, image, size)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(node, on)| Event::Hang(node, on)),
        1 => any::<Index>().prop_map(Event::Delete),
        1 => any::<Index>().prop_map(Event::DeleteSet),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(node, on)| Event::Deaf(node, on)),
    ];
    proptest::collection::vec(event, 1..100)
}

/// The model, the wish, and what the last wish said.
pub(super) struct Run {
    pub(super) cluster: Cluster,
    pub(super) plan: Plan,
    /// A claim never shrinks, which the definition refuses.
    has_grown: bool,
}

impl Run {
    pub(super) fn new(racks: usize) -> Self {
        let nodes = vec![1; racks];
        let copies = i32::try_from(racks.min(3)).expect("small");
        Self {
            cluster: Cluster::default(),
            plan: plan(&nodes, copies, "one", "1Gi"),
            has_grown: false,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Reconcile(until, lie) => {
                let lie = lie.and_then(|(who, lie)| Some((self.place(who)?, lie)));
                self.reconcile(until, lie);
            }
            Event::PutBack => self.put_back(),
            Event::Beat => self.cluster.beat(),
            Event::Wish(nodes, image, grow) => self.wish(&nodes, image, grow),
            Event::Hang(who, is_hung) => {
                let place = self.place(who);
                let pod = place.and_then(|place| self.cluster.pods.get_mut(&place));
                if let Some(pod) = pod {
                    pod.is_hung = is_hung;
                }
            }
            Event::Delete(who) => {
                let place = self.place(who);
                place.and_then(|place| self.cluster.pods.remove(&place));
            }
            Event::DeleteSet(which) => {
                let racks: Vec<usize> = self.cluster.sets.keys().copied().collect();
                if !racks.is_empty() {
                    let rack = racks[which.index(racks.len())];
                    if self.starts_anew(rack) {
                        return;
                    }
                    self.cluster.sets.remove(&rack);
                    self.cluster.pods.retain(|place, _| place.0 != rack);
                }
            }
            Event::Deaf(who, is_deaf) => {
                let hosts: Vec<u32> = self.cluster.nodes.keys().copied().collect();
                if !hosts.is_empty() {
                    let host = hosts[who.index(hosts.len())];
                    self.cluster.nodes.entry(host).and_modify(|node| node.is_deaf = is_deaf);
                }
            }
        }
    }

    /// Whether a pod was deleted just between the note that its node has left and its own end,
    /// and a new node starts on its claim unseen. Nobody could know of that node without it.
    fn starts_anew(&self, rack: usize) -> bool {
        let mut claims = self.cluster.claims.iter().filter(|(place, _)| place.0 == rack);
        claims.any(|(place, claim)| {
            let pod = self.cluster.pods.get(place).map(|pod| pod.uid.to_string());
            let left = claim.notes.get(names::LEFT).and_then(|left| left.split_once(' '));
            left.is_some_and(|(_, uid)| pod.is_some_and(|pod| pod != uid))
        })
    }

    pub(super) fn wish(&mut self, nodes: &[i32], other_image: bool, grow: bool) {
        self.has_grown |= grow;
        let image = if other_image { "two" } else { "one" };
        let size = if self.has_grown { "2Gi" } else { "1Gi" };
        let copies = nodes.iter().sum::<i32>().min(3);
        self.plan = plan(nodes, copies, image, size);
    }

    fn place(&self, who: Index) -> Option<Place> {
        let places: Vec<Place> = self.cluster.pods.keys().copied().collect();
        (!places.is_empty()).then(|| places[who.index(places.len())])
    }

    fn reconcile(&mut self, until: Until, lie: Option<(Place, Lie)>) -> StoreStep {
        let step = next(&self.plan, &self.cluster.observe(lie));
        let before = self.cluster.clone();
        self.cluster.perform(&self.plan, &step, until);
        self.check_replicas(&before);
        self.check_one_change();
        step
    }

    fn put_back(&mut self) {
        let mut observed = self.cluster.observe(None);
        let step = as_it_is(&self.plan, &observed);
        observed.views.clear();
        assert_eq!(step, as_it_is(&self.plan, &observed), "it needs no view");
        assert!(step.actions.is_empty() && step.joined.is_empty(), "{step:#?}");
        let before = self.cluster.clone();
        self.cluster.perform(&self.plan, &step, Until::Objects);
        self.check_replicas(&before);
        self.check_one_change();
    }

    /// No pod goes whose node has not truly left; no node is added while another is at work.
    fn check_replicas(&self, before: &Cluster) {
        for (rack, set) in &self.cluster.sets {
            let replicas_before = before.sets.get(rack).map_or(0, |set| set.replicas);
            for ordinal in set.replicas..replicas_before {
                let claim = before.claims.get(&(*rack, ordinal));
                let data = claim.and_then(|claim| claim.data);
                let state = data.map(|host| before.nodes[&host].state);
                assert!(matches!(state, None | Some(State::Left)), "{rack} {ordinal}: {state:?}");
            }
        }
    }

    fn check_one_change(&self) {
        let nodes = self.cluster.nodes.iter();
        let at_work = nodes.filter(|(host, node)| {
            let has_claim = self.cluster.claims.values().any(|claim| claim.data == Some(**host));
            has_claim && matches!(node.state, State::Joining | State::Leaving)
        });
        let fresh = self.places_without_a_node();
        assert!(at_work.count() + fresh <= 1, "two at once: {:#?}", self.cluster);
        let members = i32::try_from(self.cluster.members().len()).expect("few");
        assert!(members == 0 || members >= self.cluster.copies, "too few nodes for the copies");
    }

    /// Pods that are asked for and whose node is yet to be made.
    fn places_without_a_node(&self) -> usize {
        let places = self
            .cluster
            .sets
            .iter()
            .flat_map(|(rack, set)| (0..set.replicas).map(|ordinal| (*rack, ordinal)));
        places
            .filter(|place| {
                self.cluster.claims.get(place).is_none_or(|claim| {
                    claim.data.is_none()
                        || claim.has_left_note && !self.cluster.pods.contains_key(place)
                })
            })
            .count()
    }

    /// All faults end; everything becomes as wished, and then nothing is done any more.
    pub(super) fn settle(&mut self) {
        self.cluster.pods.values_mut().for_each(|pod| pod.is_hung = false);
        self.cluster.nodes.values_mut().for_each(|node| node.is_deaf = false);
        let mut quiet = 0;
        for _ in 0..FAIR_ROUNDS {
            self.cluster.beat();
            let before = format!("{:?}", self.cluster.sets);
            self.put_back();
            let step = self.reconcile(Until::All, None);
            let is_still = step.actions.is_empty() && step.waiting.is_none();
            let is_same = before == format!("{:?}", self.cluster.sets);
            quiet = if is_still && is_same { quiet + 1 } else { 0 };
            if quiet > 5 {
                return self.check_end(&step);
            }
        }
        let step = next(&self.plan, &self.cluster.observe(None));
        panic!("it never comes to rest: {step:#?}\n{:#?}", self.cluster);
    }

    fn check_end(&self, step: &StoreStep) {
        let StorePlan::Managed(store) = &self.plan.store else { panic!("managed") };
        let cluster = &self.cluster;
        let total: i32 = cluster.sets.values().map(|set| set.replicas).sum();
        let is_refused = step.stalled.as_ref().is_some_and(|told| told.reason == "TooFewNodes");
        assert_eq!(is_refused, store.nodes() < cluster.copies, "{step:#?}");
        for (rack, wish) in store.racks.iter().enumerate().filter(|_| !is_refused) {
            assert_eq!(cluster.sets[&rack].replicas, wish.nodes, "rack {rack}");
        }
        assert_eq!(cluster.members().len(), usize::try_from(total).expect("positive"));
        assert!(cluster.copies >= store.replication_factor && cluster.is_secured);
        assert_eq!(step.joined.len(), cluster.pods.len());
        assert!(step.joined.values().all(Result::is_ok), "{step:#?}");
        let wanted = crate::mesh::build::store::made_from(store);
        assert!(cluster.pods.values().all(|pod| pod.revision == wanted), "{cluster:#?}");
        let size = store.storage.size.to_string();
        assert!(cluster.sets.values().all(|set| set.size == size), "claims have grown");
        let in_use = cluster.claims.iter().filter(|(place, _)| cluster.pods.contains_key(place));
        assert!(in_use.into_iter().all(|(_, claim)| claim.size == size), "{cluster:#?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_no_data_is_lost_and_every_wish_is_met_in_the_end(
        (racks, events) in (1..4_usize).prop_flat_map(|racks| (Just(racks), events(racks)))
    ) {
        let mut run = Run::new(racks);
        for event in events {
            run.happen(event);
        }
        run.settle();
    }
}
