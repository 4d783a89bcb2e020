//! What a tenant adds to its pulses: put into the event's own bytes in front of all else, before
//! the log. So every store, dead letter and replay sees one event and makes one row of it.

use crate::decode::TENANT_METADATA;
use crate::pulse::EVENT_BYTES_MAX;
use crate::tenant::Tenant;
use crate::text::{write_name, write_string};

/// Adds one tenant's metadata to events.
#[derive(Debug, Default)]
pub(super) struct Enrichment {
    /// An object's first field with a comma behind it; empty: nothing is added.
    field: Vec<u8>,
    event: Vec<u8>,
}

impl Enrichment {
    /// Of what `tenant` adds.
    pub(super) fn of(tenant: &Tenant) -> Self {
        let mut field = Vec::new();
        for (index, (key, value)) in tenant.metadata.iter().enumerate() {
            if index == 0 {
                write_name(&mut field, TENANT_METADATA);
                // No field is in front of it.
                field.remove(0);
            }
            field.push(if index == 0 { b'{' } else { b',' });
            write_string(&mut field, key);
            field.push(b':');
            write_string(&mut field, value);
        }
        if !field.is_empty() {
            field.extend_from_slice(b"},");
        }
        Self { field, event: Vec::new() }
    }

    /// A sound event, which is an object with at least one field, as it goes to the log. One that
    /// would become too large by it is left as it is.
    pub(super) fn apply<'e>(&'e mut self, raw: &'e [u8]) -> &'e [u8] {
        let fits = raw.len() + self.field.len() <= EVENT_BYTES_MAX;
        match raw.split_first() {
            Some((b'{', rest)) if !self.field.is_empty() && fits => {
                self.event.clear();
                self.event.push(b'{');
                self.event.extend_from_slice(&self.field);
                self.event.extend_from_slice(rest);
                &self.event
            }
            _ => raw,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decode::decode_event;
    use crate::pulse::{METADATA_ENTRIES_MAX, Shape};

    fn tenant(metadata: &[(&str, &str)]) -> Tenant {
        let entry = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let metadata: Arc<[_]> = metadata.iter().map(entry).collect();
        Tenant { metadata, ..Tenant::unlimited("t") }
    }

    fn metadata(shape: Shape, raw: &str, added: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut enrichment = Enrichment::of(&tenant(added));
        let before = decode_event(shape, raw.as_bytes()).expect("sound before");
        let enriched = enrichment.apply(raw.as_bytes()).to_vec();
        let after = decode_event(shape, &enriched).expect("sound after");
        let rest = |pulse| crate::pulse::Pulse { metadata: Vec::new(), ..pulse };
        let text = |(key, value): &(std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (key.to_string(), value.to_string())
        };
        let all = after.metadata.iter().map(text).collect();
        assert_eq!(rest(after.clone()), rest(before), "nothing else changes");
        // A letter that is sent again is enriched again, and stays what it is.
        let again = enrichment.apply(&enriched).to_vec();
        assert_eq!(decode_event(shape, &again).expect("sound again"), after);
        all
    }

    #[test]
    fn what_a_tenant_adds_is_there_unless_the_client_said_something_else() {
        let added = [("region", "eu"), ("team", "pay\"ments\"")];
        let cases = [
            (Shape::Pulse, r#"{"service":"s"}"#, "region=eu team=pay\"ments\""),
            (Shape::Pulse, r#"{ "service":"s","metadata":{"team":"own"}}"#, "team=own region=eu"),
            (Shape::Pulse, r#"{"service":"s","team":7}"#, "team=7 region=eu"),
            (Shape::Pulse, r#"{"service":"s","team":null}"#, "region=eu team=pay\"ments\""),
            (Shape::Pulse, r#"{"service":"s","team":{"a":1}}"#, "region=eu team=pay\"ments\""),
            (
                Shape::Ingest,
                r#"{"type":"k","tags":{"service":"s"}}"#,
                "service=s region=eu team=pay\"ments\"",
            ),
            (
                Shape::Events,
                r#"{"event_type":"k","labels":{"x":"y"}}"#,
                "x=y region=eu team=pay\"ments\"",
            ),
            (
                Shape::Pulse,
                r#"{"service":"s","tenant_metadata":{"team":"claimed"}}"#,
                "region=eu team=pay\"ments\"",
            ),
        ];
        for (shape, raw, expected) in cases {
            let found = metadata(shape, raw, &added);
            let found: Vec<_> = found.iter().map(|(key, value)| format!("{key}={value}")).collect();
            assert_eq!(found.join(" "), expected, "{raw}");
        }
        assert_eq!(metadata(Shape::Ingest, r#"{"type":"k"}"#, &[("service", "x")]).len(), 1);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_the_event_is_kept() {
        let own: Vec<_> = (0..METADATA_ENTRIES_MAX - 1).map(|at| format!("\"k{at}\":1")).collect();
        let raw = format!("{{\"service\":\"s\",\"metadata\":{{{}}}}}", own.join(","));
        let found = metadata(Shape::Pulse, &raw, &[("a", "1"), ("b", "2")]);
        assert_eq!(found.len(), METADATA_ENTRIES_MAX);
        assert_eq!(found[METADATA_ENTRIES_MAX - 1], ("a".to_owned(), "1".to_owned()));

        let start = "{\"service\":\"s\",\"payload\":null";
        let largest = format!("{start}{}}}", " ".repeat(EVENT_BYTES_MAX - start.len() - 1));
        let mut enrichment = Enrichment::of(&tenant(&[("a", "1")]));
        assert_eq!(enrichment.apply(largest.as_bytes()), largest.as_bytes());
        assert_eq!(Enrichment::of(&tenant(&[])).apply(b"{}"), b"{}");
    }
}
