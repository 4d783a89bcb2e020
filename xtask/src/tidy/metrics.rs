//! The rule of metrics: what the code registers and what docs/metrics.md lists are the same,
//! by name, type and labels.

use std::collections::BTreeMap;

use super::Finding;
use super::source::File;

const DOCUMENT: &str = "docs/metrics.md";
/// What follows is read from the system: a test of a running server compares it.
const PROCESS: &str = "\n## The process\n";

/// A metric as it is exported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Metric {
    name: String,
    kind: &'static str,
    labels: String,
}

/// Every metric is documented, and nothing else is.
pub(super) fn documented(files: &[File]) -> Vec<Finding> {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else {
        return vec![Finding::new(DOCUMENT, 1, "the list of metrics is missing")];
    };
    let (of_ours, _) = document.text.split_once(PROCESS).unwrap_or((&document.text, ""));
    let listed = listed(of_ours);
    let mut findings = Vec::new();
    let mut registered = Vec::new();
    // Those of the tools here are about metrics.
    let ours = |path: &str| path.ends_with("/metrics.rs") && !path.starts_with("xtask/");
    for file in files.iter().filter(|file| ours(&file.path)) {
        for (line, metric) in in_source(&file.text) {
            match metric {
                Ok(metric) if listed.iter().any(|(_, entry)| *entry == metric) => {
                    registered.push(metric);
                }
                Ok(metric) => {
                    let message = format!("{metric:?} is not in {DOCUMENT} like this");
                    findings.push(Finding::new(&file.path, line, message));
                }
                Err(reason) => findings.push(Finding::new(&file.path, line, reason)),
            }
        }
    }
    for (line, metric) in listed.iter().filter(|(_, metric)| !registered.contains(metric)) {
        let message = format!("{} is not registered like this", metric.name);
        findings.push(Finding::new(DOCUMENT, *line, message));
    }
    findings
}

/// The rows of the document's tables: name, type, labels in any order.
fn listed(text: &str) -> Vec<(usize, Metric)> {
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, ..] = cells.as_slice() else { continue };
        let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else {
            continue;
        };
        let Some(kind) = KINDS.iter().find(|known| *known == kind) else { continue };
        let labels = sorted(labels.split(',').map(|label| label.trim().trim_matches('`')));
        rows.push((index + 1, Metric { name: name.to_owned(), kind, labels }));
    }
    rows
}

const KINDS: [&str; 4] = ["counter", "gauge", "histogram", "info"];

fn sorted<'a>(labels: impl Iterator<Item = &'a str>) -> String {
    let mut labels: Vec<&str> = labels.filter(|label| !label.is_empty()).collect();
    labels.sort_unstable();
    labels.join(",")
}

type Registered = (usize, Result<Metric, String>);

/// The registrations in a source file: `register("name", …, self_or_metrics.field.clone())`.
fn in_source(text: &str) -> Vec<Registered> {
    let fields = fields(text);
    let prefix = after(text, "sub_registry_with_prefix(\"").map_or_else(String::new, |rest| {
        let (prefix, _) = rest.split_once('"').unwrap_or_default();
        format!("{prefix}_")
    });
    let mut found = Vec::new();
    let mut owner = "";
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if let Some(rest) = line.strip_prefix("impl ") {
            owner = rest.split([' ', '<']).next().unwrap_or_default();
        }
        for call in ["registry.register(", "registry.register_with_unit("] {
            if let Some(offset) = line.find(call) {
                let number = text[..at].matches('\n').count() + 1;
                let arguments = &text[at + offset + call.len()..];
                let metric = registration(arguments, owner, &fields, &prefix);
                found.push((number, metric));
            }
        }
        at += line.len();
    }
    found
}

/// The fields of every struct: (struct, field) → type.
type Fields<'a> = BTreeMap<(&'a str, &'a str), &'a str>;

fn fields(text: &str) -> Fields<'_> {
    let mut fields = BTreeMap::new();
    let mut owner = "";
    for line in text.lines() {
        let line = line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        if let Some(rest) = line.strip_prefix("struct ") {
            owner = rest.split([' ', '<', '{', '(', ';']).next().unwrap_or_default();
        } else if let Some((field, kind)) = line.split_once(": ")
            && let Some(kind) = kind.strip_suffix(',')
        {
            fields.entry((owner, field)).or_insert(kind);
        }
    }
    fields
}

