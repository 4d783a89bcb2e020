//! Collects what is wrong with a spec, so that all of it is told at once.

use pulsemesh_crds::quantity::Size;

use super::Problem;

/// What is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn push(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { path: path.into(), message: message.into() });
    }

    /// The bytes of a size, 0 where it is none.
    pub(super) fn bytes(&mut self, path: &str, size: &Size) -> u64 {
        size.bytes().unwrap_or_else(|| {
            self.push(path, format!("`{size}` is no size; write such as 512Mi or 10Gi"));
            0
        })
    }

    /// All of them.
    pub(super) fn into_all(self) -> Vec<Problem> {
        self.0
    }
}
