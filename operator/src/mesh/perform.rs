//! Gives the orders of a step to the nodes of the store, and notes what their peers say in the
//! readiness gates of their pods. Decides nothing: the step says all.

use kube::Client;

use super::observed::Observed;
use super::plan::Plan;
use super::topology::StoreStep;
use crate::nodes::{Nodes, NodesError};

/// What came of a step.
#[derive(Debug, Default)]
pub struct Performed {
    /// Orders that were given, each in words for a person; an Event tells it.
    pub done: Vec<String>,
    /// How many objects were changed.
    pub changed: usize,
    /// The first that failed; the others were given all the same.
    pub failure: Option<NodesError>,
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
