//! Encryption of clients' connections: from PEM to what handshakes are made with, and a
//! connection's bytes in the clear or encrypted. Reads no files; what is in them may be replaced
//! while connections go on.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwapOption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::table::{Line, Verdict};

/// Largest PEM file: a whole system's list of CAs has about 250 KiB.
pub const PEM_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What may be spoken over an encrypted connection, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files of encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM of our certificate and those that sign it.
    pub certificate: PathBuf,
    /// PEM of its key.
    pub key: PathBuf,
    /// PEM of those who may sign a client's certificate; `None`: clients need none.
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// All of them, in the order of the contents that [`Tls::replace`] takes.
    pub fn paths(&self) -> Vec<PathBuf> {
        let Self { certificate, key, client_ca } = self.clone();
        [certificate, key].into_iter().chain(client_ca).collect()
    }
}

/// What is wrong with the contents of a file of encryption. Never quotes them.
#[derive(Debug, Error)]
#[error("{} {what}", path.display())]
pub struct TlsError {
    path: PathBuf,
    what: String,
}

/// What connections are encrypted with now; nothing as long as there were no contents.
#[derive(Default)]
pub struct Tls {
    config: ArcSwapOption<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Has new connections use the contents of `files`, in the order of [`TlsFiles::paths`].
    ///
    /// # Errors
    /// When they are no PEM, or the key is another than the certificate's; then what was there
    /// stays.
    pub fn replace(&self, files: &TlsFiles, contents: &[Vec<u8>]) -> Result<(), TlsError> {
        self.config.store(Some(Arc::new(config(files, contents)?)));
        Ok(())
    }

    /// Encrypts a connection; `None`: the client does not, not in time, or may not.
    pub(super) async fn accept(&self, stream: TcpStream, line: &Line) -> Option<Stream> {
        let handshake = TlsAcceptor::from(self.config.load_full()?).accept(stream);
        // Boxed: it is gone soon, and a connection holds the room of its largest future.
        let mut handshake = Box::pin(handshake);
        let encrypted = poll_fn(|cx| {
            // The time is that of a head, which has not begun: the table ends the connection.
            if matches!(line.verdict(cx.waker()), Verdict::Finish | Verdict::Cut) {
                return Poll::Ready(None);
            }
            handshake.as_mut().poll(cx).map(Result::ok)
        });
        encrypted.await.map(|stream| Stream::Encrypted(Box::new(stream)))
    }
}

fn config(files: &TlsFiles, contents: &[Vec<u8>]) -> Result<ServerConfig, TlsError> {
    let TlsFiles { certificate, key, client_ca } = files;
    let wrong = |path: &Path, what: String| TlsError { path: path.to_owned(), what };
    let content = |at: usize| contents.get(at).map(Vec::as_slice).unwrap_or_default();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(certificate, format!("can't be used: {error}")))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(certificates(path, content(2))?);
            if added == 0 {
                return Err(wrong(path, "holds no certificate of a CA".into()));
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| wrong(path, format!("can't be used: {error}")))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates(certificate, content(0))?;
    let private = PrivateKeyDer::from_pem_slice(content(1))
        .map_err(|_| wrong(key, "holds no PEM key".into()))?;
    let mut config = builder.with_single_cert(chain, private).map_err(|error| {
        wrong(certificate, format!("does not go with {}: {error}", key.display()))
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    all.ok()
        .filter(|all| !all.is_empty())
        .ok_or_else(|| TlsError { path: path.to_owned(), what: "holds no PEM certificate".into() })
}

/// A connection's bytes.
#[derive(Debug)]
pub(super) enum Stream {
    Clear(TcpStream),
    /// Boxed: it is a hundred times the size of the other.
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
