//! Passwords and certificates: what is right connects, what is wrong does not, and a changed
//! password needs no restart.

use std::fs;

use anyhow::{Context, Result};
use pulsemesh_ingest::limits::{RedisSettings, WithoutRedis};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use xtask::redis::Redis;

use crate::support::{Process, requests, settings};

fn connected(settings: RedisSettings) -> Result<Process> {
    let process = Process::with(settings, WithoutRedis::Local, requests(6_000))?;
    process.wait_mode("shared")?;
    Ok(process)
}

#[test]
#[ignore = "needs a redis-server"]
fn a_password_is_read_for_each_connection() -> Result<()> {
    let mut redis = Redis::with(&["--save", "", "--requirepass", "s3cret"])?;
    let secrets = TempDir::new()?;
    let password = secrets.path().join("password");
    fs::write(&password, "wrong\n")?;
    let with_password = RedisSettings { password: Some(password.clone()), ..settings(&redis) };
    let process = Process::with(with_password, WithoutRedis::Local, requests(6_000))?;
    process.wait_mode("local")?;
    fs::write(&password, "s3cret\n")?;
    process.wait_mode("shared")?;
    redis.kill()?;
    process.wait_mode("local")?;
    redis.start_again()?;
    process.wait_mode("shared")
}

#[test]
#[ignore = "needs a redis-server"]
fn a_certificate_of_the_ca_is_trusted_and_no_other() -> Result<()> {
    let dir = TempDir::new()?;
    let file = |name: &str| dir.path().join(name).display().to_string();
    for name in ["ca", "other"] {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(file(name), issuer.pem())?;
        let key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        if name == "ca" {
            fs::write(file("cert"), certificate.pem())?;
            fs::write(file("key"), key.serialize_pem())?;
        }
    }
    let (certificate, key, ca) = (file("cert"), file("key"), file("ca"));
    let tls_port = free_port()?;
    let redis = Redis::with(&[
        "--save",
        "",
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ])?;
    let over_tls = |ca: &str| RedisSettings {
        port: tls_port,
        tls: true,
        tls_ca: Some(dir.path().join(ca)),
        ..settings(&redis)
    };
    let untrusted = Process::with(over_tls("other"), WithoutRedis::Local, requests(6_000))?;
    connected(over_tls("ca"))?;
    untrusted.wait_mode("local")
}

fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}
