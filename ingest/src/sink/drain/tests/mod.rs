//! Drains as their users see them.

mod answers;
mod histories;
mod restarts;
pub(crate) mod rig;
mod slow;
mod turns;
