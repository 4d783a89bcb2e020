//! Settings end to end: sources in, typed settings or problems out.

use std::fs;

use super::*;

fn sources(flags: &[(&'static str, &str)], environment: &[(&str, &str)]) -> Sources {
    Sources {
        flags: flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect(),
        environment: environment
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
        file: None,
    }
}

fn from_text(text: &str) -> Result<Settings, String> {
    from_toml(Path::new("mesh.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn nothing_set_gives_the_defaults_that_others_rely_on() {
    let settings = from_text("").expect("the defaults hold");
    assert_eq!(settings.listen.clients.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.listen.admin.to_string(), "127.0.0.1:8081");
    assert_eq!(settings.storage.data_dir, Path::new("./pulsemesh-data"));
    assert_eq!(settings.storage.store, StoreChoice::Embedded);
    assert_eq!(settings.storage.retention, Duration::from_secs(7 * 86_400));
    assert_eq!((settings.ack.default, settings.ack.max), (Ack::Durable, Ack::Stored));
    assert_eq!(settings.ack.buffer.overflow, Overflow::Refuse);
    assert_eq!(settings.ack.buffer.pulses_max, 100_000);
    assert_eq!((settings.log.budget_bytes, settings.log.segment_bytes), (1 << 30, 64 << 20));
    assert_eq!((settings.drain.batch_rows, settings.drain.workers), (5000, 2));
    assert_eq!(settings.drain.flush_interval, Duration::from_millis(100));
    assert_eq!(settings.limits.body_bytes_max, 8 << 20);
    assert_eq!((settings.stop.delay, settings.stop.drain_within), (Duration::ZERO, None));
    assert_eq!(settings.warnings, Vec::<String>::new());
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("mesh.toml");
    fs::write(&path, "# mine\nworkers = 3\nbatch-size = 30\nbuffer-size = 300000\n")
        .expect("written");
    let mut sources = sources(
        &[("workers", "5")],
        &[("PULSEMESH_WORKERS", "4"), ("PULSEMESH_BATCH_SIZE", "40"), ("PULSEMESH_RETENTION", "")],
    );
    sources.file = Some(path.clone());
    let (settings, values) = load(&sources).expect("sound");
    assert_eq!(settings.drain.workers, 5);
    assert_eq!(settings.drain.batch_rows, 40);
    assert_eq!(settings.ack.buffer.pulses_max, 300_000);
    assert_eq!(settings.storage.retention, Duration::from_secs(7 * 86_400), "empty is not set");
    assert_eq!(values.drain.workers.source, Source::Flag);
    assert_eq!(values.drain.batch_size.source, Source::Environment);
    let line = Source::File { path: path.display().to_string(), line: 4 };
    assert_eq!(values.ack.buffer_size.source, line);
    assert_eq!(values.storage.retention.source, Source::Default);
}

#[test]
fn every_setting_has_its_own_names_and_a_sound_default() {
    for (index, definition) in DEFINITIONS.iter().enumerate() {
        let env = format!("PULSEMESH_{}", definition.name.replace('-', "_").to_uppercase());
        // The one that is shorter: it is typed by hand more than all others.
        let expected = if definition.name == "log-level" { "PULSEMESH_LOG" } else { &env };
        assert_eq!(definition.env, expected);
        assert!(DEFINITIONS[index + 1..].iter().all(|other| other.name != definition.name));
    }
}

#[test]
fn every_setting_can_be_set_in_a_file_and_what_is_printed_sets_the_same() {
    let defaults = load(&Sources::default()).expect("sound").1;
    let printed = effective_toml(&defaults);
    for definition in DEFINITIONS {
        assert!(printed.contains(&format!("\n{} = ", definition.name)), "{}", definition.name);
    }
    assert_eq!(
        from_text(&printed).map(|settings| Settings { warnings: vec![], ..settings }),
        from_text("")
    );
}

#[test]
fn what_is_in_effect_is_told_with_its_source() {
    let sources = sources(
        &[("store", "memory")],
        &[("PULSEMESH_LOG_BUDGET", "64MiB"), ("PULSEMESH_THREADS", "02")],
    );
    let values = load(&sources).expect("sound").1;
    let printed = effective_toml(&values);
    let squeezed = printed.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "store = \"memory\" # --store",
        "log-budget = \"64MiB\" # PULSEMESH_LOG_BUDGET",
        "log-segment-size = \"4MiB\" # default: a 16th of --log-budget, 1MiB to 64MiB",
        "threads = 2 # PULSEMESH_THREADS",
        "stop-drain = false # default",
    ] {
        assert!(squeezed.contains(expected), "`{printed}` lacks `{expected}`");
    }
}

#[test]
fn unknown_keys_are_named_with_their_line_and_the_nearest_known_key() {
    let cases = [
        ("batchsize = 5", "mesh.toml:1: unknown key `batchsize`; did you mean `batch-size`?"),
        ("\nbatch_size = 5", "mesh.toml:2: unknown key `batch_size`; did you mean `batch-size`?"),
        ("listn = \"a\"", "mesh.toml:1: unknown key `listn`; did you mean `listen`?"),
        ("colour = 5", "unknown key `colour`; its keys are the names of flags"),
        ("[server]\nlisten = \"a\"", "mesh.toml:1: unknown key `server`; the file has no sections"),
        ("workers = [1]", "mesh.toml:1: `workers` is a TOML array; write text"),
        ("workers = 2.5", "`workers` is a TOML float"),
        ("workers = 2\nworkers = 3", "mesh.toml:2: not TOML: duplicate key"),
        ("workers =", "mesh.toml:1: not TOML: "),
    ];
    for (text, expected) in cases {
        let error = from_text(text).expect_err(text);
        assert!(error.contains(expected), "`{error}` lacks `{expected}`");
    }
    let error = from_text("b = 1\na = 2\nworkers = 2").expect_err("two unknown keys");
    assert!(error.find("`b`") < error.find("`a`"), "in the order of the file: {error}");
}

#[test]
fn a_bad_value_is_named_with_its_place_and_what_would_be_right() {
    let cases: [(&str, &str); 17] = [
        (
            "batch-size = \"many\"",
            "mesh.toml:1: batch-size: `many` is not a whole number, such as 5000",
        ),
        ("batch-size = 0", "`0` is below 1"),
        ("batch-size = -1", "`-1` is not a whole number"),
        ("batch-size = 0x10", "`0x10` is not a whole number"),
        ("workers = 1000", "`1000` is above 256"),
        (
            "flush-interval = 100",
            "`100` is not a whole number with ms, s, m, h or d, such as 100ms",
        ),
        ("flush-interval = \"2m\"", "`2m` is above 1m"),
        ("retention = \"59m\"", "`59m` is below 1h"),
        (
            "buffer-bytes = \"64M\"",
            "`64M` is not a whole number with B, KiB, MiB, GiB or TiB, such as 64MiB",
        ),
        ("store = \"memry\"", "write `memory`, `embedded` or `cassandra`; did you mean `memory`?"),
        ("ack = \"Durable\"", "write `memory`, `durable` or `stored`; did you mean `durable`?"),
        ("listen = \":8080\"", "write 0.0.0.0:8080 for every interface"),
        ("listen = \"localhost:80\"", "write 127.0.0.1:80"),
        ("listen = 8080", "write an IP address and a port, such as 127.0.0.1:8080"),
        ("stop-drain = \"yes\"", "`yes` is neither `true` nor `false`"),
        ("log-level = \"loud\"", "parse log level `loud`: write a level"),
        ("data-dir = \"\"", "the path is empty"),
    ];
    for (text, expected) in cases {
        let error = from_text(text).expect_err(text);
        assert!(error.contains(expected), "`{error}` lacks `{expected}`");
    }
}

#[test]
fn all_bad_values_are_told_at_once_with_the_names_that_were_used() {
    let error = load(&sources(&[("workers", "x")], &[("PULSEMESH_LOG", "loud")]))
        .expect_err("two are wrong")
        .to_string();
    assert!(error.contains("\n  --workers: ") && error.contains("\n  PULSEMESH_LOG: "), "{error}");
    let missing = Sources { file: Some("/no/such.toml".into()), ..Sources::default() };
    let error = load(&missing).expect_err("no file").to_string();
    assert!(error.contains("/no/such.toml: can't be read: No such file"), "{error}");
}

#[test]
fn settings_that_contradict_each_other_are_refused_with_both_names() {
    let cases: [(&str, &str); 8] = [
        (
            "admin-listen = \"127.0.0.1:8080\"",
            "admin-listen: `127.0.0.1:8080` is where clients are served",
        ),
        (
            "ack = \"stored\"\nack-max = \"durable\"",
            "ack: `stored` is above `durable`, the most that mesh.toml:2: ack-max allows",
        ),
        ("ack-max = \"memory\"", "the default of --ack: `durable` is above `memory`"),
        ("log-budget = \"64MiB\"\nlog-segment-size = \"32MiB\"", "write 16MiB or less"),
        (
            "log-budget = \"32MiB\"",
            "log-budget: `32MiB` can't hold two largest requests; write 64MiB or more",
        ),
        (
            "decompressed-bytes-max = \"4MiB\"",
            "`4MiB` is below the default of --body-bytes-max (`8MiB`)",
        ),
        ("bytes-in-flight = \"16MiB\"", "can't hold one largest request; write 40MiB or more"),
        ("retention = \"1h\"\nidempotency-window = \"2h\"", "`2h` is longer than --retention, 1h"),
    ];
    for (text, expected) in cases {
        let error = from_text(text).expect_err(text);
        assert!(error.contains(expected), "`{error}` lacks `{expected}`");
    }
    from_text("listen = \"127.0.0.1:0\"\nadmin-listen = \"127.0.0.1:0\"").expect("two free ports");
}

#[test]
fn what_has_no_effect_is_told_and_accepted() {
    let cases: [(&str, &str); 3] = [
        ("memory-store-rows = 5", "has no effect without --store memory"),
        ("stop-timeout = \"5s\"", "has no effect without --stop-drain"),
        ("buffer-size = 100", "a batch of over 100 pulses never fits the buffer"),
    ];
    for (text, expected) in cases {
        let warnings = from_text(text).expect("accepted").warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{warnings:?}");
    }
    let variables = [
        ("PULSEMESH_BATCHSIZE", "1"),
        ("PULSEMESH_LOG_LEVEL", "warn"),
        ("PULSEMESH_SERVICE_HOST", "10.0.0.1"),
        ("PULSEMESH_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("HOME", "/root"),
    ];
    let warnings = load(&sources(&[], &variables)).expect("accepted").0.warnings;
    let expected = [
        "PULSEMESH_BATCHSIZE sets nothing; did you mean PULSEMESH_BATCH_SIZE?",
        "PULSEMESH_LOG_LEVEL sets nothing; did you mean PULSEMESH_LOG?",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn choices_carry_what_belongs_to_them_alone() {
    let text = "store = \"memory\"\nmemory-store-rows = 10\nmemory-store-bytes = \"1MiB\"\n\
                stop-drain = true\nstop-timeout = \"5m\"\noverflow = \"drop\"\n\
                log-format = \"json\"";
    let settings = from_text(text).expect("sound");
    assert_eq!(settings.storage.store, StoreChoice::Memory { rows_max: 10, bytes_max: 1 << 20 });
    assert_eq!(settings.stop.drain_within, Some(Duration::from_secs(300)));
    assert_eq!(settings.ack.buffer.overflow, Overflow::Drop);
    assert_eq!(settings.telemetry.format, LogFormat::Json);
}

#[test]
fn retention_classes_are_told_with_what_is_wrong_of_them() {
    let classes = |text: &str| from_text(&format!("retention-classes = \"{text}\"\n"));
    let settings = classes("short=1h,audit=365d").expect("sound");
    assert_eq!(settings.storage.retention_classes.to_string(), "default, short or audit");
    assert!(settings.warnings[0].contains("has no effect without --tenants"));
    assert!(from_text("").expect("sound").storage.retention_classes.is_empty());
    let told = classes("short=10m").expect_err("too short");
    assert!(
        told.contains("mesh.toml:1: retention-classes: `short=10m` is not within 1h"),
        "{told}"
    );
    let told = from_text("retention-classes = \"short=1h\"\nidempotency-window = \"2h\"\n");
    let told = told.expect_err("ids are known for longer than their pulses");
    assert!(told.contains("`2h` is longer than `short` of --retention-classes, 1h"), "{told}");
    let text = "store = \"memory\"\ntenants = \"t\"\nretention-classes = \"short=1h\"\n";
    let warnings = from_text(text).expect("sound").warnings;
    assert!(warnings[0].contains("rows go as newer ones come"), "{warnings:?}");
}
