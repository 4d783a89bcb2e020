//! The settings of Redis and of counting end to end.

use super::*;

fn from_text(text: &str) -> Result<Settings, String> {
    from_toml(Path::new("mesh.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn each_process_counts_alone_unless_redis_is_named() {
    let counting = from_text("").expect("sound").counting;
    let alone = Counting { redis: None, without_redis: WithoutRedis::Local, divide_by: 1 };
    assert_eq!(counting, alone);
}

#[test]
fn everything_can_be_set() {
    let text = r#"
        redis-url = "rediss://mesh@cache.db:6380/2"
        redis-password-file = "/run/password"
        redis-tls-ca-file = "/run/ca.pem"
        limits-without-redis = "refuse"
        limits-divide-by = 3
    "#;
    let expected = Counting {
        redis: Some(RedisSettings {
            host: "cache.db".to_owned(),
            port: 6380,
            database: 2,
            username: Some("mesh".to_owned()),
            password: Some("/run/password".into()),
            tls: true,
            tls_ca: Some("/run/ca.pem".into()),
        }),
        without_redis: WithoutRedis::Refuse,
        divide_by: 3,
    };
    let settings = from_text(text).expect("sound");
    assert_eq!((settings.counting, settings.warnings), (expected, Vec::new()));
}

#[test]
fn what_is_wrong_is_told_without_a_password() {
    let cases = [
        ("redis-url = \"cache:6379\"", "redis://"),
        ("redis-url = \"redis://:s3cret@cache\"", "--redis-password-file"),
        ("redis-url = \"redis://mesh@cache\"", "--redis-password-file"),
        ("redis-url = \"rediss://cache\"", "--redis-tls-ca-file"),
        ("redis-url = \"redis://cache\"\nredis-tls-ca-file = \"/ca\"", "rediss://"),
        ("limits-without-redis = \"open\"", "`local` or `refuse`"),
        ("limits-divide-by = 0", "is below 1"),
        ("idempotency = \"redis\"", "needs --redis-url"),
        ("idempotency = \"cassandra\"", "needs --store cassandra"),
        ("idempotency = \"shared\"", "`local`, `redis` or `cassandra`"),
    ];
    for (text, part) in cases {
        let error = from_text(text).expect_err(text);
        assert!(error.contains(part) && !error.contains("s3cret"), "{text}: {error}");
    }
}

#[test]
fn what_may_surprise_is_told_and_accepted() {
    let clear = "redis-url = \"redis://cache\"\nredis-password-file = \"/run/password\"";
    let cases = [
        (clear, "in the clear"),
        ("redis-password-file = \"/run/password\"", "has no effect"),
        ("limits-without-redis = \"refuse\"", "has no effect"),
    ];
    for (text, part) in cases {
        let warnings = from_text(text).expect(text).warnings;
        assert!(warnings.iter().any(|warning| warning.contains(part)), "{text}: {warnings:?}");
    }
}

#[test]
fn ids_and_keys_are_shared_where_that_is_asked_for() {
    let repeats = |text: &str| from_text(text).expect("sound").repeats;
    let usual = repeats("");
    assert_eq!((usual.shared, usual.on_failure), (ShareChoice::Local, OnFailure::Refuse));
    let redis = repeats("redis-url = \"redis://cache\"\nidempotency = \"redis\"");
    assert_eq!((redis.shared, redis.on_failure), (ShareChoice::Redis, OnFailure::Refuse));
    let local = repeats(
        "store = \"cassandra\"\nidempotency = \"cassandra\"\nidempotency-on-failure = \"local\"",
    );
    assert_eq!((local.shared, local.on_failure), (ShareChoice::Cassandra, OnFailure::Local));
    let warned = from_text("idempotency-on-failure = \"local\"").expect("sound").warnings;
    assert!(warned.len() == 1 && warned[0].contains("has no effect"), "{warned:?}");
}
