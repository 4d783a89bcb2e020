//! Asks the server, one request at a time over connections that are kept. Adds the key, and says
//! why there is no answer. Retries nothing: that is `retry`'s.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request};
use rustls::crypto::aws_lc_rs;
use thiserror::Error;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Error};

use crate::Environment;
use crate::command::Global;
use crate::failure::Usage;
use crate::problem::Problem;
use crate::target::Target;

/// Variable that holds the key. It is no flag: flags are seen by every user of a machine.
pub(crate) const KEY_VARIABLE: &str = "PULSEMESH_API_KEY";
/// Largest file that is read for a key or certificates: far above what they need.
const SECRET_BYTES_MAX: u64 = 4 << 20;
/// Largest answer: a page of rows is 4 MiB, and a row's payload may be escaped.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// One server, and how it is asked.
pub(crate) struct Client {
    agent: Agent,
    url: String,
    key: Option<HeaderValue>,
    timeout: Duration,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    method: Method,
    target: Target,
    body: Option<(&'static str, &'a [u8])>,
    idempotency_key: Option<&'a str>,
    keyless: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, target: Target) -> Self {
        Self { method, target, body: None, idempotency_key: None, keyless: false }
    }

    pub(crate) fn get(target: Target) -> Self {
        Self::new(Method::GET, target)
    }

    pub(crate) fn post(target: Target) -> Self {
        Self::new(Method::POST, target)
    }

    pub(crate) fn json(self, body: &'a [u8]) -> Self {
        Self { body: Some(("application/json", body)), ..self }
    }

    pub(crate) fn lines(self, body: &'a [u8]) -> Self {
        Self { body: Some(("application/x-ndjson", body)), ..self }
    }

    pub(crate) fn idempotency_key(self, key: &'a str) -> Self {
        Self { idempotency_key: Some(key), ..self }
    }

    /// Without the key, to see what a stranger is told.
    pub(crate) fn keyless(self) -> Self {
        Self { keyless: true, ..self }
    }
}

/// Why a call did not succeed. The place is method and address.
#[derive(Debug, Error)]
pub(crate) enum CallError {
    #[error("find the address of the host")]
    Resolve { place: String },
    #[error("connect")]
    Connect { place: String, source: io::Error },
    #[error("agree on encryption")]
    Tls { place: String, reason: String },
    #[error("wait for an answer")]
    Timeout { place: String, time: Duration },
    #[error("keep the connection")]
    Broken { place: String, source: io::Error },
    #[error("understand the answer")]
    NotHttp { place: String, reason: String },
    #[error("get what was asked for")]
    Refused { place: String, status: u16, retry_after: Option<Duration>, problem: Box<Problem> },
}

