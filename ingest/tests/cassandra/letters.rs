//! Dead letters in the database: what one server could not store is seen, given up, mended and
//! replayed by another one, whatever becomes of the first.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use xtask::client::Request;
use xtask::flags;
use xtask::ledger::{drained, in_place};
use xtask::server::{Launch, Server, wait_for};
use xtask::tenants::{HOT, QUIET, Tenant, write_file};

use crate::support::{Bed, SOON, connected};

const LETTERS: usize = 1_000;
/// Letters a second: slow enough to be in the middle of it when a server is killed.
const RATE: usize = 400;
const REPLAY_MAX: Duration = Duration::from_secs(120);

/// Servers that refuse pulses of kind `refused` while there is a file.
struct Refusing {
    bed: Bed,
    dir: TempDir,
}

impl Refusing {
    fn new(name: &str) -> Result<Self> {
        let at = Self { bed: Bed::new(name)?, dir: TempDir::new()? };
        fs::write(at.file(), "")?;
        Ok(at)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("refuse")
    }

    fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, name: &str) -> Result<Server> {
        self.start_with(name, |launch| launch)
    }

    fn start_with(&self, name: &str, with: impl FnOnce(Launch) -> Launch) -> Result<Server> {
        let launch = with(self.bed.launch_of(&example("refusing")?, &self.data(name)));
        let server = launch.flag(flags::REFUSE_WHILE, &self.file().display().to_string());
        let server = server.start()?;
        server.wait_ready(SOON)?;
        connected(&server)?;
        Ok(server)
    }
}

pub(crate) fn example(name: &str) -> Result<PathBuf> {
    let binary = Path::new(env!("CARGO_BIN_EXE_pulsemesh-ingest"));
    let path = binary.with_file_name("examples").join(name);
    ensure!(path.exists(), "{} is not built: cargo build --examples", path.display());
    Ok(path)
}

fn send(server: &Server, numbers: std::ops::Range<usize>) -> Result<()> {
    let event = |number| {
        let id = format!("letter-{number}");
        json!({"service": "letters", "kind": "refused", "event_id": id}).to_string()
    };
    let body = numbers.map(event).collect::<Vec<_>>().join("\n");
    let response = server.client().send(&Request::lines("/pulse", body))?;
    ensure!(response.status == 202, "{}", response.text());
    drained(server, SOON)?;
    Ok(())
}

/// The ids of all letters, by all pages.
fn listed(server: &Server) -> Result<Vec<String>> {
    let (mut client, mut ids, mut cursor) = (server.client(), Vec::new(), String::new());
    loop {
        let page = client.get_json(&format!("/v1/dead-letters?limit=90{cursor}"))?;
        ensure!(page["complete"] == true, "{page}");
        for letter in page["dead_letters"].as_array().context("letters")? {
            ids.push(letter["id"].as_str().context("an id")?.to_owned());
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(ids),
        }
    }
}

/// Waits until a server has handed over all of its letters.
fn handed_over(server: &Server) -> Result<()> {
    wait_for(SOON, "letters to be handed over", || {
        let samples = server.samples()?;
        let over = [("how", "handed_over")];
        let gone = samples.sum("pulsemesh_dead_letters_left_total", &over);
        Ok(gone > 0.0 && gone == in_place(&samples, "dead_lettered"))
    })
    .with_context(|| format!("its log:\n{}", server.log()))
}

fn ask(server: &Server, method: &str, target: &str, body: &str) -> Result<Value> {
    let response = server.client().send(&Request::new(method, target).body(body))?;
    let text = response.text();
    ensure!(response.status < 300, "{method} {target}: {} {text}", response.status);
    response.json()
}

