//! `docs/settings.md`, made from the definitions.

use std::fmt::Write;
use std::path::Path;

use super::definition::{Definition, Fallback};
use super::sources::CONFIG_VARIABLE;
use super::table::DEFINITIONS;

const INTRODUCTION: &str = "\
# Settings of `pulsemesh-ingest`

Made from the definitions in `ingest/src/settings/table.rs`; after a change there run
`UPDATE_DOCS=1 cargo test -p pulsemesh-ingest --lib settings`.

A flag wins over an environment variable, which wins over the file, which wins over the default.
The file is TOML, named by `--config FILE` or `PULSEMESH_CONFIG`; its keys are the names of the
flags without dashes in front, and it has no sections:

```toml
listen = \"0.0.0.0:8080\"
retention = \"30d\"
batch-size = 10_000
```

Sizes are whole numbers with `B`, `KiB`, `MiB`, `GiB` or `TiB` (also `Mi` as Kubernetes writes it,
and `MB` for powers of ten); times are whole numbers with `ms`, `s`, `m`, `h` or `d`, also in a
row: `1h30m`. A key that is not listed here is an error. An empty environment variable is not set.
`--check-config` prints what is in effect and where each value came from, and exits with 0, or
with 2 and everything that is wrong.
";

fn render() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut section = "";
    for definition in DEFINITIONS {
        let Definition { name, env, kind, default, section: own, about } = definition;
        if *own != section {
            section = own;
            text.push_str(&format!("\n## {section}\n\n"));
            text.push_str("| flag and key | environment | value | default | meaning |\n");
            text.push_str("| --- | --- | --- | --- | --- |\n");
        }
        let default = match default {
            Fallback::Value(value) => format!("`{value}`"),
            other => other.text().to_owned(),
        };
        let about = about.trim();
        let row = writeln!(text, "| `--{name}` | `{env}` | {kind} | {default} | {about} |");
        row.expect("writing to a String can't fail");
    }
    text
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a wish of the person at the keyboard, no setting")]
fn the_document_lists_every_setting_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    let expected = render();
    assert!(expected.contains(CONFIG_VARIABLE));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("docs")).expect("docs can be made");
        std::fs::write(&path, &expected).expect("docs/settings.md can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/settings.md differs from ingest/src/settings/table.rs; run UPDATE_DOCS=1 cargo test \
         -p pulsemesh-ingest --lib settings"
    );
}
