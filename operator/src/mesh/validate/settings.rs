//! The settings file of the ingest: what the operator sets, what the user adds, and the rules
//! between settings, so that no pod starts only to refuse its file. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::known::{self, By};
use super::problems::Problems;
use pulsemesh_runtime::retention::RetentionClasses;
use pulsemesh_runtime::units;

/// Where a user adds settings.
const FIELD: &str = "spec.ingest.settings";

/// A settings file in the making.
#[derive(Debug, Default)]
pub(super) struct Settings {
    values: BTreeMap<String, toml::Value>,
}

impl Settings {
    /// Sets what the field at `path` says; a value that the ingest would refuse is a problem.
    pub(super) fn set(&mut self, name: &str, text: &str, path: &str, problems: &mut Problems) {
        let Some(known) = known::find(name) else {
            return problems.push(path, format!("`{name}` is no setting; this is a defect"));
        };
        match known.kind.value(text) {
            Ok(value) => drop(self.values.insert(name.to_owned(), value)),
            Err(right) => problems.push(path, format!("`{text}` can't be used: {right}")),
        }
    }

    /// Sets what no user can get wrong.
    pub(super) fn put(&mut self, name: &str, value: impl Into<toml::Value>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// Sets what suits a pod better than the ingest's own default, unless the user has set it.
    pub(super) fn suit(&mut self, name: &str, value: impl Into<toml::Value>) {
        self.values.entry(name.to_owned()).or_insert_with(|| value.into());
    }

    /// Adds what the user writes.
    pub(super) fn merge(
        &mut self,
        added: &BTreeMap<String, String>,
        uses_cql: bool,
        problems: &mut Problems,
    ) {
        for (name, text) in added {
            let path = format!("{FIELD}.{name}");
            match allowed(name, uses_cql) {
                Ok(()) => self.set(name, text, &path, problems),
                Err(message) => problems.push(path, message),
            }
        }
    }

    /// Bytes of a setting, 0 where it has none.
    pub(super) fn size(&self, name: &str) -> u64 {
        units::size(&self.text(name)).unwrap_or_default()
    }

    /// A number, 0 where it has none.
    pub(super) fn count(&self, name: &str) -> u64 {
        units::count(&self.text(name)).unwrap_or_default()
    }

    fn time(&self, name: &str) -> Duration {
        units::time(&self.text(name)).unwrap_or_default()
    }

    /// Whether it stands in the file.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// What is in effect, as text.
    pub(super) fn text(&self, name: &str) -> String {
        match self.values.get(name) {
            Some(toml::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => known::find(name).map_or_else(String::new, |known| known.default.to_owned()),
        }
    }

    /// Combinations that the ingest refuses.
    pub(super) fn check(&self, problems: &mut Problems) {
        for rule in [levels, segments, bodies, in_flight, largest_request, window] {
            if let Some((path, message)) = rule(self) {
                problems.push(path, message);
            }
        }
    }

    /// The whole file.
    pub(super) fn into_values(self) -> BTreeMap<String, toml::Value> {
        self.values
    }
}

/// Whether a user may set it.
fn allowed(name: &str, uses_cql: bool) -> Result<(), String> {
    let Some(known) = known::find(name) else {
        let hint = match known::nearest(&name.replace('_', "-")) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => "; docs/settings.md lists them all".to_owned(),
        };
        return Err(format!("pulsemesh-ingest has no setting `{name}`{hint}"));
    };
    match known.by {
        By::User => Ok(()),
        By::UserOfCql if uses_cql => Ok(()),
        By::UserOfCql => {
            Err(format!("`{name}` has no effect with the embedded store: leave it out"))
        }
        By::Field(field) => Err(format!("`{name}` is set by the operator: use {field} instead")),
        By::Operator(why) => Err(format!("`{name}` can't be set here: {why}")),
    }
}

type Broken = Option<(String, String)>;

fn at(name: &str) -> String {
    format!("{FIELD}.{name}")
}

fn levels(settings: &Settings) -> Broken {
    let rank = |level: String| ["memory", "durable", "stored"].iter().position(|it| *it == level);
    let (ack, most) = (settings.text("ack"), settings.text("ack-max"));
    (rank(ack.clone()) > rank(most.clone())).then(|| {
        (at("ack-max"), format!("`{most}` is below spec.ingest.ack, `{ack}`: raise one of them"))
    })
}

fn segments(settings: &Settings) -> Broken {
    let (segment, most) = (settings.size("log-segment-size"), settings.size("log-budget") / 4);
    (segment > most).then(|| {
        let most = units::size_text(most);
        (at("log-segment-size"), format!("is over a quarter of spec.ingest.log.budget, {most}"))
    })
}

fn bodies(settings: &Settings) -> Broken {
    let (body, whole) = (settings.size("body-bytes-max"), settings.size("decompressed-bytes-max"));
    (body > whole).then(|| {
        let body = units::size_text(body);
        (at("decompressed-bytes-max"), format!("is below body-bytes-max, {body}: raise it"))
    })
}

fn in_flight(settings: &Settings) -> Broken {
    let least =
        settings.size("body-bytes-max").saturating_add(settings.size("decompressed-bytes-max"));
    (settings.size("bytes-in-flight") < least).then(|| {
        let least = units::size_text(least);
        (at("bytes-in-flight"), format!("can't hold one largest request; write {least} or more"))
    })
}

fn largest_request(settings: &Settings) -> Broken {
    let least = settings.size("decompressed-bytes-max").saturating_mul(2);
    let budget = settings.size("log-budget");
    (budget < least).then(|| {
        let (budget, least) = (units::size_text(budget), units::size_text(least));
        let of_claim = match settings.text("store").as_str() {
            "embedded" => " (a quarter of store.embedded.storage at most)",
            _ => "",
        };
        let message = format!(
            "the log has {budget}{of_claim} and can't hold two largest requests; give it {least} \
             or more, or lower decompressed-bytes-max in {FIELD}"
        );
        ("spec.ingest.log.budget".to_owned(), message)
    })
}

fn window(settings: &Settings) -> Broken {
    let (window, retention) = (settings.time("idempotency-window"), settings.time("retention"));
    let wrong = |what: &str, retention| {
        let retention = units::time_text(retention);
        (at("idempotency-window"), format!("is longer than {what}, {retention}"))
    };
    if window > retention {
        return Some(wrong("the store's retention", retention));
    }
    let classes = RetentionClasses::parse(&settings.text("retention-classes")).ok()?;
    let class = classes.iter().find(|class| window > class.retention)?;
    Some(wrong(&format!("the retention class `{}`", class.name), class.retention))
}
