//! Asks the server, one request at a time over connections that are kept. Adds the key, and says
//! why there is no answer. Retries nothing: that is `retry`'s.

mod credentials;
mod error;

pub(crate) use error::CallError;

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request};
use ureq::{Agent, Error};

use crate::Environment;
use crate::command::Global;
use crate::failure::Usage;
use crate::problem::Problem;
use crate::target::Target;

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
        let key = credentials::key(global, environment)?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(global.timeout))
            .user_agent(concat!("pulsemesh/", env!("CARGO_PKG_VERSION")));
        if url.starts_with("https://") {
            config = config.tls_config(credentials::tls(global)?);
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
        self.exchange(call).map_err(|error| CallError::of(error, place, self.timeout))
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
        self.ask(call)?.json().ok_or_else(|| self.not_json(call))
    }

    /// What it means that an answer is no JSON, or other than it should be.
    pub(crate) fn not_json(&self, call: &Call<'_>) -> CallError {
        let reason = "it is not the JSON that was asked for".to_owned();
        CallError::NotHttp { place: self.place(call), reason }
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
