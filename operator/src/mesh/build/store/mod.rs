//! The objects of a store that the operator runs. Pure.

use xxhash_rust::xxh3::xxh3_64;

use crate::mesh::plan::ManagedPlan;

/// A hash of the part of the spec that the pods of a store are made from.
pub fn made_from(plan: &ManagedPlan) -> String {
    let parts = (&plan.engine, &plan.image, &plan.datacenter, &plan.resources, &plan.pod);
    format!("{:016x}", xxh3_64(format!("{parts:?}").as_bytes()))
}
