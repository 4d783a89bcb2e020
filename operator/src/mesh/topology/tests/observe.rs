//! What the operator is told of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::json;

use super::cluster::{Cluster, Place, Set};
use super::plan::{MESH, rack_name};
use crate::mesh::names;
use crate::mesh::object::{Kind, Object};
use crate::mesh::observed::Observed;
use crate::nodes::{Member, State, View};

/// Whom a node lies about for once, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lie {
    /// It says that it has left itself.
    OwnLeave,
    /// It says that all others are down.
    OthersDown,
    /// It says that it knows nobody else.
    Nobody,
    /// It knows one that there never was.
    Ghost,
    /// It says nothing.
    Silence,
}

pub(super) fn host_id(host: u32) -> String {
    format!("host-{host}")
}

pub(super) fn pod_name(place: Place) -> String {
    names::store_pod(MESH, rack_name(place.0), place.1)
}

impl Cluster {
    /// All that is read in one go; `liar` lies.
    pub(super) fn observe(&self, liar: Option<(Place, Lie)>) -> Observed {
        let keys = ["username", "password"].map(str::to_owned);
        let secret = self.has_secret.then(|| BTreeSet::from(keys));
        let sets = self.sets.iter().map(|(rack, set)| self.set(*rack, set));
        let views = self.pods.keys().map(|place| {
            let lie = liar.filter(|(who, _)| who == place).map(|(_, lie)| lie);
            (pod_name(*place), self.view(*place, lie))
        });
        Observed {
            objects: sets.map(|set| Object::new(Kind::StatefulSet, &set).expect("JSON")).collect(),
            pods: self.pods.keys().map(|place| self.pod(*place)).collect(),
            claims: self.claims.keys().map(|place| self.claim(*place)).collect(),
            secrets: BTreeMap::from([(names::credentials(MESH), secret)]),
            views: views.collect(),
            ..Observed::default()
        }
    }

    fn set(&self, rack: usize, set: &Set) -> StatefulSet {
        let template = json!({ "metadata": { "annotations": {
            names::MADE_FROM: set.made_from,
            names::RENDERED: set.rendered,
        } } });
        let claim = json!({
            "metadata": { "name": names::STORE_CLAIM },
            "spec": { "resources": { "requests": { "storage": set.size } } },
        });
        let value = json!({
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {
                "name": names::rack(MESH, rack_name(rack)),
                "uid": set.uid.to_string(),
                "generation": 1,
            },
            "spec": {
                "replicas": set.replicas,
                "selector": {},
                "serviceName": "",
                "template": template,
                "updateStrategy": { "rollingUpdate": { "partition": set.partition } },
                "volumeClaimTemplates": [claim],
            },
            "status": {
                "observedGeneration": 1,
                "replicas": set.replicas,
                "updateRevision": set.made_from,
            },
        });
        serde_json::from_value(value).expect("a StatefulSet")
    }

    fn pod(&self, place: Place) -> Pod {
        let pod = &self.pods[&place];
        let ready = if self.has_ready_containers(pod) { "True" } else { "False" };
        let value = json!({
            "metadata": {
                "name": pod_name(place),
                "uid": pod.uid.to_string(),
                "labels": { "controller-revision-hash": pod.revision },
            },
            "status": {
                "podIP": address(pod.address).to_string(),
                "conditions": [{ "type": "ContainersReady", "status": ready }],
            },
        });
        serde_json::from_value(value).expect("a pod")
    }

    fn claim(&self, place: Place) -> PersistentVolumeClaim {
        let claim = &self.claims[&place];
        let name = names::store_claim(&pod_name(place));
        let value = json!({
            "metadata": { "name": name, "annotations": claim.notes },
            "spec": { "resources": { "requests": { "storage": claim.size } } },
        });
        serde_json::from_value(value).expect("a claim")
    }

    fn view(&self, place: Place, lie: Option<Lie>) -> Result<View, String> {
        let pod = &self.pods[&place];
        let host = pod.host.filter(|_| !pod.is_hung && lie != Some(Lie::Silence));
        let host = host.ok_or("no answer")?;
        let node = &self.nodes[&host];
        // One that has left lets no client in any more, nor does one that takes over data.
        if matches!(node.state, State::Left | State::Joining) {
            return Err("connection refused".to_owned());
        }
        let mut members: Vec<Member> =
            node.knows.iter().map(|(other, known)| member(*other, *known)).collect();
        let own = host_id(host);
        match lie {
            Some(Lie::OwnLeave) => members
                .iter_mut()
                .filter(|member| member.host_id == own)
                .for_each(|member| member.state = State::Left),
            Some(Lie::OthersDown) => members
                .iter_mut()
                .filter(|member| member.host_id != own)
                .for_each(|member| member.is_alive = false),
            Some(Lie::Nobody) => members.retain(|member| member.host_id == own),
            Some(Lie::Ghost) => members.push(member(0, (State::Normal, 0, true))),
            Some(Lie::Silence) | None => {}
        }
        let replication = ["system_auth", "pulsemesh"].map(|name| (name.to_owned(), self.copies));
        let default_login = !self.is_secured;
        Ok(View { host_id: own, members, replication: replication.into(), default_login })
    }
}

fn member(host: u32, (state, at, is_alive): (State, u32, bool)) -> Member {
    Member { host_id: host_id(host), address: address(at), state, is_alive }
}

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + number).into()
}
