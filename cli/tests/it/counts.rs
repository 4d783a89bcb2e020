//! `counts` of a window, and of its parts.

use anyhow::{Result, ensure};
use serde_json::json;
use xtask::ledger::drained;

use crate::support::{Fixture, SOON};

#[test]
fn kinds_are_counted_in_the_window_and_in_each_step() -> Result<()> {
    let at = Fixture::start()?;
    for (kind, age) in [("order", "1m"), ("order", "10m"), ("click", "10m"), ("click", "3h")] {
        let typed = ["send", "--service", "s", "--kind", kind, "--event-time", age];
        at.run(&typed)?.expect(0)?;
    }
    drained(&at.server, SOON)?;
    let total = |more: &[&str]| {
        let counted = at.run(&[&["counts", "--json"], more].concat())?.expect(0)?.json()?;
        Ok::<_, anyhow::Error>(counted["total"].clone())
    };
    assert_eq!((total(&[])?, total(&["--window", "1h"])?), (json!(1), json!(3)));
    assert_eq!(
        (total(&["--from", "4h"])?, total(&["--from", "4h", "--to", "1h"])?),
        (4.into(), 1.into())
    );
    let table = at.run(&["counts", "--window", "1d", "--step", "1h"])?.expect(0)?.out;
    ensure!(table.contains("\nclick  2\norder  2\n4 in all\n"), "{table}");
    assert!(table.lines().any(|line| line.starts_with("FROM ")), "{table}");
    let wrong = at.run(&["counts", "--window", "1y", "--json"])?.expect(1)?.error()?;
    assert_eq!(wrong["code"], "invalid_parameter");
    Ok(())
}
