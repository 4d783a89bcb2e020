//! A live connection: the session and the statements that were prepared on it. Made once the
//! tables are right; let go of when they no longer are.

use scylla::client::session::Session;

use super::statements::Statements;

/// What requests are sent with.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) session: Session,
    pub(crate) statements: Statements,
}
