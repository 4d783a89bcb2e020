//! What can be typed, as it is shown.

use anyhow::Result;

use crate::support::run;

const COMMANDS: &[&[&str]] = &[&[], &["send"], &["query"]];

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
