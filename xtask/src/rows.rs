//! What a server says that it has stored, read as a client does.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::server::Server;

/// Every row of a service, by all of its pages.
pub fn rows(server: &Server, service: &str) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    each_page(server, service, |page| {
        rows.extend(page.iter().cloned());
        Ok(())
    })?;
    Ok(rows)
}

/// The rows of a service page by page, for those that are too many to be kept.
pub fn each_page(
    server: &Server,
    service: &str,
    mut look: impl FnMut(&[Value]) -> Result<()>,
) -> Result<()> {
    let mut client = server.client();
    let mut cursor = String::new();
    loop {
        let target = format!("/v1/pulses?service={service}&limit=1000{cursor}");
        let page = client.get_json(&target)?;
        let more = page["pulses"].as_array().context("a page has no pulses")?;
        look(more)?;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(()),
        }
        ensure!(!more.is_empty(), "an empty page has a next one");
    }
}
