//! Whether what is wanted is in the cluster already. Only wanted fields are looked at: defaults
//! of the API server, and fields of others, are no difference. What is no longer wanted is not
//! seen here: the hash of what was applied shows it. Pure.

use serde_json::{Map, Value};

use super::quantity::nanos;

/// Lists that others may add entries to, as the API server merges them by a key of their entries.
/// All other lists are replaced as a whole, so one entry more is a difference.
const SHARED_LISTS: [&str; 13] = [
    "containers",
    "env",
    "ephemeralContainers",
    "hostAliases",
    "imagePullSecrets",
    "initContainers",
    "ownerReferences",
    "ports",
    "secrets",
    "topologySpreadConstraints",
    "volumeDevices",
    "volumeMounts",
    "volumes",
];
/// Fields of maps whose values are amounts, and single fields that are.
const AMOUNTS_BELOW: [&str; 3] = ["capacity", "limits", "requests"];
const AMOUNTS: [&str; 3] = ["averageValue", "divisor", "sizeLimit"];
/// Maps that the API server leaves out when they are empty.
const LEFT_OUT_EMPTY: [&str; 9] = [
    "annotations",
    "binaryData",
    "capacity",
    "data",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "requests",
];

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The field that holds it, and the field that holds that one.
    field: &'a str,
    above: &'a str,
    /// Whether lists of this object may be shared with others.
    may_share: bool,
}

/// The path of the first wanted field that is missing or different in the live object; `None`
/// where there is none.
pub fn differs(wanted: &Value, live: &Value) -> Option<String> {
    // Rules of a NetworkPolicy have lists of the same names, which are nobody's but ours.
    let may_share = wanted.get("kind").and_then(Value::as_str) != Some("NetworkPolicy");
    let place = Place { field: "", above: "", may_share };
    let mut path = Vec::new();
    in_value(wanted, Some(live), place, &mut path).then(|| path.concat())
}

/// Whether they differ; if so, `path` leads to where.
fn in_value(
    wanted: &Value,
    live: Option<&Value>,
    place: Place<'_>,
    path: &mut Vec<String>,
) -> bool {
    let Some(live) = live.filter(|live| !live.is_null()) else {
        return !may_be_missing(wanted, place);
    };
    match (wanted, live) {
        (Value::Null, _) => false,
        (Value::Object(wanted), Value::Object(live)) => in_object(wanted, live, place, path),
        (Value::Array(wanted), Value::Array(live)) => in_list(wanted, live, place, path),
        (wanted, live) => !same_scalar(wanted, live, place),
    }
}

/// What the API server leaves out of its answers: zeros and empty lists, and some empty maps.
fn may_be_missing(wanted: &Value, place: Place<'_>) -> bool {
    match wanted {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty() && LEFT_OUT_EMPTY.contains(&place.field),
    }
}

fn in_object(
    wanted: &Map<String, Value>,
    live: &Map<String, Value>,
    place: Place<'_>,
    path: &mut Vec<String>,
) -> bool {
    wanted.iter().any(|(field, value)| {
        path.push(format!(".{field}"));
        let place = Place { field, above: place.field, ..place };
        let differs = in_value(value, live.get(field), place, path);
        if !differs {
            path.pop();
        }
        differs
    })
}

fn in_list(wanted: &[Value], live: &[Value], place: Place<'_>, path: &mut Vec<String>) -> bool {
    if place.may_share && SHARED_LISTS.contains(&place.field) {
        return in_shared_list(wanted, live, place, path);
    }
    if wanted.len() != live.len() {
        return true;
    }
    wanted.iter().zip(live).enumerate().any(|(index, (wanted, live))| {
        path.push(format!("[{index}]"));
        let differs = in_value(wanted, Some(live), place, path);
        if !differs {
            path.pop();
        }
        differs
    })
}

/// Whether an entry has no match in `live`, in the same order: others may stand between.
fn in_shared_list(
    wanted: &[Value],
    live: &[Value],
    place: Place<'_>,
    path: &mut Vec<String>,
) -> bool {
    let mut left = live.iter();
    for (index, wanted) in wanted.iter().enumerate() {
        if !left.any(|live| !in_value(wanted, Some(live), place, &mut Vec::new())) {
            path.push(format!("[{index}]"));
            return true;
        }
    }
    false
}

fn same_scalar(wanted: &Value, live: &Value, place: Place<'_>) -> bool {
    if wanted == live {
        return true;
    }
    let is_amount = AMOUNTS_BELOW.contains(&place.above) || AMOUNTS.contains(&place.field);
    let amount = |value: &Value| match value {
        Value::String(text) => nanos(text),
        Value::Number(number) => nanos(&number.to_string()),
        _ => None,
    };
    match (wanted, live) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ if is_amount => amount(wanted).is_some_and(|wanted| amount(live) == Some(wanted)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
