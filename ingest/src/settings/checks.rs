//! Rules between settings. Each names both sides and what would be right. Pure.

use crate::pulse::BATCH_EVENTS_MAX;

use super::checks_cassandra::half_a_pair;
use super::error::Problem;
use super::table::{AccessValues, Values};
use super::{Listen, Settings, ShareChoice, Storage, StoreChoice, checks_cassandra, checks_redis};
use pulsemesh_runtime::units::{size_text, time_text};

/// Combinations under which the process would refuse what it says that it accepts.
pub(super) fn problems(settings: &Settings, values: &Values) -> Vec<Problem> {
    let rules = [listeners, levels, segments, bodies, in_flight, largest_request, window, sharing];
    let mut problems: Vec<_> = rules.iter().filter_map(|rule| rule(settings, values)).collect();
    problems.extend(encryption(&values.access));
    problems.extend(checks_redis::problems(settings, values));
    problems.extend(checks_cassandra::problems(settings, values));
    problems
}

/// Who names one of these files believes that something is encrypted or proven.
fn encryption(values: &AccessValues) -> Vec<Problem> {
    let AccessValues { tls_cert, tls_key, tls_client_ca, tenants: _ } = values;
    let halves = [(tls_cert, tls_key), (tls_key, tls_cert), (tls_client_ca, tls_cert)];
    halves.into_iter().filter_map(|(given, missing)| half_a_pair(given, missing)).collect()
}

fn listeners(settings: &Settings, values: &Values) -> Option<Problem> {
    let Listen { clients, admin, .. } = settings.listen;
    (clients == admin && clients.port() != 0).then(|| {
        let value = &values.listen.admin_listen;
        value.problem(format!("`{clients}` is where clients are served; write another port"))
    })
}

fn levels(settings: &Settings, values: &Values) -> Option<Problem> {
    (settings.ack.default > settings.ack.max).then(|| {
        let (level, most) = (&values.ack.ack, &values.ack.ack_max);
        level.problem(format!(
            "`{}` is above `{}`, the most that {most} allows; raise --ack-max",
            level.text, most.text
        ))
    })
}

fn segments(settings: &Settings, values: &Values) -> Option<Problem> {
    let most = settings.log.budget_bytes / 4;
    (settings.log.segment_bytes > most).then(|| {
        let (segment, budget) = (&values.log.log_segment_size, &values.log.log_budget);
        segment.problem(format!(
            "`{}` is over a quarter of {budget} (`{}`); write {} or less",
            segment.text,
            budget.text,
            size_text(most)
        ))
    })
}

fn bodies(settings: &Settings, values: &Values) -> Option<Problem> {
    let limits = &settings.limits;
    (limits.body_bytes_max > limits.decompressed_bytes_max).then(|| {
        let (body, value) = (&values.limits.body_bytes_max, &values.limits.decompressed_bytes_max);
        value.problem(format!(
            "`{}` is below {body} (`{}`), so that a body of that size never fits",
            value.text, body.text
        ))
    })
}

fn in_flight(settings: &Settings, values: &Values) -> Option<Problem> {
    let limits = &settings.limits;
    let least = limits.body_bytes_max.saturating_add(limits.decompressed_bytes_max);
    (limits.bytes_in_flight_max < least).then(|| {
        let value = &values.limits.bytes_in_flight;
        value.problem(format!(
            "`{}` can't hold one largest request; write {} or more, or lower --body-bytes-max \
             and --decompressed-bytes-max",
            value.text,
            size_text(least as u64)
        ))
    })
}

fn largest_request(settings: &Settings, values: &Values) -> Option<Problem> {
    let least = (settings.limits.decompressed_bytes_max as u64).saturating_mul(2);
    (settings.log.budget_bytes < least).then(|| {
        let value = &values.log.log_budget;
        value.problem(format!(
            "`{}` can't hold two largest requests; write {} or more, or lower \
             --decompressed-bytes-max",
            value.text,
            size_text(least)
        ))
    })
}

fn window(settings: &Settings, values: &Values) -> Option<Problem> {
    let (window, value) = (settings.repeats.window, &values.repeats.idempotency_window);
    let wrong = |what: &str, retention| {
        let retention = time_text(retention);
        value.problem(format!("`{}` is longer than {what}, {retention}", value.text))
    };
    let Storage { retention, retention_classes, .. } = &settings.storage;
    if window > *retention {
        return Some(wrong("--retention", *retention));
    }
    let class = retention_classes.iter().find(|class| window > class.retention)?;
    Some(wrong(&format!("`{}` of --retention-classes", class.name), class.retention))
}

/// The table of ids and keys lies in the store's keyspace.
fn sharing(settings: &Settings, values: &Values) -> Option<Problem> {
    let is_cassandra = matches!(settings.storage.store, StoreChoice::Cassandra(_));
    (settings.repeats.shared == ShareChoice::Cassandra && !is_cassandra).then(|| {
        let value = &values.repeats.idempotency;
        value.problem("`cassandra` needs --store cassandra".to_owned())
    })
}

/// Combinations that are sound and may surprise.
pub(super) fn warnings(settings: &Settings, values: &Values) -> Vec<String> {
    let mut warnings = Vec::new();
    let pulses = settings.ack.buffer.pulses_max;
    if pulses < BATCH_EVENTS_MAX {
        let value = &values.ack.buffer_size;
        warnings.push(format!(
            "{value}: a batch of over {pulses} pulses never fits the buffer and is refused or \
             dropped whole at the level `memory`"
        ));
    }
    if !matches!(settings.storage.store, StoreChoice::Memory { .. }) {
        let storage = &values.storage;
        for value in [&storage.memory_store_rows, &storage.memory_store_bytes] {
            if value.is_set() {
                warnings.push(format!("{value}: has no effect without --store memory"));
            }
        }
    }
    let classes = &values.storage.retention_classes;
    if classes.is_set() && matches!(settings.storage.store, StoreChoice::Memory { .. }) {
        warnings.push(format!(
            "{classes}: with --store memory it only says how old an event may be; rows go as \
             newer ones come"
        ));
    }
    if classes.is_set() && settings.access.tenants.is_none() {
        warnings.push(format!("{classes}: has no effect without --tenants"));
    }
    if settings.stop.drain_within.is_none() && values.stop.stop_timeout.is_set() {
        let value = &values.stop.stop_timeout;
        warnings.push(format!("{value}: has no effect without --stop-drain"));
    }
    if settings.repeats.shared == ShareChoice::Local {
        let value = &values.repeats.idempotency_on_failure;
        let surprise = format!("{value}: has no effect with --idempotency local");
        warnings.extend(value.is_set().then_some(surprise));
    }
    warnings.extend(checks_redis::warnings(settings, values));
    warnings.extend(checks_cassandra::warnings(settings, values));
    warnings
}
