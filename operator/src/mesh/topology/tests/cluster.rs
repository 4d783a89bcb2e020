//! A model of a cluster: what Kubernetes and Cassandra do by themselves, one beat at a time.
//! Knows the truth, which the operator is told only in parts.

use std::collections::BTreeMap;

use crate::nodes::State;

/// Rack and ordinal.
pub(super) type Place = (usize, i32);

/// A cluster.
#[derive(Debug, Clone, Default)]
pub(super) struct Cluster {
    pub(super) has_secret: bool,
    pub(super) is_secured: bool,
    pub(super) copies: i32,
    pub(super) sets: BTreeMap<usize, Set>,
    pub(super) pods: BTreeMap<Place, Pod>,
    pub(super) claims: BTreeMap<Place, Claim>,
    /// By host id: all that there ever were.
    pub(super) nodes: BTreeMap<u32, Node>,
    /// Told apart by number: pods, addresses, StatefulSets.
    made: u32,
}

/// A StatefulSet.
#[derive(Debug, Clone, Default)]
pub(super) struct Set {
    pub(super) uid: u32,
    pub(super) replicas: i32,
    pub(super) partition: i32,
    pub(super) made_from: String,
    pub(super) rendered: String,
    pub(super) size: String,
    pub(super) current: String,
}

#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) uid: u32,
    pub(super) address: u32,
    pub(super) revision: String,
    pub(super) is_joined: bool,
    /// The node that runs in it, if one could be started.
    pub(super) host: Option<u32>,
    pub(super) is_hung: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Claim {
    pub(super) notes: BTreeMap<String, String>,
    pub(super) size: String,
    pub(super) data: Option<u32>,
    pub(super) has_left_note: bool,
    pub(super) is_repairing: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) state: State,
    /// Beats until it has joined or left.
    left_to_do: u32,
    /// What it knows of others: state, address and whether it hears them.
    pub(super) knows: BTreeMap<u32, (State, u32, bool)>,
    /// It hears no news.
    pub(super) is_deaf: bool,
}

/// Beats that joining and leaving take.
const WORK: u32 = 3;

