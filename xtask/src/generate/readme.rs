//! The list of values in a chart's README: between two marks, the rest is written by hand.

use anyhow::{Context, Result};

use super::entries::Entry;

const START: &str = "<!-- values: made by `cargo xtask generate` -->\n";
const END: &str = "<!-- end of values -->\n";

/// The README with the list as it should be.
pub(super) fn render(text: &str, entries: &[Entry]) -> Result<String> {
    let (before, rest) = text.split_once(START).with_context(|| format!("no {START}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no {END}"))?;
    Ok(format!("{before}{START}{}{END}{after}", table(entries)))
}

fn table(entries: &[Entry]) -> String {
    let mut text = "| value | default | meaning |\n| --- | --- | --- |\n".to_owned();
    for Entry { path, about, default, is_section, .. } in entries {
        let default = if *is_section { String::new() } else { format!("`{default}`") };
        let row = format!("| `{}` | {default} | {about} |\n", path.join("."));
        text.push_str(&row);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::entries;

    #[test]
    fn only_what_is_between_the_marks_is_made_anew() {
        let entries = entries::read("# A.\na:\n  # B.\n  b: [1]\n").expect("values");
        let text = format!("x\n{START}old\n{END}y\n");
        let table = "| value | default | meaning |\n| --- | --- | --- |\n\
                     | `a` |  | A. |\n| `a.b` | `[1]` | B. |\n";
        assert_eq!(render(&text, &entries).expect("made"), format!("x\n{START}{table}{END}y\n"));
        assert!(render("x", &entries).is_err());
    }
}