fn registration(
    arguments: &str,
    owner: &str,
    fields: &Fields<'_>,
    prefix: &str,
) -> Result<Metric, String> {
    let end = arguments.find(");").ok_or("the registration does not end")?;
    let arguments = &arguments[..end];
    let (_, rest) = arguments.split_once('"').ok_or("the metric's name is not a literal")?;
    let (name, _) = rest.split_once('"').ok_or("the metric's name does not end")?;
    let metric = arguments.trim_end().trim_end_matches(',').trim_end();
    let field = metric.rsplit([' ', '\n']).next().unwrap_or_default();
    let field = field.trim_end_matches(".clone()").rsplit('.').next().unwrap_or_default();
    let kind = fields
        .get(&(owner, field))
        .ok_or_else(|| format!("{name}: field {owner}.{field} has no visible type"))?;
    let unit = after(arguments, "Unit::").map_or_else(String::new, |rest| {
        let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
        format!("_{}", word.to_ascii_lowercase())
    });
    let word = kind_of(kind);
    let suffix = if word == "counter" { "_total" } else { "" };
    let name = format!("{prefix}{name}{unit}{suffix}");
    Ok(Metric { name, kind: word, labels: labels_of(kind, fields) })
}

fn kind_of(kind: &str) -> &'static str {
    // A family's second parameter is the metric; `Histogram` comes with its constructor.
    if kind.contains("Counter") {
        "counter"
    } else if kind.contains("Histogram") {
        "histogram"
    } else if kind.contains("Info") {
        "info"
    } else {
        "gauge"
    }
}

fn labels_of(kind: &str, fields: &Fields<'_>) -> String {
    let label_set = after(kind, "Family<").and_then(|rest| rest.split(',').next());
    let labels =
        fields.keys().filter(|(owner, _)| Some(*owner) == label_set).map(|(_, field)| *field);
    sorted(labels)
}

fn after<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    text.split_once(marker).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
pub struct SinkLabels {
    /// The sink.
    pub sink: String,
    pub outcome: &'static str,
}
pub struct Metrics {
    pub writes: Family<SinkLabels, Counter>,
    pub time: Family<SinkLabels, Histogram, Buckets>,
    pub open: Level,
}
impl Metrics {
    fn register(registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("pm");
        registry.register("writes", "Writes", metrics.writes.clone());
        registry.register_with_unit(
            "write",
            "Time (of one)",
            Unit::Seconds,
            metrics.time.clone(),
        );
        registry.register("open", "Open", self.open.clone());
    }
}
"#;
    const DOCUMENT_TEXT: &str = "| name | type | labels | meaning |\n| --- | --- | --- | --- |\n\
        | `pm_writes_total` | counter | `sink`, `outcome` | Writes |\n\
        | `pm_write_seconds` | histogram | `outcome`, `sink` | Time |\n\
        | `pm_open` | gauge | | Open |\n";

    fn check(source: &str, document: &str) -> Vec<Finding> {
        documented(&[File::new("a/src/metrics.rs", source), File::new(DOCUMENT, document)])
    }

    #[test]
    fn names_get_their_prefix_unit_and_suffix() {
        assert_eq!(check(SOURCE, DOCUMENT_TEXT), []);
        assert_eq!(in_source(SOURCE).len(), 3);
    }

    #[test]
    fn each_way_to_differ_is_found() {
        for (from, to) in [
            ("pm_writes_total", "pm_writes"),
            ("| gauge |", "| counter |"),
            ("`sink`, `outcome`", "`sink`"),
        ] {
            let document = DOCUMENT_TEXT.replace(from, to);
            assert_eq!(check(SOURCE, &document).len(), 2, "{from}");
        }
        let more = format!("{DOCUMENT_TEXT}| `pm_gone` | gauge | | Gone |\n");
        assert_eq!(check(SOURCE, &more).len(), 1);
        let unknown = SOURCE.replace("self.open", "self.shut");
        assert_eq!(check(&unknown, DOCUMENT_TEXT).len(), 2);
        assert_eq!(documented(&[File::new("a/src/metrics.rs", SOURCE)]).len(), 1);
    }
}