impl Client {
    /// A client for the server that the flags name.
    ///
    /// # Errors
    /// When a file can't be used, or the address is none.
    pub(crate) fn new(global: &Global, environment: &Environment) -> anyhow::Result<Self> {
        let url = global.url.trim_end_matches('/').to_owned();
        let known = url.starts_with("http://") || url.starts_with("https://");
        if !known || url.parse::<http::Uri>().is_err() {
            return Err(Usage(format!("--url: `{url}` is none; write http://host:8080")).into());
        }
        let key = match &global.api_key_file {
            Some(path) => Some(key_of(path)?),
            None => environment.get(KEY_VARIABLE).filter(|key| !key.trim().is_empty()).cloned(),
        };
        let key = key.map(|key| header(&key)).transpose()?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(global.timeout))
            .user_agent(concat!("pulsemesh/", env!("CARGO_PKG_VERSION")));
        if url.starts_with("https://") {
            config = config.tls_config(tls(global)?);
        }
        Ok(Self { agent: config.build().new_agent(), url, key, timeout: global.timeout })
    }

    /// Where it asks.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether it has a key.
    pub(crate) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Whether somebody else connects for it.
    pub(crate) fn has_proxy(&self) -> bool {
        self.agent.config().proxy().is_some()
    }

    /// Longest time for one answer.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a request; any status is an answer.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn call(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        let place = self.place(call);
        self.exchange(call).map_err(|error| self.explain(place, error))
    }

    /// Sends a request that must succeed.
    ///
    /// # Errors
    /// When there is no answer, or it is a refusal.
    pub(crate) fn ask(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        let answer = self.call(call)?;
        if (200..300).contains(&answer.status) {
            Ok(answer)
        } else {
            Err(self.refused(call, &answer))
        }
    }

    /// As [`Client::ask`], for JSON.
    ///
    /// # Errors
    /// As well when the answer is none.
    pub(crate) fn ask_json(&self, call: &Call<'_>) -> Result<serde_json::Value, CallError> {
        let answer = self.ask(call)?;
        answer.json().ok_or_else(|| {
            let reason = "it is not JSON".to_owned();
            CallError::NotHttp { place: self.place(call), reason }
        })
    }

    /// What a refusal means.
    pub(crate) fn refused(&self, call: &Call<'_>, answer: &Answer) -> CallError {
        CallError::Refused {
            place: self.place(call),
            status: answer.status,
            retry_after: answer.retry_after(),
            problem: Box::new(Problem::of(answer)),
        }
    }

    fn place(&self, call: &Call<'_>) -> String {
        format!("{} {}{}", call.method, self.url, call.target.as_str())
    }

    fn exchange(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let mut request = Request::builder().method(call.method.clone()).uri(format!(
            "{}{}",
            self.url,
            call.target.as_str()
        ));
        if let Some(key) = self.key.clone().filter(|_| !call.keyless) {
            request = request.header("x-api-key", key);
        }
        if let Some(key) = call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let response = match call.body {
            Some((kind, body)) => self.agent.run(request.header(CONTENT_TYPE, kind).body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        let (head, mut body) = response.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    fn explain(&self, place: String, error: Error) -> CallError {
        match error {
            Error::HostNotFound => CallError::Resolve { place },
            Error::Timeout(_) => CallError::Timeout { place, time: self.timeout },
            Error::Rustls(error) => CallError::Tls { place, reason: error.to_string() },
            Error::Tls(reason) => CallError::Tls { place, reason: reason.to_owned() },
            Error::Io(error) => self.explain_io(place, error),
            error => CallError::NotHttp { place, reason: error.to_string() },
        }
    }

    fn explain_io(&self, place: String, source: io::Error) -> CallError {
        use io::ErrorKind::{
            AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut,
        };
        let tls = source.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(error) = tls {
            return CallError::Tls { place, reason: error.to_string() };
        }
        // The standard library gives it no kind of its own.
        if source.to_string().starts_with("failed to lookup address") {
            return CallError::Resolve { place };
        }
        match source.kind() {
            TimedOut => CallError::Timeout { place, time: self.timeout },
            ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable => {
                CallError::Connect { place, source }
            }
            _ => CallError::Broken { place, source },
        }
    }
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// How long the server asks to stay away.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get("retry-after")?.to_str().ok()?;
        text.trim().parse().ok().map(Duration::from_secs)
    }
}

impl CallError {
    /// What is wrong.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Resolve { .. } => "the host has no address".to_owned(),
            Self::Connect { source, .. } => format!("the server takes no connection: {source}"),
            Self::Tls { reason, .. } => format!("the connection can't be encrypted: {reason}"),
            Self::Timeout { time, .. } => format!("there is no answer within {time:?}"),
            Self::Broken { source, .. } => format!("the connection broke: {source}"),
            Self::NotHttp { reason, .. } => format!("the answer is none of PulseMesh: {reason}"),
            Self::Refused { status, problem, .. } => problem.what(*status),
        }
    }

    /// Method and address.
    pub(crate) fn place(&self) -> &str {
        match self {
            Self::Resolve { place }
            | Self::Connect { place, .. }
            | Self::Tls { place, .. }
            | Self::Timeout { place, .. }
            | Self::Broken { place, .. }
            | Self::NotHttp { place, .. }
            | Self::Refused { place, .. } => place,
        }
    }

    /// What to do.
    pub(crate) fn advice(&self) -> String {
        let advice = match self {
            Self::Refused { status, problem, .. } => return problem.advice(*status),
            Self::Resolve { .. } => {
                "Check the host in --url; within a cluster it is service.namespace."
            }
            Self::Connect { .. } => {
                "Start the server, or give where it listens as --url (PULSEMESH_URL). One that is \
                 asked from elsewhere must not listen on 127.0.0.1."
            }
            Self::Tls { reason, .. } if reason.contains("UnknownIssuer") => {
                "Nobody who is believed has signed the server's certificate: give the authority \
                 that did as --ca-file."
            }
            Self::Tls { .. } => {
                "See whether the server is encrypted at all (http:// or https://), whether the \
                 host in --url is in its certificate, and whether it wants a client certificate."
            }
            Self::Timeout { .. } => {
                "See whether a firewall or network policy drops the packets, or the server is \
                 overloaded; --timeout waits longer."
            }
            Self::Broken { .. } => {
                "See the log of the server: it may have stopped, or it is encrypted (https://)."
            }
            Self::NotHttp { .. } => {
                "Something other than pulsemesh-ingest may listen there: check host and port \
                 (pulses go to 8080), and http:// or https://."
            }
        };
        advice.to_owned()
    }
}

/// Reads a file whole.
///
/// # Errors
/// When it can't be read, or is larger than any file of its kind.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let read = || {
        let length = std::fs::metadata(path)?.len();
        ensure!(length <= SECRET_BYTES_MAX, "it has {length} bytes, more than any such file");
        Ok(std::fs::read(path)?)
    };
    read().with_context(|| format!("read {}", path.display()))
}

fn key_of(path: &Path) -> anyhow::Result<String> {
    let text = String::from_utf8(read(path)?).ok().map(|text| text.trim().to_owned());
    let key = text.filter(|text| !text.is_empty());
    key.with_context(|| format!("{} holds no key: write it there, alone", path.display()))
}

/// The header is marked, so that nothing prints it.
fn header(key: &str) -> anyhow::Result<HeaderValue> {
    let key = key.trim();
    ensure!(
        key.bytes().all(|byte| byte.is_ascii_graphic()),
        "the API key has characters that no key has: is it whole, and alone in its place?"
    );
    let mut value = HeaderValue::from_str(key)?;
    value.set_sensitive(true);
    Ok(value)
}

fn tls(global: &Global) -> anyhow::Result<TlsConfig> {
    let roots = match &global.ca_file {
        Some(path) => certificates(path)?,
        None => system_roots(),
    };
    let client = match (&global.client_cert_file, &global.client_key_file) {
        (Some(certificate), Some(key)) => {
            let text = read(key)?;
            let private = PrivateKey::from_pem(&text)
                .with_context(|| format!("read a private key from {}", key.display()))?;
            Some(ClientCert::new_with_certs(&certificates(certificate)?, private))
        }
        _ => None,
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .client_cert(client)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build())
}

fn certificates(path: &Path) -> anyhow::Result<Vec<Certificate<'static>>> {
    let text = read(path)?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        let item = item.with_context(|| format!("read PEM from {}", path.display()))?;
        if let PemItem::Certificate(certificate) = item {
            found.push(certificate);
        }
    }
    ensure!(!found.is_empty(), "{} holds no certificate in PEM", path.display());
    Ok(found)
}

/// Those that can't be read are left out, as browsers do: one may still be the right one.
fn system_roots() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}
