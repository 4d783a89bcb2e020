//! `dlq` against a server whose store refuses some pulses until a file is gone.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::ledger::drained;
use xtask::server::{Launch, Server};

use crate::support::{Run, SOON, beside, rows, run};

/// A server whose store refuses kind `refused` while a file exists.
struct Refusing {
    dir: TempDir,
    server: Server,
    url: String,
}

impl Refusing {
    /// With this many letters of the services `one` and `two`.
    fn start(one: usize, two: usize) -> Result<Self> {
        let dir = TempDir::new()?;
        let (data, file) = (dir.path().join("data"), dir.path().join("refuse"));
        fs::create_dir(&data)?;
        fs::write(&file, "")?;
        let server = Launch::new(beside("examples/refusing")?, &data)
            .flag("--refuse-while", &file.display().to_string())
            .flag("--flush-interval", "20ms")
            .start()?;
        server.wait_ready(SOON)?;
        let url = format!("http://{}", server.listen());
        let at = Self { dir, server, url };
        let line = |service: &str, n: usize| {
            json!({"service": service, "kind": "refused", "event_id": format!("{service}-{n}")})
                .to_string()
        };
        let lines = (0..one).map(|n| line("one", n)).chain((0..two).map(|n| line("two", n)));
        let file = at.dir.path().join("events");
        fs::write(&file, lines.collect::<Vec<_>>().join("\n"))?;
        at.run(&["send", "--file", &file.display().to_string()])?.expect(0)?;
        drained(&at.server, SOON)?;
        Ok(at)
    }

    fn run(&self, arguments: &[&str]) -> Result<Run> {
        run(&[&["--url", &self.url], arguments].concat())
    }

    fn accept(&self) -> Result<()> {
        fs::remove_file(self.dir.path().join("refuse")).context("let the store take all")
    }

    /// The id of some letter.
    fn letter(&self) -> Result<String> {
        let letters = self.run(&["dlq", "list", "--limit", "1", "--json"])?.expect(0)?.lines()?;
        Ok(letters[0]["id"].as_str().context("an id")?.to_owned())
    }
}

#[test]
fn letters_are_listed_by_filters_and_pages_grouped_and_shown() -> Result<()> {
    let at = Refusing::start(1_200, 5)?;
    let listed = |more: &[&str]| {
        let typed = [&["dlq", "list", "--json"], more].concat();
        Ok::<_, anyhow::Error>(at.run(&typed)?.expect(0)?.lines()?.len())
    };
    assert_eq!((listed(&[])?, listed(&["--all"])?), (100, 1_205));
    assert_eq!(listed(&["--service", "two", "--reason", "refused", "--kind", "refused"])?, 5);
    assert_eq!((listed(&["--text", "two-3"])?, listed(&["--to", "1h"])?), (1, 0));
    let table = at.run(&["dlq", "list", "--service", "two"])?.expect(0)?.out;
    assert_eq!(table.lines().count(), 6, "{table}");
    ensure!(table.starts_with("ID ") && table.contains("the kind is not taken"), "{table}");

    let groups = at.run(&["dlq", "groups", "--json"])?.expect(0)?.lines()?;
    assert_eq!((&groups[0]["reason"], &groups[0]["count"]), (&json!("refused"), &json!(1_205)));
    let table = at.run(&["dlq", "groups"])?.expect(0)?.out;
    ensure!(table.contains("refused  1,205"), "{table}");

    let id = at.letter()?;
    let letter = at.run(&["dlq", "show", &id, "--json"])?.expect(0)?.json()?;
    assert_eq!((&letter["id"], letter["history"].as_array().map(Vec::len)), (&json!(id), Some(1)));
    let shown = at.run(&["dlq", "show", &id])?.expect(0)?.out;
    ensure!(shown.contains("body         {\"event_id\"") && shown.contains("history:"), "{shown}");
    let none = at.run(&["dlq", "show", "019c1425-7c00-7d5e-9f0a-3b1f6f0c2a11"])?.expect(4)?;
    ensure!(none.err.contains("not_found"), "{none:?}");
    Ok(())
}

