//! The objects of a store that the operator runs. Pure.

use crate::mesh::object::Object;
use crate::mesh::observed::Observed;
use crate::mesh::plan::Plan;
use crate::mesh::topology::StoreStep;

/// The objects of the store.
pub(super) fn objects(
    _plan: &Plan,
    _observed: &Observed,
    _step: &StoreStep,
) -> serde_json::Result<Vec<Object>> {
    Ok(Vec::new())
}
