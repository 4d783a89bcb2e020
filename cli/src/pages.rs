//! Lists that the server gives page by page. Rows keep their text: a payload may hold numbers that
//! no number of ours can.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::{Call, CallError, Client};
use crate::target::Target;

/// Rows of one page: the most that the server gives.
const PAGE_ROWS: u64 = 1_000;

/// One page, by its members.
#[derive(Debug)]
pub(crate) struct Page(BTreeMap<String, Box<RawValue>>);

impl Page {
    /// Of a whole answer.
    pub(crate) fn ask(client: &Client, call: &Call<'_>) -> Result<Self, CallError> {
        let answer = client.ask(call)?;
        serde_json::from_slice(&answer.body).map(Self).map_err(|_| client.not_json(call))
    }

    /// The rows of a member that is a list.
    pub(crate) fn rows(&self, member: &str) -> Vec<Box<RawValue>> {
        let text = self.0.get(member).map(|list| list.get());
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// A member that is no list.
    pub(crate) fn value(&self, member: &str) -> Value {
        self.0.get(member).map(|value| parse(value)).unwrap_or_default()
    }
}

/// What a row says.
pub(crate) fn parse(row: &RawValue) -> Value {
    serde_json::from_str(row.get()).unwrap_or_default()
}

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
    pub(crate) fn next(&mut self, rows: u64) -> Result<Option<Page>, CallError> {
        if self.ended || rows == 0 {
            return Ok(None);
        }
        let target = self.target.clone().with("limit", rows.min(PAGE_ROWS));
        let target = target.with_some("cursor", self.cursor.as_ref());
        let page = Page::ask(self.client, &Call::get(target))?;
        let next = page.value("next").as_str().map(str::to_owned);
        // A cursor that leads to itself would lead nowhere for ever.
        self.ended = next.is_none() || next == self.cursor;
        self.cursor = next;
        Ok(Some(page))
    }
}

/// The rows of a list that has one page alone.
pub(crate) fn rows<'p>(page: &'p Value, member: &str) -> &'p [Value] {
    page[member].as_array().map_or(&[], Vec::as_slice)
}
