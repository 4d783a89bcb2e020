//! `erase` against a real server, which is open: its tenant is `default`.

use anyhow::{Context, Result, ensure};

use crate::support::{Fixture, rows};

#[test]
fn an_erasure_is_confirmed_watched_listed_shown_and_ends_once() -> Result<()> {
    let at = Fixture::start()?;
    for id in ["one", "two", "three"] {
        at.run(&["send", "--service", "shop", "--id", id, "--ack", "stored"])?.expect(0)?;
    }
    let unconfirmed = at.run(&["erase", "start"])?.expect(2)?;
    ensure!(unconfirmed.err.contains("--confirm"), "{unconfirmed:?}");
    let wrong = at.run(&["erase", "start", "--confirm", "other"])?.expect(1)?;
    ensure!(wrong.err.contains("not_confirmed"), "{wrong:?}");
    assert_eq!(rows(&at.server, "shop")?.len(), 3, "nothing was erased yet");

    let typed = ["erase", "start", "--confirm", "default", "--watch", "--json"];
    let done = at.run(&typed)?.expect(0)?.json()?;
    assert_eq!((&done["state"], &done["counts"]["rows"]), (&"completed".into(), &3.into()));
    assert!(rows(&at.server, "shop")?.is_empty());
    at.run(&["send", "--service", "shop", "--id", "four", "--ack", "stored"])?.expect(0)?;
    assert_eq!(rows(&at.server, "shop")?.len(), 1);

    let id = done["id"].as_str().context("an id")?;
    let table = at.run(&["erase", "list"])?.expect(0)?.out;
    ensure!(table.contains("completed") && table.contains("rows=3"), "{table}");
    assert_eq!(at.run(&["erase", "list", "--json"])?.lines()?.len(), 1);
    let shown = at.run(&["erase", "show", id])?.expect(0)?.out;
    ensure!(shown.contains("stage=done"), "{shown}");
    let ended = at.run(&["erase", "cancel", id])?.expect(1)?;
    ensure!(ended.err.contains("erasure_ended"), "{ended:?}");
    at.run(&["erase", "show", "019c1425-7c00-7d5e-9f0a-3b1f6f0c2a11"])?.expect(4)?;
    Ok(())
}
