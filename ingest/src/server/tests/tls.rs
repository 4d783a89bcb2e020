//! Encrypted connections: real handshakes with certificates that are made here.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::harness::{PATIENCE, SHORT, Server, post, settings, wait_until};
use crate::server::tls::{Tls, TlsFiles};
use crate::server::{Phase, ServerSettings};
use crate::tenant::Tenants;

/// Certificates of one authority, in PEM.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
type Signed = (String, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("an authority") }
    }

    fn sign(&self) -> Signed {
        let params = CertificateParams::new(vec!["pulses.test".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }
}

fn files(client_ca: bool) -> TlsFiles {
    let path = PathBuf::from;
    TlsFiles {
        certificate: path("cert.pem"),
        key: path("key.pem"),
        client_ca: client_ca.then(|| path("ca.pem")),
    }
}

fn contents(signed: &Signed, client_ca: Option<&Authority>) -> Vec<Vec<u8>> {
    let mut contents = vec![signed.0.clone().into_bytes(), signed.1.clone().into_bytes()];
    contents.extend(client_ca.map(|ca| ca.pem().into_bytes()));
    contents
}

fn start(
    signed: &Signed,
    client_ca: Option<&Authority>,
    settings: ServerSettings,
) -> (Server, Arc<Tls>) {
    let tls = Arc::new(Tls::default());
    tls.replace(&files(client_ca.is_some()), &contents(signed, client_ca)).expect("sound");
    (Server::start_with(Tenants::open(), Some(Arc::clone(&tls)), settings), tls)
}

/// What a client believes and shows.
fn client(believes: &Authority, shows: Option<&Signed>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(believes.pem().as_bytes()).expect("PEM");
    roots.add(ca).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a certificate")
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

type Encrypted = StreamOwned<ClientConnection, TcpStream>;

fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Encrypted {
    let name = ServerName::try_from("pulses.test").expect("a name");
    let connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    StreamOwned::new(connection, stream)
}

/// The first line of the answer to one request; an error of the handshake or the connection.
fn ask(stream: &mut Encrypted) -> std::io::Result<String> {
    stream.write_all(post("single").as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut piece = [0; 1024];
        match stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            bytes => answer.extend_from_slice(&piece[..bytes]),
        }
    }
    let text = String::from_utf8(answer).expect("text");
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

const ACCEPTED: &str = "HTTP/1.1 202 Accepted";

#[test]
fn a_client_that_believes_the_certificate_is_served_and_says_how() {
    let authority = Authority::new();
    let (server, _) = start(&authority.sign(), None, settings());
    type Case<'a> = (&'a [&'a [u8]], Option<&'a [u8]>);
    let cases: [Case<'_>; 4] = [
        (&[], None),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[b"http/1.1", b"h2"], Some(b"h2")),
        (&[b"h2"], Some(b"h2")),
    ];
    for (offered, chosen) in cases {
        let mut stream = connect(server.address, &client(&authority, None, offered));
        if chosen == Some(b"h2") {
            stream
                .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                .expect("sent");
            let mut frame = [0; 9];
            stream.read_exact(&mut frame).expect("its settings");
            assert_eq!(frame[3], 4);
        } else {
            // More than one, so that the connection goes on.
            for _ in 0..3 {
                assert_eq!(ask(&mut stream).expect("served"), ACCEPTED);
            }
        }
        assert_eq!(stream.conn.alpn_protocol(), chosen);
    }
    let stranger = client(&Authority::new(), None, &[]);
    assert!(ask(&mut connect(server.address, &stranger)).is_err());
    let mut plain = server.connect();
    plain.send(post("single"));
    let failed = || server.metrics.http.handshakes_failed.get();
    wait_until("both are counted", || failed() == 2);
}

#[test]
fn a_connection_that_was_idle_for_long_goes_on_encrypted() {
    let authority = Authority::new();
    let (server, _) = start(&authority.sign(), None, settings());
    let mut stream = connect(server.address, &client(&authority, None, &[]));
    for _ in 0..2 {
        assert_eq!(ask(&mut stream).expect("served"), ACCEPTED);
        // Longer than a connection keeps its buffers.
        std::thread::sleep(std::time::Duration::from_millis(2_500));
    }
    assert_eq!(ask(&mut stream).expect("served"), ACCEPTED);
}

#[test]
fn a_body_larger_than_any_record_arrives_and_a_page_goes_out_whole() {
    let authority = Authority::new();
    let (server, _) = start(&authority.sign(), None, settings());
    let mut stream = connect(server.address, &client(&authority, None, &[]));
    let body = "single ".repeat(30_000);
    let head = format!("POST /pulse HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body.as_bytes()))
        .expect("sent");
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, b"HTTP/1.1 202");
    let ask =
        b"GET /v1/pulses?service=many&limit=250 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(ask).expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("closed in order, not cut");
    assert_eq!(page.matches("\"id\":").count(), 251, "the receipt and 250 rows");
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for() {
    let authority = Authority::new();
    let settings = ServerSettings { header_timeout: SHORT, ..settings() };
    let (mut server, _) = start(&authority.sign(), None, settings);
    let mut silent = server.connect();
    let mut half = server.connect();
    half.send([22, 3, 1, 2, 0, 1]);
    for client in [&mut silent, &mut half] {
        assert!(client.closed());
    }
    let waiting = server.connect();
    server.phases.send_replace(Phase::Stop);
    assert!(server.ended() < PATIENCE);
    drop(waiting);
}

#[test]
fn with_an_authority_for_clients_only_those_it_signed_come_in() {
    let (ours, theirs, foreign) = (Authority::new(), Authority::new(), Authority::new());
    let (server, _) = start(&ours.sign(), Some(&theirs), settings());
    let cases = [(Some(theirs.sign()), true), (None, false), (Some(foreign.sign()), false)];
    for (shows, served) in cases {
        let config = client(&ours, shows.as_ref(), &[]);
        let outcome = ask(&mut connect(server.address, &config));
        assert_eq!(outcome.is_ok(), served, "{outcome:?}");
    }
}

#[test]
fn another_certificate_serves_new_connections_and_a_broken_one_none() {
    let (old, new) = (Authority::new(), Authority::new());
    let (first, second) = (old.sign(), new.sign());
    let (server, tls) = start(&first, None, settings());
    let (believes_old, believes_new) = (client(&old, None, &[]), client(&new, None, &[]));
    let mut before = connect(server.address, &believes_old);
    assert_eq!(ask(&mut before).expect("served"), ACCEPTED);

    let mixed = (first.0.clone(), second.1.clone());
    let none = || (String::new(), String::new());
    for (broken, what) in [
        (mixed, "cert.pem does not go with key.pem"),
        ((first.0.clone(), String::new()), "key.pem holds no PEM key"),
        (none(), "cert.pem holds no PEM certificate"),
        ((first.0.replace("MII", "AAA"), first.1.clone()), "cert.pem"),
    ] {
        let error = tls.replace(&files(false), &contents(&broken, None)).expect_err("broken");
        let told = format!("{error} {error:?}");
        assert!(told.contains(what) && !told.contains("BEGIN"), "{told}");
        assert!(!told.contains(&second.1[40..80]), "{told}");
        assert_eq!(ask(&mut connect(server.address, &believes_old)).expect("served"), ACCEPTED);
    }
    tls.replace(&files(false), &contents(&second, None)).expect("sound");
    assert_eq!(ask(&mut connect(server.address, &believes_new)).expect("served"), ACCEPTED);
    assert!(ask(&mut connect(server.address, &believes_old)).is_err());
    assert_eq!(ask(&mut before).expect("it goes on"), ACCEPTED);
}
