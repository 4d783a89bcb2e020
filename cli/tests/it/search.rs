//! `search` asks a real server what has become of a pulse.

use anyhow::{Result, ensure};

use crate::support::Fixture;

#[test]
fn a_pulse_is_found_by_any_name_with_its_line_of_life() -> Result<()> {
    let at = Fixture::start()?;
    let sent = ["send", "--service", "shop", "--id", "order/1", "--ack", "stored", "--json"];
    let sent = at.run(&sent)?.expect(0)?.json()?;
    let id = sent["id"].as_str().unwrap_or_default().to_owned();
    ensure!(!id.is_empty(), "{sent}");
    for typed in [&["search", "order/1"][..], &["search", &id], &["search", "--service", "shop"]] {
        let found = at.run(&[typed, &["--json"]].concat())?.expect(0)?.json()?;
        assert_eq!(found["pulses"][0]["id"], id, "{typed:?}: {found}");
        let steps = found["pulses"][0]["life"].to_string();
        ensure!(steps.contains("received") && steps.contains("stored"), "{steps}");
    }
    let shown = at.run(&["search", "order/1"])?.expect(0)?.out;
    ensure!(shown.contains("STEP") && shown.contains("stored"), "{shown}");
    at.run(&["search", "order/2"])?.expect(4)?;
    Ok(())
}
