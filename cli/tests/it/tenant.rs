//! `tenant`: the file that it edits is the one that a real server reads, and the keys that it
//! shows are let in.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use xtask::client::Request;
use xtask::server::wait_for;

use crate::support::{Fixture, SOON, run};

fn key_of(made: &serde_json::Value) -> Result<String> {
    Ok(made["keys"][0]["key"].as_str().context("a key")?.to_owned())
}

#[test]
fn keys_are_made_rotated_and_withdrawn_under_a_running_server() -> Result<()> {
    let dir = TempDir::new()?;
    let path = dir.path().join("tenants.yaml");
    let file = path.display().to_string();
    let typed = ["tenant", "create", "checkout", "--key", "gateway:both", "--file", &file];
    let made = run(&[&typed[..], &["--requests-per-minute", "0", "--json"]].concat())?;
    let old = key_of(&made.expect(0)?.json()?)?;
    let at = Fixture::with(|launch, _| Ok(launch.flag("--tenants", &file)))?;
    let status = |key: &str| {
        let ask = Request::get("/v1/counts").header("x-api-key", key);
        Ok::<_, anyhow::Error>(at.server.client().send(&ask)?.status)
    };
    assert_eq!((status(&old)?, status("pmk_")?), (200, 401));

    let rotated = run(&["tenant", "rotate", "checkout", "--file", &file, "--json"])?.expect(0)?;
    let rotated = rotated.json()?;
    assert_eq!(
        (&rotated["replaces"], &rotated["keys"][0]["name"], &rotated["keys"][0]["kind"]),
        (&json!("gateway"), &json!("gateway-2"), &json!("both"))
    );
    let new = key_of(&rotated)?;
    wait_for(SOON, "the new key", || Ok(status(&new)? == 200))?;
    assert_eq!(status(&old)?, 200, "the old one still works");
    let removed = run(&["tenant", "remove-key", "checkout", "gateway", "--file", &file])?;
    removed.expect(0)?;
    wait_for(SOON, "the end of the old key", || Ok(status(&old)? == 401))?;
    assert_eq!(status(&new)?, 200);

    let text = fs::read_to_string(&path)?;
    ensure!(!text.contains("pmk_"), "a key is in the file: {text}");
    Ok(())
}

#[test]
fn what_people_wrote_stays_and_people_are_told_how_to_go_on() -> Result<()> {
    let dir = TempDir::new()?;
    let path = dir.path().join("tenants.yaml");
    let link = dir.path().join("link.yaml");
    let text =
        "# ours\ntenants:\n- name: a # first\n  metadata: {team: x}\n  # no keys yet\n# end\n";
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640))?;
    std::os::unix::fs::symlink(&path, &link)?;
    let file = link.display().to_string();
    let made = run(&["tenant", "create", "b", "--file", &file])?.expect(0)?;
    ensure!(
        made.out.starts_with("TENANT  NAME  KIND   KEY\nb       main  write  pmk_"),
        "{made:?}"
    );
    ensure!(made.err.contains("shown this once"), "{made:?}");
    let rotated = run(&["tenant", "rotate", "b", "main", "--new-name", "x", "--file", &file])?;
    let rotated = rotated.expect(0)?;
    ensure!(rotated.err.contains("pulsemesh tenant remove-key b main --file"), "{rotated:?}");
    let after = fs::read_to_string(&path)?;
    let kept: Vec<&str> =
        text.lines().filter(|line| after.lines().any(|now| now == *line)).collect();
    assert_eq!(kept, text.lines().collect::<Vec<_>>(), "{after}");
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o640);
    ensure!(fs::symlink_metadata(&link)?.is_symlink(), "the link is still one");

    let listed = run(&["tenant", "list", "--file", &file])?.expect(0)?.out;
    ensure!(listed.contains("b       main:write x:write"), "{listed}");
    let listed = run(&["tenant", "list", "--file", &file, "--json"])?.expect(0)?.lines()?;
    assert_eq!(
        (&listed[0]["metadata"], &listed[1]["keys"][0]),
        (&json!({"team": "x"}), &json!({"name": "main", "kind": "write"}))
    );
    Ok(())
}

#[test]
fn what_can_not_be_done_changes_nothing() -> Result<()> {
    let dir = TempDir::new()?;
    let path = dir.path().join("t");
    let file = path.display().to_string();
    let none = run(&["tenant", "list", "--file", &file])?.expect(1)?;
    ensure!(none.err.contains("there is no such file"), "{none:?}");
    for broken in ["tenants:\n- name: a\n  kyes: []\n", "tenants: [{name: a}]\n"] {
        fs::write(&path, broken)?;
        let told = run(&["tenant", "create", "b", "--file", &file])?.expect(1)?;
        ensure!(!told.out.contains("pmk_") && !told.err.contains("pmk_"), "{told:?}");
        assert_eq!(fs::read_to_string(&path)?, broken);
    }
    fs::write(&path, "tenants:\n- name: a\n")?;
    for (typed, told) in [
        (&["create", "a"][..], "there is a tenant `a` already"),
        (&["rotate", "a"], "say which key"),
        (&["rotate", "x"], "there is no tenant `x`"),
        (&["remove-key", "a", "k"], "has no key `k`"),
    ] {
        let ended = run(&[&["tenant"], typed, &["--file", &file]].concat())?.expect(1)?;
        ensure!(ended.err.contains(told), "{ended:?}");
    }
    run(&["tenant", "create", "b", "--key", "k:root", "--file", &file])?.expect(2)?;
    Ok(())
}
