//! Events on a mesh: what a person should know who asks why it is as it is. Never holds work up.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::debug;

use crate::mesh::names::MANAGER;
use crate::mesh::plan::Identity;

/// Longest text of an Event that the API server takes.
const NOTE_CHARACTERS_MAX: usize = 1024;

/// Writes Events; one for the process, because it joins repeated ones. Clones share it.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Whether a person may have to act.
    pub is_warning: bool,
    /// In CamelCase.
    pub reason: String,
    /// In words.
    pub note: String,
}

impl News {
    /// Something that is as it should be.
    pub fn normal(reason: &str, note: impl Into<String>) -> Self {
        Self { is_warning: false, reason: reason.to_owned(), note: note.into() }
    }

    /// Something that a person may have to act on.
    pub fn warning(reason: &str, note: impl Into<String>) -> Self {
        Self { is_warning: true, reason: reason.to_owned(), note: note.into() }
    }
}

impl Events {
    /// Through `client`, told by `instance`.
    pub fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(instance) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Tells news of a mesh. What can't be told is lost: an Event is a courtesy.
    pub async fn tell(&self, mesh: &Identity, news: News) {
        let type_ = if news.is_warning { EventType::Warning } else { EventType::Normal };
        let event = Event {
            type_,
            reason: news.reason,
            note: Some(news.note.chars().take(NOTE_CHARACTERS_MAX).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let reference = ObjectReference {
            api_version: Some("pulsemesh.io/v1alpha1".to_owned()),
            kind: Some("PulseMesh".to_owned()),
            name: Some(mesh.name.clone()),
            namespace: Some(mesh.namespace.clone()),
            uid: Some(mesh.uid.clone()),
            ..ObjectReference::default()
        };
        if let Err(error) = self.recorder.publish(&event, &reference).await {
            debug!(%error, mesh = mesh.name, namespace = mesh.namespace, "write an Event");
        }
    }
}