impl Cluster {
    pub(super) fn number(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    /// One beat of everything.
    pub(super) fn beat(&mut self) {
        for rack in self.sets.keys().copied().collect::<Vec<_>>() {
            self.run_set(rack);
        }
        self.work();
        self.gossip();
    }

    /// As the controller of StatefulSets does with pods that are managed in parallel.
    fn run_set(&mut self, rack: usize) {
        let set = self.sets[&rack].clone();
        let of_rack = |place: &&Place| place.0 == rack;
        let places: Vec<Place> = self.pods.keys().filter(of_rack).copied().collect();
        for place in places.into_iter().filter(|place| place.1 >= set.replicas) {
            self.pods.remove(&place);
        }
        for ordinal in 0..set.replicas {
            if !self.pods.contains_key(&(rack, ordinal)) {
                let old = ordinal < set.partition;
                let revision = if old { &set.current } else { &set.made_from };
                self.start((rack, ordinal), revision.clone(), &set.size);
            }
        }
        for ordinal in (set.partition..set.replicas).rev() {
            let pod = &self.pods[&(rack, ordinal)];
            if pod.revision != set.made_from {
                self.start((rack, ordinal), set.made_from.clone(), &set.size);
                break;
            }
            if !self.is_ready((rack, ordinal)) {
                break;
            }
        }
        let is_done = (0..set.replicas).all(|ordinal| {
            self.pods[&(rack, ordinal)].revision == set.made_from && self.is_ready((rack, ordinal))
        });
        if let (true, Some(set)) = (is_done, self.sets.get_mut(&rack)) {
            set.current = set.made_from.clone();
        }
    }

    /// Starts a pod on its claim: with the node whose data is there, or a new one.
    pub(super) fn start(&mut self, place: Place, revision: String, size: &str) {
        let (uid, address) = (self.number(), self.number());
        self.pods.remove(&place);
        let claim = self
            .claims
            .entry(place)
            .or_insert_with(|| Claim { size: size.to_owned(), ..Claim::default() });
        claim.is_repairing = false;
        if claim.has_left_note {
            (claim.has_left_note, claim.data) = (false, None);
        }
        let data = claim.data;
        let host = match data {
            // It refuses to start.
            Some(host) if self.nodes[&host].state == State::Left => None,
            Some(host) => {
                self.restart(host);
                Some(host)
            }
            None => Some(self.bootstrap(place)),
        };
        let pod = Pod { uid, address, revision, is_joined: false, host, is_hung: false };
        self.pods.insert(place, pod);
    }

    /// One that was leaving is a full member again; one that was joining begins anew.
    fn restart(&mut self, host: u32) {
        if let Some(node) = self.nodes.get_mut(&host) {
            if node.state == State::Leaving {
                node.state = State::Normal;
            }
            node.left_to_do = WORK;
        }
    }

    fn bootstrap(&mut self, place: Place) -> u32 {
        let host = self.number();
        let is_first = !self.nodes.values().any(|node| node.state != State::Left);
        let state = if is_first { State::Normal } else { State::Joining };
        let knows = BTreeMap::new();
        self.nodes.insert(host, Node { state, left_to_do: WORK, knows, is_deaf: false });
        if let Some(claim) = self.claims.get_mut(&place) {
            claim.data = Some(host);
        }
        if is_first {
            self.copies = 1;
        }
        host
    }

    /// Nodes that join or leave go on while all others are there.
    fn work(&mut self) {
        let at_work = [State::Joining, State::Leaving];
        let hosts: Vec<u32> = self.nodes.keys().copied().collect();
        for host in hosts {
            let others_run = self.members().into_iter().all(|other| self.runs(other));
            let runs = self.runs(host);
            let Some(node) = self.nodes.get_mut(&host) else { continue };
            if !at_work.contains(&node.state) || !runs || !others_run {
                continue;
            }
            node.left_to_do -= 1;
            if node.left_to_do > 0 {
                continue;
            }
            node.state = match node.state {
                State::Joining => State::Normal,
                _ => State::Left,
            };
            if node.state == State::Left {
                let of_it = |claim: &&mut Claim| claim.data == Some(host);
                self.claims.values_mut().filter(of_it).for_each(|claim| claim.has_left_note = true);
            }
        }
    }

    /// Everybody who is not deaf learns the truth.
    fn gossip(&mut self) {
        let truth: BTreeMap<u32, (State, u32, bool)> = self
            .nodes
            .iter()
            .map(|(host, node)| {
                let address = self.pod_of(*host).map(|pod| pod.address).unwrap_or_default();
                (*host, (node.state, address, self.runs(*host)))
            })
            .collect();
        for (host, node) in &mut self.nodes {
            if !node.is_deaf {
                node.knows = truth.clone();
            }
            node.knows.insert(*host, truth[host]);
        }
    }

    /// Tells a node to leave; it refuses where copies would have no place.
    pub(super) fn decommission(&mut self, host: u32) {
        let normal = self.nodes.values().filter(|node| node.state == State::Normal).count();
        let (runs, copies) = (self.runs(host), usize::try_from(self.copies).expect("positive"));
        let Some(node) = self.nodes.get_mut(&host) else { return };
        if runs && node.state == State::Normal && normal > copies {
            (node.state, node.left_to_do) = (State::Leaving, WORK);
        }
    }

    pub(super) fn pod_of(&self, host: u32) -> Option<&Pod> {
        self.pods.values().find(|pod| pod.host == Some(host))
    }

    /// Whether its process runs and answers others.
    pub(super) fn runs(&self, host: u32) -> bool {
        self.pod_of(host).is_some_and(|pod| !pod.is_hung)
    }

    /// Whoever holds data.
    pub(super) fn members(&self) -> Vec<u32> {
        let holds = |state| matches!(state, State::Normal | State::Leaving);
        let nodes = self.nodes.iter().filter(|(_, node)| holds(node.state));
        nodes.map(|(host, _)| *host).collect()
    }

    pub(super) fn is_ready(&self, place: Place) -> bool {
        self.pods.get(&place).is_some_and(|pod| pod.is_joined && self.has_ready_containers(pod))
    }

    pub(super) fn has_ready_containers(&self, pod: &Pod) -> bool {
        let answers = |host: u32| self.nodes[&host].state != State::Left;
        !pod.is_hung && pod.host.is_some_and(answers)
    }
}
