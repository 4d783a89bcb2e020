//! Clients of the API server: one for requests, all of which end within seconds and are counted,
//! and one for watches, which may be silent for minutes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, Uri};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{Layer, Service};

use crate::metrics::{Metrics, RequestLabels};

/// For a request: the API server itself gives up on most after a minute, and etcd after seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// For a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The clients of a process.
#[derive(Clone)]
pub struct Clients {
    /// For requests.
    pub requests: Client,
    /// For watches.
    pub watches: Client,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clients")
    }
}

impl Clients {
    /// As `config` says, counted in `metrics`.
    ///
    /// # Errors
    /// When the configuration can't be followed.
    pub fn new(config: &Config, metrics: &Metrics) -> kube::Result<Self> {
        let mut requests = config.clone();
        requests.read_timeout = Some(REQUEST_TIMEOUT);
        requests.write_timeout = Some(REQUEST_TIMEOUT);
        requests.connect_timeout = Some(CONNECT_TIMEOUT);
        let mut watches = requests.clone();
        watches.read_timeout = None;
        Ok(Self { requests: counted(requests, metrics)?, watches: counted(watches, metrics)? })
    }
}

/// A client whose requests are counted.
fn counted(config: Config, metrics: &Metrics) -> kube::Result<Client> {
    let metrics = metrics.clone();
    heard(config, move |method, uri, _| count(&metrics, method, uri))
}

/// Counts a request.
pub(crate) fn count(metrics: &Metrics, method: &Method, uri: &Uri) {
    metrics.api_requests.get_or_create(&labels(method, uri)).inc();
}

/// A client that tells `heard` of each answer.
///
/// # Errors
/// When the configuration can't be followed.
pub(crate) fn heard<F>(config: Config, heard: F) -> kube::Result<Client>
where
    F: Fn(&Method, &Uri, StatusCode) + Clone + Send + 'static,
{
    Ok(ClientBuilder::try_from(config)?.with_layer(&Heard(heard)).build())
}

/// Tells of each answer.
#[derive(Debug, Clone)]
struct Heard<F>(F);

impl<S, F: Clone> Layer<S> for Heard<F> {
    type Service = HeardService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        HeardService { inner, heard: self.0.clone() }
    }
}

#[derive(Debug, Clone)]
struct HeardService<S, F> {
    inner: S,
    heard: F,
}

impl<S, F, B> Service<Request<Body>> for HeardService<S, F>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    F: Fn(&Method, &Uri, StatusCode) + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let (heard, answer) = (self.heard.clone(), self.inner.call(request));
        Box::pin(async move {
            let answer = answer.await?;
            heard(&method, &uri, answer.status());
            Ok(answer)
        })
    }
}

/// The cause that the API server names when it makes nothing any more in a namespace.
const NAMESPACE_ENDS: &str = "NamespaceTerminating";

/// Whether something was refused because its namespace is being deleted: all that would be made
/// there will be.
pub(crate) fn namespace_ends(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.as_ref().map(|details| details.causes.as_slice());
    status.code == StatusCode::FORBIDDEN.as_u16()
        && causes.unwrap_or_default().iter().any(|cause| cause.reason == NAMESPACE_ENDS)
}

/// Resources that are asked for; all else is `other`, so that the metric is bounded.
const RESOURCES: [&str; 20] = [
    "configmaps",
    "deployments",
    "events",
    "horizontalpodautoscalers",
    "jobs",
    "leases",
    "networkpolicies",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
    "pods",
    "pods/exec",
    "pods/status",
    "prometheusrules",
    "pulsemeshes",
    "pulsemeshes/status",
    "secrets",
    "serviceaccounts",
    "servicemonitors",
    "services",
    "statefulsets",
];

/// Which request this is, as RBAC would say it.
fn labels(method: &Method, uri: &Uri) -> RequestLabels {
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let version = if parts.first() == Some(&"api") { 2 } else { 3 };
    let rest = parts.get(version..).unwrap_or_default();
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let (resource, named) = match rest {
        [resource, _, sub] => (format!("{resource}/{sub}"), true),
        [resource, _] => ((*resource).to_owned(), true),
        [resource] => ((*resource).to_owned(), false),
        _ => (String::new(), true),
    };
    let known = RESOURCES.iter().find(|known| **known == resource);
    let watches = uri.query().is_some_and(|query| query.split('&').any(|one| one == "watch=true"));
    let verb = match *method {
        Method::GET if watches => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PATCH => "patch",
        Method::PUT => "update",
        Method::DELETE => "delete",
        _ => "other",
    };
    RequestLabels { resource: known.copied().unwrap_or("other"), verb }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_as_rbac_says_it() {
        for (method, uri, resource, verb) in [
            (Method::GET, "/api/v1/namespaces/a/pods?&labelSelector=x", "pods", "list"),
            (Method::GET, "/api/v1/pods?&watch=true&timeoutSeconds=290", "pods", "watch"),
            (Method::PATCH, "/apis/apps/v1/namespaces/a/statefulsets/b", "statefulsets", "patch"),
            (Method::DELETE, "/api/v1/namespaces/a/secrets/b", "secrets", "delete"),
            (
                Method::PATCH,
                "/apis/pulsemesh.io/v1alpha1/namespaces/a/pulsemeshes/b/status?force=true",
                "pulsemeshes/status",
                "patch",
            ),
            (Method::POST, "/apis/events.k8s.io/v1/namespaces/a/events", "events", "create"),
            (Method::GET, "/apis/monitoring.coreos.com/v1", "other", "get"),
            (Method::GET, "/api/v1/namespaces/a", "other", "get"),
        ] {
            let labels = labels(&method, &uri.parse().expect("a URI"));
            assert_eq!((labels.resource, labels.verb), (resource, verb), "{method} {uri}");
        }
    }
}
