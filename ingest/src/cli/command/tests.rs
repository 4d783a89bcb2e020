//! What is typed and what is meant by it; the help as people see it.

use std::path::Path;

use super::*;

fn parse_words(words: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, clap::Error> {
    let environment =
        environment.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    parse(std::iter::once(&"pulsemesh-ingest").chain(words).map(OsString::from), &environment)
}

fn served(words: &[&str], environment: &[(&str, &str)]) -> Sources {
    match parse_words(words, environment).expect("sound arguments") {
        Invocation::Serve(sources) => sources,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn the_command_is_built_soundly() {
    command().debug_assert();
    for name in COMMON {
        assert!(DEFINITIONS.iter().any(|definition| definition.name == *name), "{name}");
    }
}

#[test]
fn without_a_command_it_serves_with_what_was_typed() {
    let sources = served(&["--workers", "3", "--listen=[::]:8080", "--stop-drain"], &[]);
    let flag = |name| sources.flags.get(name).map(String::as_str);
    assert_eq!(flag("workers"), Some("3"));
    assert_eq!(flag("listen"), Some("[::]:8080"));
    assert_eq!(flag("stop-drain"), Some("true"));
    assert_eq!(sources.flags.len(), 3, "what was not typed is not set");
    assert_eq!(served(&["--stop-drain=false"], &[]).flags["stop-drain"], "false");
}

#[test]
fn every_setting_is_a_flag() {
    for definition in DEFINITIONS {
        let word = format!("--{}=true", definition.name);
        assert_eq!(served(&[&word], &[]).flags[definition.name], "true");
    }
}

#[test]
fn the_file_is_named_by_flag_or_variable() {
    let variable = [(CONFIG_VARIABLE, "b.toml")];
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], Option<&'a str>);
    let cases: [Case<'_>; 4] = [
        (&[], &[], None),
        (&[], &variable, Some("b.toml")),
        (&[], &[(CONFIG_VARIABLE, "")], None),
        (&["--config", "a.toml"], &variable, Some("a.toml")),
    ];
    for (words, environment, expected) in cases {
        assert_eq!(served(words, environment).file.as_deref(), expected.map(Path::new));
    }
}

#[test]
fn commands_take_their_own_arguments() {
    let parsed = |words: &[&str]| parse_words(words, &[("PULSEMESH_STORE", "memory")]);
    assert!(matches!(parsed(&["--check-config"]), Ok(Invocation::CheckConfig(_))));
    assert!(matches!(parsed(&["check"]), Ok(Invocation::Check(_))));
    let verify = parsed(&["log", "verify", "d"]);
    assert!(matches!(verify, Ok(Invocation::LogVerify(path)) if path == Path::new("d")));
    assert!(matches!(parsed(&["log", "dump", "d"]), Ok(Invocation::LogDump(_))));
    let drain = parsed(&["log", "drain", "d", "--batch-size", "7", "--config", "c.toml"]);
    let Ok(Invocation::LogDrain(sources)) = drain else { unreachable!("{drain:?}") };
    assert_eq!(sources.flags["data-dir"], "d");
    assert_eq!(sources.flags["batch-size"], "7");
    assert_eq!(sources.file.as_deref(), Some(Path::new("c.toml")));
    assert_eq!(sources.environment["PULSEMESH_STORE"], "memory");
}

#[test]
fn wrong_arguments_are_refused_with_a_hint() {
    let cases: [(&[&str], &str); 7] = [
        (&["--worker", "3"], "--workers"),
        (&["--workers"], "a value is required"),
        (&["serve"], "unrecognized subcommand"),
        (&["chek"], "'check'"),
        (&["--workers", "3", "check"], "cannot be used"),
        (&["check", "https://mesh"], "https is not built in"),
        (&["check", "--timeout", "10"], "such as 10s"),
    ];
    for (words, expected) in cases {
        let error = parse_words(words, &[]).expect_err("refused");
        assert!(error.to_string().contains(expected), "{words:?}: {error}");
        assert_eq!(error.exit_code(), 2, "{words:?}");
    }
}

#[test]
fn help_and_version_are_no_failure() {
    let version = parse_words(&["--version"], &[]).expect_err("told");
    assert_eq!(version.exit_code(), 0);
    let text = version.to_string();
    assert!(text.starts_with(concat!(
        "pulsemesh-ingest ",
        env!("CARGO_PKG_VERSION"),
        " (revision "
    )));
    assert!(text.contains("rustc 1."), "{text}");
    assert_eq!(parse_words(&["--help"], &[]).expect_err("told").exit_code(), 0);
}

/// Of one width, whatever terminal the test runs in.
fn fixed() -> clap::Command {
    command().term_width(100)
}

#[test]
fn the_short_help_is_one_screen() {
    insta::assert_snapshot!(fixed().render_help());
}

#[test]
fn the_long_help_tells_everything() {
    let help = fixed().render_long_help().to_string();
    for Definition { name, env, .. } in DEFINITIONS {
        assert!(help.contains(&format!("  --{name}")), "{name}");
        assert!(help.contains(&format!("[env: {env}]")), "{env}");
    }
    insta::assert_snapshot!(help);
}
