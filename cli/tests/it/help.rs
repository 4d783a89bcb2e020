//! What can be typed, as it is shown, and as a shell completes it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::support::run;

const COMMANDS: &[&[&str]] = &[
    &[],
    &["send"],
    &["query"],
    &["search"],
    &["counts"],
    &["dlq"],
    &["dlq", "list"],
    &["dlq", "replay"],
    &["erase"],
    &["erase", "start"],
    &["tenant"],
    &["tenant", "create"],
    &["tenant", "rotate"],
    &["check"],
    &["completions"],
];

#[test]
fn help_is_as_it_was_last_read() -> Result<()> {
    for command in COMMANDS {
        let shown = run(&[command, &["--help"][..]].concat())?.expect(0)?;
        let name = format!("help {}", command.join(" ")).trim_end().replace(' ', "-");
        // An empty line of a description has its indentation.
        let lines: Vec<&str> = shown.out.lines().map(str::trim_end).collect();
        insta::assert_snapshot!(name, lines.join("\n"));
    }
    Ok(())
}

#[test]
fn no_flag_takes_a_key() -> Result<()> {
    for command in COMMANDS {
        let shown = run(&[command, &["--help"][..]].concat())?.expect(0)?.out;
        ensure!(!shown.contains("--api-key "), "{shown}");
    }
    run(&["--api-key", "pmk_", "query", "s"])?.expect(2)?;
    Ok(())
}

#[test]
fn bash_reads_its_completions_and_other_shells_have_theirs() -> Result<()> {
    let dir = TempDir::new()?;
    let file = dir.path().join("pulsemesh.bash");
    fs::write(&file, run(&["completions", "bash"])?.expect(0)?.out)?;
    let parsed = Command::new("bash").arg("-n").arg(&file).output().context("run bash")?;
    ensure!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
    // What bash would offer behind `pulsemesh dlq re`.
    let script = "source \"$0\"; COMP_WORDS=(pulsemesh dlq re); COMP_CWORD=2; \
                  _pulsemesh pulsemesh re dlq; echo \"${COMPREPLY[@]}\"";
    let offered = Command::new("bash").arg("-c").arg(script).arg(&file).output()?;
    assert_eq!(String::from_utf8_lossy(&offered.stdout), "replay resume\n");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        ensure!(run(&["completions", shell])?.expect(0)?.out.contains("remove-key"), "{shell}");
    }
    Ok(())
}
