//! Nodes of the store of the fake cluster: every pod of it is one, well and obedient.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::FakeApi;
use crate::nodes::{Member, NodeRef, Nodes, NodesError, State, View};

/// The nodes. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    api: FakeApi,
    state: Arc<Mutex<RingState>>,
}

#[derive(Debug, Clone)]
struct RingState {
    copies: BTreeMap<String, i32>,
    has_default_login: bool,
    orders: usize,
}

impl Ring {
    pub(super) fn of(api: &FakeApi) -> Self {
        let keyspaces = ["system_auth", "pulsemesh"].map(|name| (name.to_owned(), 1));
        let state = RingState { copies: keyspaces.into(), has_default_login: true, orders: 0 };
        Self { api: api.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// The same nodes in a fork of the cluster.
    pub(super) fn fork(&self, api: &FakeApi) -> Self {
        let state = self.state().clone();
        Self { api: api.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// How many orders were given since the last call.
    pub(super) fn take_orders(&self) -> usize {
        std::mem::take(&mut self.state().orders)
    }

    fn state(&self) -> MutexGuard<'_, RingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn members(&self) -> Vec<Member> {
        let pods = self.api.content().into_iter().filter(|(key, _)| key.0 == "pods");
        pods.filter_map(|(key, pod)| {
            let component = pod.pointer("/metadata/labels/app.kubernetes.io~1component")?;
            let address = pod.pointer("/status/podIP").and_then(Value::as_str)?.parse().ok()?;
            let host_id = format!("host-of-{}", key.2);
            (component == "store").then_some(Member {
                host_id,
                address,
                state: State::Normal,
                is_alive: true,
            })
        })
        .collect()
    }
}

impl Nodes for Ring {
    async fn view(&self, node: &NodeRef) -> Result<View, NodesError> {
        let state = self.state();
        Ok(View {
            host_id: format!("host-of-{}", node.pod),
            members: self.members(),
            replication: state.copies.clone(),
            default_login: state.has_default_login,
        })
    }

    async fn secure(&self, _: &NodeRef) -> Result<(), NodesError> {
        let mut state = self.state();
        (state.has_default_login, state.orders) = (false, state.orders + 1);
        Ok(())
    }

    async fn decommission(&self, node: &NodeRef) -> Result<(), NodesError> {
        Err(refused(node, "to leave"))
    }

    async fn mark_left(&self, node: &NodeRef) -> Result<(), NodesError> {
        Err(refused(node, "to note that it has left"))
    }

    async fn raise_replication(
        &self,
        _: &NodeRef,
        keyspace: &str,
        _: &str,
        copies: i32,
    ) -> Result<(), NodesError> {
        let mut state = self.state();
        state.copies.insert(keyspace.to_owned(), copies);
        state.orders += 1;
        Ok(())
    }

    async fn repaired(&self, _: &NodeRef, _: &str) -> Result<bool, NodesError> {
        self.state().orders += 1;
        Ok(true)
    }
}

fn refused(node: &NodeRef, order: &'static str) -> NodesError {
    NodesError::Refused { pod: node.pod.clone(), order, why: "nobody is meant to".to_owned() }
}
