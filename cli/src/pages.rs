//! Lists that the server gives page by page.

use serde_json::Value;

use crate::client::{Call, CallError, Client};
use crate::target::Target;

/// Rows of one page: the most that the server gives.
pub(crate) const PAGE_ROWS: u64 = 1_000;

/// The pages of one question.
pub(crate) struct Pages<'a> {
    client: &'a Client,
    target: Target,
    cursor: Option<String>,
    ended: bool,
}

impl<'a> Pages<'a> {
    /// `target` has neither `limit` nor `cursor`.
    pub(crate) fn new(client: &'a Client, target: Target) -> Self {
        Self { client, target, cursor: None, ended: false }
    }

    /// The next page with at most `rows` rows; `None` behind the last.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn next(&mut self, rows: u64) -> Result<Option<Value>, CallError> {
        if self.ended || rows == 0 {
            return Ok(None);
        }
        let target = self.target.clone().with("limit", rows.min(PAGE_ROWS));
        let target = target.with_some("cursor", self.cursor.as_ref());
        let page = self.client.ask_json(&Call::get(target))?;
        let next = page["next"].as_str().map(str::to_owned);
        // A cursor that leads to itself would lead nowhere for ever.
        self.ended = next.is_none() || next == self.cursor;
        self.cursor = next;
        Ok(Some(page))
    }
}

/// The rows of a page.
pub(crate) fn rows<'p>(page: &'p Value, member: &str) -> &'p [Value] {
    page[member].as_array().map_or(&[], Vec::as_slice)
}
