//! Handshakes of our side with nodes that have all kinds of certificates, in memory.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use tempfile::TempDir;

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key, both PEM.
type Signed = (String, String);

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("an authority")
}

/// Signs a certificate for names and addresses; `years` is when it was valid.
fn sign(issuer: &Issuer<'_, KeyPair>, names: &[&str], years: [i32; 2]) -> Signed {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.not_before = rcgen::date_time_ymd(years[0], 1, 1);
    params.not_after = rcgen::date_time_ymd(years[1], 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("signed");
    (certificate.pem(), key.serialize_pem())
}

const VALID: [i32; 2] = [2000, 4000];

/// Files of our side; they go with the directory.
struct Files {
    directory: TempDir,
    files: TlsFiles,
}

impl Files {
    fn new(ca: &str, client: Option<Signed>, verify_name: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let write = |name: &str, text: &str| {
            fs::write(path(name), text).expect("written");
            path(name)
        };
        let client = client.map(|(pem, key)| (write("crt.pem", &pem), write("key.pem", &key)));
        let files = TlsFiles { ca: write("ca.pem", ca), client, verify_name };
        Self { directory, files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let nodes = ["db.mesh.example:9042".to_owned(), "127.0.0.1:9042".to_owned()];
        let config = Pem::read(&self.files).and_then(|pem| pem.config(&self.files, &nodes));
        config.map_err(|Down(why)| why)
    }

    /// Connects to a node at 127.0.0.1.
    fn shake(&self, node: ServerConfig) -> Result<(), String> {
        let address = ServerName::try_from("127.0.0.1").expect("an address");
        let client = ClientConnection::new(self.config()?, address).expect("a client");
        let mut client = rustls::Connection::from(client);
        let server = ServerConnection::new(Arc::new(node)).expect("a server");
        let mut server = rustls::Connection::from(server);
        while client.is_handshaking() || server.is_handshaking() {
            pass(&mut client, &mut server)?;
            pass(&mut server, &mut client)?;
        }
        Ok(())
    }
}

fn pass(from: &mut rustls::Connection, to: &mut rustls::Connection) -> Result<(), String> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).expect("memory");
    }
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).expect("memory");
        to.process_new_packets().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A node with this certificate, which asks for one that `clients` signed.
fn node((certificate, key): Signed, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).expect("an authority");
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
        None => builder.with_no_client_auth(),
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    builder.with_single_cert(chain, key).expect("a pair")
}

#[test]
fn a_node_is_believed_by_its_chain_and_its_name() {
    let (ours, foreign) = (authority("ours"), authority("foreign"));
    let all = ours.pem() + &foreign.pem();
    let sound = Ok(());
    let cases = [
        (&ours, ours.pem(), "127.0.0.1", VALID, true, sound),
        (&ours, ours.pem(), "db.mesh.example", VALID, true, sound),
        (&ours, all, "db.mesh.example", VALID, true, sound),
        (&ours, ours.pem(), "*.mesh.example", VALID, true, sound),
        (&ours, ours.pem(), "127.0.0.2", VALID, true, Err("not valid for name")),
        (&ours, ours.pem(), "other.example", VALID, true, Err("not valid for name")),
        (&ours, ours.pem(), "other.example", VALID, false, sound),
        (&foreign, ours.pem(), "127.0.0.1", VALID, true, Err("UnknownIssuer")),
        (&foreign, ours.pem(), "127.0.0.1", VALID, false, Err("UnknownIssuer")),
        (&ours, ours.pem(), "127.0.0.1", [2000, 2001], true, Err("expired")),
        (&ours, ours.pem(), "127.0.0.1", [2000, 2001], false, Err("expired")),
        (&ours, ours.pem(), "127.0.0.1", [3000, 3001], false, Err("not valid yet")),
    ];
    for (issuer, ca, name, years, verify_name, expected) in cases {
        let files = Files::new(&ca, None, verify_name);
        let outcome = files.shake(node(sign(issuer, &[name], years), None));
        let matches = match (&outcome, expected) {
            (Ok(()), Ok(())) => true,
            (Err(error), Err(expected)) => error.contains(expected),
            _ => false,
        };
        assert!(matches, "{name} {years:?} {verify_name}: {outcome:?}, not {expected:?}");
    }
}

#[test]
fn our_certificate_is_shown_to_a_node_that_asks() {
    let (ours, foreign) = (authority("ours"), authority("foreign"));
    let of_node = || node(sign(&ours, &["127.0.0.1"], VALID), Some(&ours));
    let with = |client| Files::new(&ours.pem(), client, true).shake(of_node());
    assert_eq!(with(Some(sign(&ours, &["mesh"], VALID))), Ok(()));
    assert!(with(None).expect_err("none is shown").contains("no certificates"));
    let refused = with(Some(sign(&foreign, &["mesh"], VALID))).expect_err("a foreign one");
    assert!(refused.contains("UnknownIssuer"), "{refused}");
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_named() {
    let ours = authority("ours");
    let (certificate, key) = sign(&ours, &["mesh"], VALID);
    let other = sign(&ours, &["mesh"], VALID);
    let cases: [(&str, &str, &str); 8] = [
        ("ca.pem", "", "ca.pem holds no PEM certificate"),
        ("ca.pem", &key, "ca.pem holds no PEM certificate"),
        (
            "ca.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "ca.pem holds no certificate of a CA",
        ),
        ("crt.pem", &key, "crt.pem holds no PEM certificate"),
        ("crt.pem", "-----BEGIN CERTIFICATE-----\n?", "crt.pem holds no PEM certificate"),
        ("key.pem", &certificate, "key.pem holds no PEM key"),
        ("key.pem", "", "key.pem holds no PEM key"),
        ("key.pem", &other.1, "crt.pem: "),
    ];
    for (name, content, expected) in cases {
        let client = Some((certificate.clone(), key.clone()));
        let files = Files::new(&ours.pem(), client, true);
        files.config().expect("sound before");
        fs::write(files.path(name), content).expect("written");
        let error = files.config().expect_err(expected);
        assert!(error.contains(expected), "`{error}` lacks `{expected}`");
        assert!(!error.contains("PRIVATE"), "{error}");
    }
    let files = Files::new(&ours.pem(), None, true);
    fs::remove_file(files.path("ca.pem")).expect("removed");
    let error = files.config().expect_err("not there");
    assert!(error.contains("ca.pem: No such file"), "{error}");
}

#[test]
fn a_changed_file_is_noticed() {
    let (ours, foreign) = (authority("ours"), authority("foreign"));
    let files = Files::new(&ours.pem(), None, true);
    let read = || Pem::read(&files.files).expect("readable");
    let before = read();
    assert!(before == read());
    fs::write(files.path("ca.pem"), foreign.pem()).expect("written");
    assert!(before != read());
}
