//! A small API server in memory, for faults that a real one can't be made to have: an error at
//! the n-th write, an answer that is lost, a watch that fails for ever. It knows server-side
//! apply, preconditions, finalizers, owners and watches, and no schema.

mod controllers;
mod objects;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

pub(crate) use objects::Key;
use objects::{Answer, Objects};

/// How long a watch without news is held before it ends and is begun anew.
const WATCH: Duration = Duration::from_millis(500);
/// Between two looks for news.
const LOOK: Duration = Duration::from_millis(5);

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Writes until one fails: 0 is the next.
    pub(crate) write_fails_after: Option<usize>,
    /// Whether that one is done all the same, and only its answer is lost.
    pub(crate) answer_is_lost: bool,
    /// The plural whose writes always fail.
    pub(crate) broken_write: Option<&'static str>,
    /// Whether nothing new is made any more, because the namespace is being deleted.
    pub(crate) namespace_ends: bool,
    /// The plural of a kind that the cluster does not know.
    pub(crate) unknown: Option<&'static str>,
    /// The plural whose watches always fail.
    pub(crate) broken_watch: Option<&'static str>,
}

/// The API server. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeApi {
    objects: Arc<Mutex<Objects>>,
    faults: Arc<Mutex<Faults>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeApi {
    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        self.client_heard(|_, _| ())
    }

    /// A client of it that tells `heard` of each answer: to which method, and whether it was done.
    pub(crate) fn client_heard(
        &self,
        heard: impl Fn(&Method, bool) + Clone + Send + 'static,
    ) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (api, heard, method) = (api.clone(), heard.clone(), request.method().clone());
            async move {
                let answer = api.answer(request).await;
                heard(&method, answer.status().is_success());
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        Client::new(service, "default")
    }

    /// Another with the same objects, where nothing goes wrong.
    pub(crate) fn fork(&self) -> Self {
        let objects = self.objects().clone();
        Self { objects: Arc::new(Mutex::new(objects)), ..Self::default() }
    }

    /// Sets what goes wrong from now on.
    pub(crate) fn fail(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }

    /// Whether the fault of a write has been met.
    pub(crate) fn has_failed(&self) -> bool {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).write_fails_after.is_none()
    }

    /// Puts an object there, as somebody else would.
    pub(crate) fn put(&self, plural: &str, object: Value) {
        self.objects().put(plural, object);
    }

    /// Changes all objects of a plural, as somebody else would.
    pub(crate) fn change(&self, plural: &str, change: impl Fn(&mut Value)) {
        let mut objects = self.objects();
        for mut object in objects.of(plural) {
            change(&mut object);
            objects.put(plural, object);
        }
    }

    /// Takes an object away.
    pub(crate) fn remove(&self, plural: &str, name: &str) {
        self.objects().remove(plural, name);
    }

    /// An object as it is.
    pub(crate) fn object(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.objects().find(plural, namespace, name).cloned()
    }

    /// Lets the controllers of the cluster work; whether there was anything to do.
    pub(crate) fn beat(&self) -> bool {
        let mut objects = self.objects();
        let before = objects.version();
        objects.beat();
        objects.version() != before
    }

    /// All objects without what the server sets itself, to compare.
    pub(crate) fn content(&self) -> Vec<(Key, Value)> {
        self.objects().content()
    }

    /// The requests since the last call: method, resource and name.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The writes since the last call of `take_requests` or this.
    pub(crate) fn take_writes(&self) -> Vec<String> {
        let mut requests = self.take_requests();
        requests.retain(|request| !request.starts_with("GET") && !request.contains(" events "));
        requests
    }

    fn objects(&self) -> std::sync::MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Some(target) = Target::of(parts.uri.path()) else {
            if let Some(resources) = self.resources(parts.uri.path()) {
                return respond(StatusCode::OK, &resources);
            }
            return respond(StatusCode::NOT_FOUND, &status(404, "NotFound", "no such path"));
        };
        let query: Vec<(String, String)> = pairs(parts.uri.query().unwrap_or_default());
        let body = body.collect_bytes().await.expect("a body in memory");
        let line = format!("{} {} {}", parts.method, target.resource(), target.name);
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        if parts.method == Method::GET {
            return self.read(&target, &query).await;
        }
        let kind = parts.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        let is_patch = |name| kind.is_some_and(|kind| kind.contains(name));
        let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let may_create = parts.method == Method::POST || is_patch("apply-patch");
        if may_create && self.namespace_ends(&target) {
            return namespace_ended();
        }
        let fault = self.take_fault(&target);
        if fault == Some(false) {
            return lost();
        }
        let answer = {
            let mut objects = self.objects();
            match parts.method {
                Method::POST => objects.create(&target, value),
                Method::PATCH if is_patch("apply-patch") => {
                    let manager = find(&query, "fieldManager").unwrap_or_default();
                    objects.apply(&target, manager, value)
                }
                Method::PATCH => objects.merge(&target, value, is_patch("strategic")),
                Method::DELETE => objects.delete(&target, &value),
                _ => Answer::new(405, status(405, "MethodNotAllowed", "no")),
            }
        };
        if fault == Some(true) {
            return lost();
        }
        respond(answer.code, &answer.body)
    }

    /// The resources of a group, if a definition of any was put there.
    fn resources(&self, path: &str) -> Option<Value> {
        let (group, version) = path.strip_prefix("/apis/")?.split_once('/')?;
        let definitions = self.objects().of("customresourcedefinitions");
        let names = definitions.iter().filter_map(|one| one["metadata"]["name"].as_str());
        let plurals = names.filter_map(|name| name.split_once('.')).filter(|one| one.1 == group);
        let resource = |(plural, _)| {
            let mut resource = json!({"singularName": "", "namespaced": true, "verbs": []});
            (resource["name"], resource["kind"]) = (Value::from(plural), "".into());
            resource
        };
        let resources: Vec<Value> = plurals.map(resource).collect();
        let version = format!("{group}/{version}");
        let list = json!({"kind": "APIResourceList", "groupVersion": version,
                          "resources": resources});
        (!resources.is_empty()).then_some(list)
    }

    /// Whether this is not there and won't be.
    fn namespace_ends(&self, target: &Target) -> bool {
        let ends = self.faults.lock().unwrap_or_else(PoisonError::into_inner).namespace_ends;
        ends && self.object(&target.plural, &target.namespace, &target.name).is_none()
    }

    /// Whether this write fails, and is done all the same.
    fn take_fault(&self, target: &Target) -> Option<bool> {
        if target.plural == "events" {
            return None;
        }
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.broken_write == Some(target.plural.as_str()) {
            return Some(false);
        }
        let left = faults.write_fails_after.as_mut()?;
        if *left > 0 {
            *left -= 1;
            return None;
        }
        faults.write_fails_after = None;
        Some(faults.answer_is_lost)
    }

    async fn read(&self, target: &Target, query: &[(String, String)]) -> Response<Body> {
        let unknown = self.faults.lock().unwrap_or_else(PoisonError::into_inner).unknown;
        if unknown == Some(target.plural.as_str()) {
            return respond(StatusCode::NOT_FOUND, &status(404, "NotFound", "no such kind"));
        }
        let selector = find(query, "labelSelector").unwrap_or_default();
        if find(query, "watch") == Some("true") {
            let broken = self.faults.lock().unwrap_or_else(PoisonError::into_inner).broken_watch;
            if broken == Some(target.plural.as_str()) {
                return respond(StatusCode::FORBIDDEN, &status(403, "Forbidden", "no watch"));
            }
            let since = find(query, "resourceVersion").and_then(|version| version.parse().ok());
            return self.watch(target, selector, since.unwrap_or(0)).await;
        }
        let answer = if target.name.is_empty() {
            self.objects().list(target, selector)
        } else {
            self.objects().get(target)
        };
        respond(answer.code, &answer.body)
    }

    async fn watch(&self, target: &Target, selector: &str, since: u64) -> Response<Body> {
        let end = Instant::now() + WATCH;
        loop {
            let lines = self.objects().since(target, selector, since);
            if !lines.is_empty() || Instant::now() >= end {
                let body = Body::from(lines.concat().into_bytes());
                return Response::builder().body(body).expect("a response");
            }
            sleep(LOOK).await;
        }
    }
}

