//! `check` of servers that are well, closed to strangers, limited, or not there; and encryption.

use std::fs;
use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use xtask::tenants::{HOT, write_file};

use crate::support::{Fixture, Run, launch, run, run_with};

/// The verdict on each thing that was looked at.
fn verdicts<'a>(report: &'a Value) -> Vec<(&'a str, &'a str)> {
    let steps = report["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |step: &'a Value, name: &str| step[name].as_str().unwrap_or_default();
    steps.iter().map(|step| (text(step, "name"), text(step, "verdict"))).collect()
}

fn fix<'a>(report: &'a Value, name: &str) -> &'a str {
    let steps = report["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let step = steps.iter().find(|step| step["name"] == *name);
    step.and_then(|step| step["fix"].as_str()).unwrap_or_default()
}

#[test]
fn a_server_that_is_well_passes_with_and_without_writing() -> Result<()> {
    let at = Fixture::start()?;
    let admin = format!("http://{}", at.server.admin());
    let report = at.run(&["check", "--json"])?.expect(0)?.json()?;
    assert_eq!(report["ok"], true);
    let looked = ["address", "connect", "health", "clock", "key", "limits", "letters"];
    assert_eq!(verdicts(&report), looked.map(|name| (name, "ok")));
    let shown = at.run(&["check", "--write", "--admin", &admin])?.expect(0)?.out;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 11, "{shown}");
    ensure!(lines.iter().all(|line| line.starts_with("ok    ")), "{shown}");
    for told in ["the server is 0.1.0", "accepts pulses", "clocks agree", "same pulse comes back"] {
        ensure!(shown.contains(told), "{told}: {shown}");
    }
    Ok(())
}

#[test]
fn what_a_key_allows_is_told_apart() -> Result<()> {
    let dir = TempDir::new()?;
    let file = dir.path().join("t").display().to_string();
    let typed = ["tenant", "create", "a", "--key", "w:write", "--key", "r:read", "--json"];
    let made = run(&[&typed[..], &["--file", &file]].concat())?.expect(0)?.json()?;
    let key = |at: usize| made["keys"][at]["key"].as_str().context("a key");
    let at = Fixture::with(|launch, _| Ok(launch.flag("--tenants", &file)))?;
    let url = at.url();
    let check = |key: &str, more: &[&str]| -> Result<(Run, Value)> {
        let typed = [&["--url", &url, "check", "--json"], more].concat();
        let ended = run_with(("PULSEMESH_API_KEY", key), &typed)?;
        let report = ended.json()?;
        Ok((ended, report))
    };
    let verdict = |report: &Value, name: &str| {
        let found = verdicts(report).into_iter().find(|(step, _)| *step == name);
        found.map(|(_, verdict)| verdict.to_owned()).unwrap_or_default()
    };
    let (ended, none) = check("", &[])?;
    assert_eq!((ended.code, verdict(&none, "key").as_str()), (1, "fail"));
    ensure!(fix(&none, "key").contains("PULSEMESH_API_KEY"), "{none}");
    let (ended, unknown) = check("pmk_nobody", &[])?;
    assert_eq!((ended.code, verdict(&unknown, "key").as_str()), (1, "fail"));
    ensure!(!unknown.to_string().contains("pmk_nobody"), "a key is told: {unknown}");
    let (ended, writes) = check(key(0)?, &["--write"])?;
    assert_eq!((ended.code, verdict(&writes, "key").as_str()), (0, "warn"));
    assert_eq!(
        (verdict(&writes, "write").as_str(), verdict(&writes, "read back").as_str()),
        ("ok", "")
    );
    let (ended, reads) = check(key(1)?, &["--write"])?;
    assert_eq!((ended.code, verdict(&reads, "key").as_str()), (1, "ok"));
    assert_eq!(verdict(&reads, "write"), "fail", "{reads}");
    Ok(())
}

