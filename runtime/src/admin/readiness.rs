//! Whether a process can do its work, as the answer of `/readyz`.

use std::fmt::{Debug, Write};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, such as `log`.
    pub name: &'static str,
    /// What is wrong with it, for a person; `None` when nothing is.
    pub problem: Option<String>,
    /// Whether the process is not ready while it is wrong. What is not required is told and
    /// changes nothing.
    pub required: bool,
}

impl Check {
    /// Something that the process can't work without.
    pub fn required(name: &'static str, problem: Option<String>) -> Self {
        Self { name, problem, required: true }
    }

    /// Something that is good to know.
    pub fn told(name: &'static str, problem: Option<String>) -> Self {
        Self { name, problem, required: false }
    }
}

/// Tells how a process is. A closure that returns the checks is one.
pub trait Readiness: Send + Sync + 'static {
    /// Looks at everything now. Must not block: it is asked every few seconds.
    fn checks(&self) -> Vec<Check>;
}

impl<F: Fn() -> Vec<Check> + Send + Sync + 'static> Readiness for F {
    fn checks(&self) -> Vec<Check> {
        self()
    }
}

impl Debug for dyn Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Readiness")
    }
}

/// Whether all that is required is well, and the text that says so: one word, or a line for
/// each problem, or with `verbose` a line for each check.
pub(super) fn report(checks: &[Check], verbose: bool) -> (bool, String) {
    let ready = checks.iter().all(|check| check.problem.is_none() || !check.required);
    let mut text = String::new();
    for check in checks {
        let Check { name, problem, required } = check;
        let note = if *required { "" } else { " (told only)" };
        // Writing to a String can't fail.
        let _ = match problem {
            Some(problem) if verbose || !ready => writeln!(text, "[-] {name}: {problem}{note}"),
            None if verbose => writeln!(text, "[+] {name}: ok"),
            _ => Ok(()),
        };
    }
    text.push_str(if ready { "ok\n" } else { "not ready\n" });
    (ready, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_required_makes_a_process_unready() {
        let good = || Check::required("log", None);
        let full = || Check::required("log", Some("disk is full".into()));
        let down = || Check::told("store", Some("refused".into()));
        let cases: [(Vec<Check>, bool, bool, &str); 6] = [
            (vec![], false, true, "ok\n"),
            (vec![good(), down()], false, true, "ok\n"),
            (vec![good(), down()], true, true, "[+] log: ok\n[-] store: refused (told only)\nok\n"),
            (vec![full()], false, false, "[-] log: disk is full\nnot ready\n"),
            (
                vec![full(), down()],
                false,
                false,
                "[-] log: disk is full\n[-] store: refused (told only)\nnot ready\n",
            ),
            (vec![full()], true, false, "[-] log: disk is full\nnot ready\n"),
        ];
        for (checks, verbose, ready, text) in cases {
            assert_eq!(report(&checks, verbose), (ready, text.to_owned()), "{checks:?}");
        }
    }
}