fn completed(server: &Server, target: &str) -> Result<bool> {
    Ok(server.client().get_json(target)?["state"] == "completed")
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn letters_of_a_server_that_is_lost_are_seen_and_replayed_by_the_others_once() -> Result<()> {
    let at = Refusing::new("letters")?;
    let mut first = at.start("first")?;
    send(&first, 0..LETTERS)?;
    handed_over(&first)?;
    let mut second = at.start("second")?;
    let ids = listed(&second)?;
    let distinct: BTreeSet<_> = ids.iter().collect();
    ensure!((ids.len(), distinct.len()) == (LETTERS, LETTERS), "{} letters", ids.len());
    ensure!(listed(&first)? == ids, "each server lists the same");
    let groups = second.client().get_json("/v1/dead-letters/groups")?;
    ensure!(groups["groups"][0]["count"] == LETTERS, "{groups}");
    first.kill()?;
    fs::remove_dir_all(at.data("first"))?;

    let shown = ask(&second, "GET", &format!("/v1/dead-letters/{}", ids[0]), "")?;
    ensure!(shown["body"].as_str().is_some_and(|body| body.contains("letter-")), "{shown}");
    ask(&second, "DELETE", &format!("/v1/dead-letters/{}", ids[0]), "")?;
    let again = Request::new("DELETE", &format!("/v1/dead-letters/{}", ids[0]));
    ensure!(second.client().send(&again)?.status == 404);
    let edited = ask(
        &second,
        "POST",
        &format!("/v1/dead-letters/{}/replay", ids[1]),
        r#"{"service":"letters","kind":"taken"}"#,
    )?;
    let failed = ask(&second, "POST", &format!("/v1/dead-letters/{}/replay", ids[2]), "")?;
    ensure!(failed["counts"]["failed"] == 1, "{failed}");
    let letter = ask(&second, "GET", &format!("/v1/dead-letters/{}", ids[2]), "")?;
    ensure!((&letter["attempts"], &letter["stage"]) == (&json!(2), &json!("replay")), "{letter}");
    let left: HashSet<_> = listed(&second)?.into_iter().collect();
    ensure!(left == ids[2..].iter().cloned().collect(), "{} left", left.len());

    // Two at once, one of which is killed: that costs work, and never a second row.
    fs::remove_file(at.file())?;
    let third = at.start("third")?;
    let order = json!({"rate": RATE}).to_string();
    let begin = |server: &Server| -> Result<String> {
        let replay = ask(server, "POST", "/v1/replays", &order)?;
        Ok(format!("/v1/replays/{}", replay["id"].as_str().context("an id")?))
    };
    let (of_second, of_third) = (begin(&second)?, begin(&third)?);
    wait_for(SOON, "some letters", || {
        let replay = second.client().get_json(&of_second)?;
        Ok(replay["counts"]["stored"].as_f64().is_some_and(|stored| stored > 0.0))
    })?;
    second.kill()?;
    second = at.start("second")?;
    wait_for(REPLAY_MAX, "the end of both replays", || {
        Ok(completed(&second, &of_second)? && completed(&third, &of_third)?)
    })?;
    ensure!(listed(&second)?.is_empty() && listed(&third)?.is_empty());
    let rows = at.bed.rows()?;
    let distinct: HashSet<_> = rows.iter().collect();
    ensure!((rows.len(), distinct.len()) == (LETTERS - 1, LETTERS - 1), "{} rows", rows.len());
    let id = edited["id"].as_str().context("an id")?;
    ensure!(ask(&third, "GET", &format!("/v1/pulses/{id}"), "")?["kind"] == "taken");
    drained(&second, SOON).map(drop)
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn letters_larger_than_a_value_may_be_are_handed_over_in_parts() -> Result<()> {
    let at = Refusing::new("parts")?;
    let (first, second) = (at.start("first")?, at.start("second")?);
    let payload = "x".repeat(60 * 1024);
    let body = json!({"service": "letters", "kind": "refused", "payload": payload}).to_string();
    let response = first.client().send(&Request::json("/pulse", body.clone()))?;
    ensure!(response.status == 202, "{}", response.text());
    drained(&first, SOON)?;
    handed_over(&first)?;
    let ids = listed(&second)?;
    ensure!(ids.len() == 1, "{ids:?}");
    let letter = ask(&second, "GET", &format!("/v1/dead-letters/{}", ids[0]), "")?;
    ensure!(letter["body"] == body, "its bytes differ");
    ask(&second, "DELETE", &format!("/v1/dead-letters/{}", ids[0]), "")?;
    ensure!(listed(&first)?.is_empty());
    Ok(())
}

/// What a search answers; all of it was looked at.
fn search(server: &Server, query: &str, of: Option<Tenant>) -> Result<Value> {
    let request = Request::get(&format!("/v1/search?{query}"));
    let request = match of {
        Some(tenant) => request.header("x-api-key", tenant.key),
        None => request,
    };
    let answer = server.client().send(&request)?.json()?;
    ensure!(answer["complete"] == true && answer["next"].is_null(), "{query}: {answer}");
    Ok(answer)
}

fn steps(answer: &Value) -> Vec<&str> {
    let life = answer["pulses"][0]["life"].as_array().map(Vec::as_slice).unwrap_or_default();
    life.iter().filter_map(|step| step["step"].as_str()).collect()
}

fn letter_ids(answer: &Value) -> Vec<&str> {
    let letters = answer["letters"].as_array().map(Vec::as_slice).unwrap_or_default();
    letters.iter().filter_map(|letter| letter["id"].as_str()).collect()
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_search_finds_a_letter_that_was_handed_over_and_its_replay() -> Result<()> {
    let at = Refusing::new("search")?;
    let (first, second) = (at.start("first")?, at.start("second")?);
    send(&first, 0..40)?;
    handed_over(&first)?;
    let ids = listed(&second)?;
    let found = search(&second, "id=letter-7", None)?;
    let of_it: Vec<String> = letter_ids(&found).into_iter().map(str::to_owned).collect();
    ensure!(of_it.len() == 1 && ids.contains(&of_it[0]), "{found}");
    let letter = &of_it[0];
    for server in [&first, &second] {
        for query in ["id=letter-7", &format!("id={letter}")] {
            let same = search(server, query, None)?;
            ensure!(same == found, "{query}: {same}");
        }
        let none = search(server, "id=letter-77", None)?;
        ensure!(letter_ids(&none).is_empty() && steps(&none).is_empty(), "{none}");
    }
    ensure!(steps(&found) == ["received", "logged", "dead_lettered"], "{found}");
    ensure!(found["pulses"][0]["life"][2]["letter"] == letter.as_str(), "{found}");

    // It fails again, by another than the one that wrote it.
    ask(&second, "POST", &format!("/v1/dead-letters/{letter}/replay"), "")?;
    let failed = search(&first, "id=letter-7", None)?;
    ensure!(letter_ids(&failed) == [letter] && failed["letters"][0]["attempts"] == 2, "{failed}");
    fs::remove_file(at.file())?;
    ask(&second, "POST", &format!("/v1/dead-letters/{letter}/replay"), "")?;
    let replayed = search(&second, "id=letter-7", None)?;
    ensure!(steps(&replayed) == ["received", "replayed", "stored"], "{replayed}");
    ensure!(replayed["pulses"][0]["life"][1]["letter"] == letter.as_str(), "{replayed}");
    ensure!(letter_ids(&replayed).is_empty(), "{replayed}");
    // Who replayed it is the one who knows; that it is stored all know.
    let stored = search(&first, "id=letter-7", None)?;
    ensure!(steps(&stored) == ["received", "stored"], "{stored}");
    Ok(())
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn letters_that_were_handed_over_are_found_by_their_tenant_alone() -> Result<()> {
    let at = Refusing::new("whose")?;
    let file = write_file(at.dir.path(), &[(HOT, 0), (QUIET, 0)])?.display().to_string();
    let start = |name| at.start_with(name, |launch| launch.flag(flags::TENANTS, &file));
    let (first, second) = (start("first")?, start("second")?);
    let body = json!({"service": "letters", "kind": "refused", "event_id": "one"}).to_string();
    for tenant in [HOT, QUIET] {
        let request = Request::json("/pulse", body.clone()).header("x-api-key", tenant.key);
        ensure!(first.client().send(&request)?.status == 202, "{}", tenant.name);
    }
    drained(&first, SOON)?;
    handed_over(&first)?;
    let mut letters = Vec::new();
    for tenant in [HOT, QUIET] {
        let found = search(&second, "id=one", Some(tenant))?;
        ensure!(found["letters"][0]["tenant"] == tenant.name, "{found}");
        let [letter] = letter_ids(&found)[..] else { anyhow::bail!("{found}") };
        letters.push((letter.to_owned(), found["pulses"][0]["id"].to_string()));
    }
    ensure!(letters[0].0 != letters[1].0, "{letters:?}");
    for (tenant, (letter, pulse)) in [(HOT, &letters[1]), (QUIET, &letters[0])] {
        for query in [format!("id={letter}"), format!("id={}", pulse.trim_matches('"'))] {
            let found = search(&second, &query, Some(tenant))?;
            ensure!(letter_ids(&found).is_empty() && steps(&found).is_empty(), "{query}: {found}");
        }
    }
    Ok(())
}
