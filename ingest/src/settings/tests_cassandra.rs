//! The settings of the Cassandra store end to end.

use scylla::statement::Consistency;

use super::*;

fn from_text(text: &str) -> Result<Settings, String> {
    let text = format!("store = \"cassandra\"\n{text}");
    from_toml(Path::new("mesh.toml"), &text).map_err(|error| error.to_string())
}

fn cassandra(text: &str) -> Cassandra {
    match from_text(text).expect(text).storage.store {
        StoreChoice::Cassandra(cassandra) => *cassandra,
        other => panic!("{other:?} is another store"),
    }
}

#[test]
fn a_store_is_reached_with_the_defaults_alone() {
    let expected = Cassandra {
        nodes: vec!["127.0.0.1:9042".to_owned()],
        keyspace: "pulsemesh".to_owned(),
        datacenter: None,
        replication_factor: None,
        consistency: Consistency::LocalQuorum,
        credentials: None,
        tls: None,
        id_index: true,
        compression: true,
        request_timeout: Duration::from_secs(3),
        requests_max: 256,
    };
    assert_eq!(cassandra(""), expected);
    assert_eq!(from_text("").expect("sound").warnings, Vec::<String>::new());
}

#[test]
fn everything_can_be_set() {
    let text = r#"
        cassandra-nodes = "a:9042, [::1]:9043"
        cassandra-keyspace = "mesh_2"
        cassandra-datacenter = "eu-west.1"
        cassandra-replication-factor = 1
        cassandra-consistency = "local_one"
        cassandra-username-file = "/run/user"
        cassandra-password-file = "/run/password"
        cassandra-tls = true
        cassandra-tls-ca-file = "/run/ca.pem"
        cassandra-tls-cert-file = "/run/tls.crt"
        cassandra-tls-key-file = "/run/tls.key"
        cassandra-tls-verify-name = true
        cassandra-id-index = false
        cassandra-compression = "none"
        cassandra-request-timeout = "500ms"
        cassandra-requests-max = 32
    "#;
    let expected = Cassandra {
        nodes: vec!["a:9042".to_owned(), "[::1]:9043".to_owned()],
        keyspace: "mesh_2".to_owned(),
        datacenter: Some("eu-west.1".to_owned()),
        replication_factor: Some(1),
        consistency: Consistency::LocalOne,
        credentials: Some(CredentialFiles {
            username: "/run/user".into(),
            password: "/run/password".into(),
        }),
        tls: Some(TlsFiles {
            ca: "/run/ca.pem".into(),
            client: Some(("/run/tls.crt".into(), "/run/tls.key".into())),
            verify_name: true,
        }),
        id_index: false,
        compression: false,
        request_timeout: Duration::from_millis(500),
        requests_max: 32,
    };
    assert_eq!(cassandra(text), expected);
    assert_eq!(from_text(text).expect("sound").warnings, Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_told_with_what_would_be_right() {
    let cases = [
        ("cassandra-nodes = \"db\"", "cassandra-nodes: `db` has no port; write db:9042"),
        ("cassandra-nodes = \"a:1,,b:2\"", "a node is empty; write host:9042,host:9042"),
        ("cassandra-nodes = \"\"", "a node is empty"),
        ("cassandra-keyspace = \"Mesh\"", "`Mesh` is no name of a keyspace; write at most 48"),
        ("cassandra-keyspace = \"\"", "`` is no name of a keyspace"),
        ("cassandra-keyspace = \"1a\"", "a letter first"),
        ("cassandra-datacenter = \"dc'1\"", "`dc'1` is no name of a datacenter"),
        ("cassandra-replication-factor = 0", "`0` is below 1"),
        ("cassandra-request-timeout = \"21s\"", "`21s` is above 20s"),
        ("cassandra-consistency = \"each_quorum\"", "write `one`, `local_one`, `quorum`"),
        ("cassandra-username-file = \"/u\"", "needs --cassandra-password-file beside it"),
        ("cassandra-password-file = \"/p\"", "needs --cassandra-username-file beside it"),
        ("cassandra-tls = true", "cassandra-tls: needs --cassandra-tls-ca-file: the CA"),
        (
            "cassandra-tls-ca-file = \"/ca\"",
            "cassandra-tls-ca-file: needs --cassandra-tls, or nothing is encrypted",
        ),
        ("cassandra-tls-verify-name = false", "needs --cassandra-tls, or"),
        (
            "cassandra-tls = true\ncassandra-tls-ca-file = \"/ca\"\n\
             cassandra-tls-key-file = \"/key\"",
            "mesh.toml:4: cassandra-tls-key-file: needs --cassandra-tls-cert-file beside it",
        ),
    ];
    for (text, expected) in cases {
        let error = from_text(text).expect_err(text);
        assert!(error.contains(expected), "`{error}` lacks `{expected}`");
    }
}

#[test]
fn what_may_surprise_is_told_and_accepted() {
    let login = "cassandra-username-file = \"/u\"\ncassandra-password-file = \"/p\"";
    let tls = "cassandra-tls = true\ncassandra-tls-ca-file = \"/ca\"";
    let cases = [
        ("cassandra-consistency = \"one\"".to_owned(), "stored when one copy is"),
        (login.to_owned(), "the password is sent in the clear"),
        (format!("{tls}\ncassandra-tls-verify-name = false"), "can pass for a node"),
    ];
    for (text, expected) in cases {
        let warnings = from_text(&text).expect("accepted").warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{warnings:?}");
    }
    let elsewhere = from_toml(Path::new("mesh.toml"), "cassandra-tls = true").expect("accepted");
    let expected = "mesh.toml:1: cassandra-tls: has no effect without --store cassandra";
    assert_eq!(elsewhere.warnings, [expected]);
}
