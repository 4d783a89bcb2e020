//! Commands about tenants: make a key.

use std::io::Write;
use std::process::ExitCode;

use anyhow::ensure;

use crate::tenant::file::{KEY_KINDS, is_name};
use crate::tenant::key::ApiKey;

use super::EXIT_OK;

/// Prints a new key, and below it the line with its hash for the file of tenants. The key is
/// nowhere else, and can't be shown again.
///
/// # Errors
/// When the name is none, or the system gives no random bytes.
pub(super) fn key(name: &str, kind: &str, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    ensure!(is_name(name), "`{name}` is no name of a key; write letters, digits, -, _ and .");
    debug_assert!(KEY_KINDS.contains(&kind), "the command line takes no other");
    let key = ApiKey::generate()?;
    let hash = key.sha256();
    writeln!(out, "{}", key.reveal())?;
    writeln!(out, "- {{name: {name}, kind: {kind}, sha256: {hash}}}")?;
    out.flush()?;
    Ok(ExitCode::from(EXIT_OK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::key::is_key;
    use crate::tenant::{Permission, Tenants, file};

    #[test]
    fn the_line_below_a_key_lets_it_in_and_does_not_hold_it() {
        for kind in KEY_KINDS {
            let mut out = Vec::new();
            key("gateway.1", kind, &mut out).expect("printed");
            let text = String::from_utf8(out).expect("text");
            let (key, line) = text.split_once('\n').expect("two lines");
            assert!(is_key(key) && !line.contains(key), "{text}");
            let file = format!("tenants:\n- name: a\n  keys:\n  {line}");
            let tenants = Tenants::of(file::parse("t", file.as_bytes()).expect("sound"));
            let caller = tenants.identify(Some(key)).expect("let in");
            assert_eq!(caller.permissions.has(Permission::Admin), *kind == "admin");
        }
        let mut out = Vec::new();
        assert!(key("a b", "read", &mut out).is_err() && out.is_empty());
    }
}