/// What a path leads to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) plural: String,
    /// `""`: all.
    pub(crate) namespace: String,
    /// `""`: all.
    pub(crate) name: String,
    pub(crate) sub: String,
}

impl Target {
    fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let version = if parts.first() == Some(&"api") { 2 } else { 3 };
        let rest = parts.get(version..).filter(|rest| !rest.is_empty())?;
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] => (*namespace, rest),
            rest => ("", rest),
        };
        let part = |index: usize| rest.get(index).map_or_else(String::new, |&part| part.to_owned());
        let namespace = namespace.to_owned();
        Some(Self { plural: part(0), namespace, name: part(1), sub: part(2) })
    }

    fn resource(&self) -> String {
        if self.sub.is_empty() {
            self.plural.clone()
        } else {
            format!("{}/{}", self.plural, self.sub)
        }
    }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| text.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), decode(value))).collect()
}

fn find<'a>(query: &'a [(String, String)], key: &str) -> Option<&'a str> {
    query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// An answer that says what went wrong.
fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}

fn lost() -> Response<Body> {
    let body = status(500, "InternalError", "injected");
    respond(StatusCode::INTERNAL_SERVER_ERROR, &body)
}

/// As the API server says it: only the cause tells it from what rights refuse.
fn namespace_ended() -> Response<Body> {
    let mut body = status(403, "Forbidden", "unable to create new content");
    let cause = json!({"reason": "NamespaceTerminating", "field": "metadata.namespace"});
    body["details"] = json!({"causes": [cause]});
    respond(StatusCode::FORBIDDEN, &body)
}

fn respond(code: StatusCode, body: &Value) -> Response<Body> {
    let body = Body::from(body.to_string().into_bytes());
    Response::builder().status(code).body(body).expect("a response")
}
