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
}
