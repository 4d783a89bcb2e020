//! One mesh, in five steps: everything is read (`dereference`), the spec becomes a plan
//! (`validate`), the plan becomes objects (`build`), what differs is applied, and the status is
//! told last. All but reading and applying are pure.

pub mod build;
pub mod claims;
pub mod dereference;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod names;
pub mod object;
pub mod observed;
pub mod perform;
pub mod plan;
pub mod status;
pub mod topology;
pub mod validate;
