//! A live connection: the session and the statements that were prepared on it. Made once the
//! tables are right; let go of when they no longer are.

use std::sync::Arc;

use scylla::client::session::Session;

use super::statements::Statements;

/// What requests are sent with.
#[derive(Debug)]
pub(crate) struct Live {
    /// Outlives statements that are prepared anew.
    pub(crate) session: Arc<Session>,
    pub(crate) statements: Statements,
    /// The same for the tables of each retention class of the settings, in their order; empty
    /// for one of these.
    pub(crate) classes: Vec<Arc<Live>>,
}

impl Live {
    /// That of a class, by its place in the settings; `None`: of the default one.
    pub(crate) fn of(self: &Arc<Self>, class: Option<usize>) -> Option<Arc<Self>> {
        class.map_or(Some(self), |place| self.classes.get(place)).cloned()
    }

    /// Whether `other` is this or that of one of its classes.
    pub(crate) fn holds(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other) || self.classes.iter().any(|class| Arc::ptr_eq(class, other))
    }
}