#[test]
fn what_becomes_a_letter_while_it_is_sent_is_told_and_sent_no_second_time() -> Result<()> {
    let at = Refusing::start(0, 1)?;
    let event = |n| match n % 2 {
        0 => json!({"service": "s", "kind": "refused", "metadata": {"n": n}}),
        _ => json!({"service": "s", "metadata": {"n": n}}),
    };
    let file = at.dir.path().join("more");
    fs::write(&file, (0..400).map(|n| format!("{}\n", event(n))).collect::<String>())?;
    let file = file.display().to_string();
    let kept = at.dir.path().join("kept").display().to_string();
    let typed = ["send", "--file", &file, "--ack", "stored", "--rejected", &kept, "--json"];
    let sent = at.run(&typed)?.expect(3)?.json()?;
    assert_eq!((&sent["accepted"], &sent["refused"]), (&json!(200), &json!(200)), "{sent}");
    let kept = fs::read_to_string(kept)?;
    assert_eq!(kept.lines().filter(|line| line.contains("\"dead_lettered\"")).count(), 200);
    drained(&at.server, SOON)?;
    assert_eq!(at.run(&["dlq", "list", "--service", "s", "--all", "--json"])?.lines()?.len(), 200);
    assert_eq!(rows(&at.server, "s")?.len(), 200);
    Ok(())
}

#[test]
fn one_letter_is_given_up_one_replayed_and_one_edited() -> Result<()> {
    let at = Refusing::start(4, 0)?;
    let given_up = at.letter()?;
    let done = at.run(&["dlq", "discard", &given_up])?.expect(0)?;
    assert_eq!(done.out, format!("{given_up}  given up\n"));
    at.run(&["dlq", "discard", &given_up])?.expect(4)?;
    // The store still refuses: the letter fails again, and that is told.
    let again = at.run(&["dlq", "replay", &at.letter()?, "--json"])?.expect(3)?.json()?;
    assert_eq!(again["counts"]["failed"], 1);

    let edited = at.letter()?;
    let file = at.dir.path().join("mended");
    fs::write(&file, "{\"service\":\"one\",\"status\":\"mended\"}")?;
    let file = file.display().to_string();
    let done = at.run(&["dlq", "replay", &edited, "--edit", &file, "--json"])?.expect(0)?.json()?;
    assert_eq!(done["dead_letter"], json!(edited));
    at.accept()?;
    let done = at.run(&["dlq", "replay", &at.letter()?])?.expect(0)?.out;
    ensure!(done.contains("state") && done.contains("stored=1"), "{done}");
    drained(&at.server, SOON)?;
    let rows = rows(&at.server, "one")?;
    let mended = rows.iter().filter(|row| row["status"] == "mended").count();
    assert_eq!((rows.len(), mended), (2, 1));
    assert_eq!(at.run(&["dlq", "list", "--json"])?.lines()?.len(), 1);
    Ok(())
}

#[test]
fn many_letters_are_counted_replayed_as_a_job_watched_and_steered() -> Result<()> {
    let at = Refusing::start(600, 30)?;
    let refused = at.run(&["dlq", "replay"])?.expect(2)?;
    ensure!(refused.err.contains("--all"), "{refused:?}");
    let tried = at.run(&["dlq", "replay", "--all", "--dry-run", "--json"])?.expect(0)?.json()?;
    assert_eq!((&tried["dry_run"], &tried["counts"]["matched"]), (&json!(true), &json!(630)));
    at.accept()?;
    // A rate at which it goes on for as long as it takes to steer it.
    let slow = ["dlq", "replay", "--service", "one", "--rate", "10", "--json"];
    let slow = at.run(&slow)?.expect(0)?.json()?;
    let id = slow["id"].as_str().context("an id")?;
    assert_eq!((&slow["state"], &slow["rate"]), (&json!("running"), &json!(10)));
    let state = |typed: &[&str], code| {
        let job = at.run(&[typed, &[id, "--json"]].concat())?.expect(code)?.json()?;
        Ok::<Value, anyhow::Error>(job["state"].clone())
    };
    assert_eq!(state(&["dlq", "pause"], 0)?, "paused");
    assert_eq!(state(&["dlq", "job"], 0)?, "paused");
    assert_eq!(state(&["dlq", "job", "--watch"], 0)?, "paused");
    assert_eq!(state(&["dlq", "resume"], 0)?, "running");
    let cancelled = state(&["dlq", "cancel"], 0)?;
    ensure!(cancelled == "cancelling" || cancelled == "cancelled", "{cancelled}");
    assert_eq!(state(&["dlq", "job", "--watch"], 3)?, "cancelled");

    let done = at.run(&["dlq", "replay", "--all", "--watch", "--json"])?.expect(0)?.json()?;
    assert_eq!(done["state"], "completed");
    drained(&at.server, SOON)?;
    assert_eq!((rows(&at.server, "one")?.len(), rows(&at.server, "two")?.len()), (600, 30));
    let jobs = at.run(&["dlq", "jobs", "--json"])?.expect(0)?.lines()?;
    assert_eq!(jobs.len(), 3, "a dry run is one: {jobs:?}");
    let table = at.run(&["dlq", "jobs"])?.expect(0)?.out;
    ensure!(table.contains("completed (dry run)") && table.contains("service=one"), "{table}");
    Ok(())
}
