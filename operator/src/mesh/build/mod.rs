//! The plan becomes objects: all that the operator owns of each, and nothing that the API server
//! or others set. Pure: the same plan gives the same bytes.

mod ingest;
mod meta;
mod monitoring;
mod network;
mod pods;
pub mod store;
#[cfg(test)]
mod tests;

pub(super) use self::ingest::{has_failed, is_complete, replicas as ingest_replicas, replicas_of};
use super::object::Object;
use super::observed::Observed;
use super::plan::Plan;
use super::topology::StoreStep;

/// All objects of a mesh, in the order in which they are applied. Each carries its labels, the
/// mesh as its controller, and nothing of `names::APPLIED`, which applying adds.
///
/// # Errors
/// When an object can't be written as JSON, which their types rule out.
pub fn objects(
    plan: &Plan,
    observed: &Observed,
    step: &StoreStep,
) -> serde_json::Result<Vec<Object>> {
    let mut objects = ingest::objects(plan, observed)?;
    objects.extend(store::objects(plan, observed, step)?);
    objects.extend(network::objects(plan)?);
    objects.extend(monitoring::objects(plan, observed)?);
    // Stable: within a kind, as they were made.
    objects.sort_by_key(|object| object.kind);
    Ok(objects)
}
