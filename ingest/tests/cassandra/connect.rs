//! How the server finds its database, and what `/readyz` says while it does not: a database that
//! is away, that refuses a login or a certificate, or that is not believed.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use xtask::cassandra::Cluster;
use xtask::client::{Client, Request};
use xtask::server::{Launch, Server, wait_for};

use crate::session::cluster;

/// Longest wait for what takes a second or two on an idle machine.
const SOON: Duration = Duration::from_secs(60);
const PULSE: &str = r#"{"service_name":"connect","latency_ms":1}"#;

/// A server in front of a cluster, with the files of its secrets in a directory of its own.
struct Fixture {
    dir: TempDir,
    cluster: Cluster,
}

impl Fixture {
    fn new() -> Result<Self> {
        let fixture = Self { dir: TempDir::new()?, cluster: cluster()? };
        let login = fixture.cluster.settings().login();
        let (username, password) = login.context("nobody is asked for a login")?;
        fs::write(fixture.path("username"), username)?;
        fs::write(fixture.path("password"), format!("{password}\n"))?;
        Ok(fixture)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// With the login and the certificates that are right.
    fn launch(&self) -> Result<Launch> {
        let files = self.cluster.tls_files().context("the cluster has no TLS")?;
        let text = |path: &Path| path.display().to_string();
        let launch = Launch::new(env!("CARGO_BIN_EXE_pulsemesh-ingest"), &self.path("data"))
            .flag("--store", "cassandra")
            .flag("--cassandra-nodes", &self.cluster.nodes()[0].address().to_string())
            .flag("--cassandra-keyspace", "connect_test")
            .flag("--cassandra-username-file", &text(&self.path("username")))
            .flag("--cassandra-password-file", &text(&self.path("password")))
            .argument("--cassandra-tls=true");
        Ok(launch
            .flag("--cassandra-tls-ca-file", &text(&files.ca))
            .flag("--cassandra-tls-cert-file", &text(&files.client))
            .flag("--cassandra-tls-key-file", &text(&files.client_key)))
    }
}

/// What `/readyz` says with its status.
fn readiness(server: &Server) -> Result<(u16, String)> {
    let answer = Client::new(server.admin()).get("/readyz?verbose")?;
    Ok((answer.status, answer.text()))
}

/// Waits until the server says that the store is down for this reason; it must be ready all the
/// same, and take a pulse.
fn is_down(server: &Server, why: &str) -> Result<()> {
    wait_for(SOON, why, || {
        let (status, text) = readiness(server)?;
        ensure!(status == 200, "{status}: {text}");
        ensure!(text.contains("[-] store: ") && text.contains(why), "{text}");
        Ok(true)
    })?;
    let answer = server.client().send(&Request::json("/pulse", PULSE))?;
    ensure!(answer.status == 202, "{} {}", answer.status, answer.text());
    Ok(())
}

fn is_up(server: &Server) -> Result<()> {
    wait_for(SOON, "the store is up", || {
        let (status, text) = readiness(server)?;
        ensure!(status == 200 && text.contains("[+] store: ok"), "{status}: {text}");
        ensure!(server.samples()?.sum("pulsemesh_cassandra_connected", &[]) == 1.0);
        Ok(true)
    })
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_login_over_tls_with_a_certificate_makes_the_store_up() -> Result<()> {
    let fixture = Fixture::new()?;
    is_up(&fixture.launch()?.start()?)
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_database_that_is_away_at_the_start_is_told_and_waited_for() -> Result<()> {
    let fixture = Fixture::new()?;
    // Nobody listens there once it is dropped.
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let server = fixture.launch()?.flag("--cassandra-nodes", &free).start()?;
    is_down(&server, &format!("no node of {free} answers: connection refused"))
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_wrong_password_is_told_and_a_changed_one_is_used_without_a_restart() -> Result<()> {
    let fixture = Fixture::new()?;
    let password = fs::read(fixture.path("password"))?;
    fs::write(fixture.path("password"), "hunter2")?;
    let server = fixture.launch()?.start()?;
    let file = fixture.path("password").display().to_string();
    is_down(&server, &format!("login refused (password file {file}): "))?;
    fs::remove_file(fixture.path("password"))?;
    is_down(&server, &format!("password file {file}: No such file"))?;
    fs::write(fixture.path("password"), password)?;
    is_up(&server)?;
    let log = server.log();
    ensure!(!log.contains("hunter2"), "the password is in the log");
    ensure!(log.matches("login refused").count() <= 4, "a line for each attempt: {log}");
    Ok(())
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_node_that_no_known_authority_has_signed_is_told() -> Result<()> {
    let fixture = Fixture::new()?;
    let foreign = rcgen::generate_simple_self_signed(["db".to_owned()])?;
    fs::write(fixture.path("ca.pem"), foreign.cert.pem())?;
    let ca = fixture.path("ca.pem").display().to_string();
    let server = fixture.launch()?.flag("--cassandra-tls-ca-file", &ca).start()?;
    is_down(&server, &format!("a node's certificate is not signed by the CA in {ca}"))
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_certificate_of_ours_that_nodes_do_not_know_is_told() -> Result<()> {
    let fixture = Fixture::new()?;
    let foreign = rcgen::generate_simple_self_signed(["mesh".to_owned()])?;
    fs::write(fixture.path("crt.pem"), foreign.cert.pem())?;
    fs::write(fixture.path("key.pem"), foreign.signing_key.serialize_pem())?;
    let text = |name: &str| fixture.path(name).display().to_string();
    let server = fixture
        .launch()?
        .flag("--cassandra-tls-cert-file", &text("crt.pem"))
        .flag("--cassandra-tls-key-file", &text("key.pem"))
        .start()?;
    is_down(&server, "--cassandra-tls-cert-file")
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_login_that_is_asked_for_and_not_set_is_told() -> Result<()> {
    let fixture = Fixture::new()?;
    let server = fixture
        .launch()?
        .flag("--cassandra-username-file", "")
        .flag("--cassandra-password-file", "")
        .start()?;
    is_down(&server, "the database asks for a login: set --cassandra-username-file")
}

#[test]
#[ignore = "needs the database of cargo xtask test cassandra"]
fn a_datacenter_without_nodes_is_told_with_those_that_there_are() -> Result<()> {
    let fixture = Fixture::new()?;
    let server = fixture.launch()?.flag("--cassandra-datacenter", "nowhere").start()?;
    is_down(&server, "no node is in datacenter `nowhere`: there is `datacenter1`")
}