#[test]
fn limits_and_letters_that_wait_are_told() -> Result<()> {
    let at = Fixture::with(|launch, dir| {
        Ok(launch.flag("--tenants", &write_file(dir, &[(HOT, 600)])?.display().to_string()))
    })?;
    let url = at.url();
    let shown = run_with(("PULSEMESH_API_KEY", HOT.key), &["--url", &url, "check"])?.expect(0)?.out;
    ensure!(shown.contains("\"requests\";q=600;w=60"), "{shown}");
    ensure!(shown.contains("no dead letters wait"), "{shown}");
    Ok(())
}

#[test]
fn nobody_there_and_something_else_there_are_told_with_what_to_do() -> Result<()> {
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let report =
        run(&["--url", &format!("http://{free}"), "check", "--json"])?.expect(1)?.json()?;
    assert_eq!(verdicts(&report), [("address", "ok"), ("connect", "fail")]);
    ensure!(fix(&report, "connect").contains("Start the server"), "{report}");
    let report = run(&["--url", "http://no-such-host.invalid", "check", "--json"])?.expect(1)?;
    assert_eq!(verdicts(&report.json()?), [("address", "fail")]);
    let at = Fixture::start()?;
    let admin = format!("http://{}", at.server.admin());
    let shown = run(&["--url", &admin, "check"])?.expect(1)?.out;
    ensure!(shown.contains("fail  health") && shown.contains("what to do: "), "{shown}");
    Ok(())
}

/// PEM files of one authority, a server and a client.
fn certificates(dir: &TempDir) -> Result<()> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    fs::write(dir.path().join("ca.pem"), issuer.pem())?;
    for (name, host) in [("server", "localhost"), ("client", "somebody")] {
        let key = KeyPair::generate()?;
        let signed = CertificateParams::new(vec![host.to_owned()])?.signed_by(&key, &issuer)?;
        fs::write(dir.path().join(format!("{name}.pem")), signed.pem())?;
        fs::write(dir.path().join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}

#[test]
fn an_own_authority_and_a_client_certificate_are_believed_and_nobody_else() -> Result<()> {
    let dir = TempDir::new()?;
    certificates(&dir)?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let server = launch(&dir.path().join("data"))?
        .flag("--tls-cert", &path("server.pem"))
        .flag("--tls-key", &path("server.key"))
        .flag("--tls-client-ca", &ca)
        .start()?;
    let url = format!("https://localhost:{}", server.listen().port());
    let all = ["--ca-file", &ca, "--client-cert-file", &cert, "--client-key-file", &key];
    let sent =
        run(&[&["--url", &url, "send", "--service", "s", "--ack", "stored"], &all[..]].concat())?;
    sent.expect(0)?;
    let rows = run(&[&["--url", &url, "query", "s", "--json"], &all[..]].concat())?.expect(0)?;
    assert_eq!(rows.lines()?.len(), 1);
    let shown = run(&[&["--url", &url, "check", "--write"], &all[..]].concat())?.expect(0)?.out;
    ensure!(shown.contains("ok    encrypted  the server's certificate is believed"), "{shown}");

    let stranger = run(&["--url", &url, "check", "--json"])?.expect(1)?.json()?;
    ensure!(fix(&stranger, "encrypted").contains("--ca-file"), "{stranger}");
    let without = run(&["--url", &url, "--ca-file", &ca, "query", "s"])?.expect(1)?;
    ensure!(
        without.err.contains("client certificate") || without.err.contains("encrypted"),
        "{without:?}"
    );
    let plain = format!("http://localhost:{}", server.listen().port());
    let plain = run(&["--url", &plain, "query", "s"])?.expect(1)?;
    ensure!(plain.err.contains("https://"), "{plain:?}");
    let half = run(&["--url", &url, "--client-cert-file", &cert, "query", "s"])?.expect(2)?;
    ensure!(half.err.contains("--client-key-file"), "{half:?}");
    Ok(())
}
