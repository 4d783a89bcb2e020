//! A row as a query gives it back: made from a record of the log, rendered as JSON.
//! Knows neither HTTP nor a store.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::code::Reject;
use crate::decode::decode_event;
use crate::log::frame::Record;
use crate::pulse::{Pulse, write_metadata, write_usage};
use crate::text::{write_name, write_string};

use super::{Row, RowUsage};

impl Row {
    /// The row of a record: id, times, tenant, service and kind as its envelope fixed them, all
    /// else from the original bytes.
    ///
    /// # Errors
    ///
    /// When the original bytes are no event of the record's shape.
    pub fn from_record(record: &Record<'_>) -> Result<Self, Reject> {
        let pulse = decode_event(record.envelope.shape, record.entry.raw)?;
        Ok(Self::of_envelope(record).with_parts(pulse))
    }

    /// The row of a record without what only the original bytes tell.
    pub(super) fn of_envelope(record: &Record<'_>) -> Self {
        let (envelope, entry) = (&record.envelope, &record.entry);
        Self {
            id: entry.id,
            tenant: envelope.tenant.to_owned(),
            service: entry.service.to_owned(),
            kind: entry.kind.to_owned(),
            event_time_ms: entry.event_time_ms,
            received_at_us: envelope.received_at_us,
            latency_ms: None,
            status: None,
            value: None,
            user: None,
            usage: None,
            metadata: Vec::new(),
            payload: None,
        }
    }

    fn with_parts(self, pulse: Pulse<'_>) -> Self {
        let text = |(key, value): (Cow<'_, str>, Cow<'_, str>)| (key.into_owned(), value.into());
        Self {
            latency_ms: pulse.latency_ms,
            status: pulse.status.map(Cow::into_owned),
            value: pulse.value,
            user: pulse.user.map(Cow::into_owned),
            usage: pulse.usage.map(|usage| RowUsage {
                sku: usage.sku.into_owned(),
                unit: usage.unit.into_owned(),
                amount: usage.amount,
            }),
            metadata: pulse.metadata.into_iter().map(text).collect(),
            payload: pulse.payload.map(Cow::into_owned),
            ..self
        }
    }

    /// Appends the row as one JSON object: times as RFC 3339 in UTC with milliseconds, the
    /// amount as a decimal string, the payload as it was sent, absent parts left out.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
        out.extend_from_slice(b"{\"id\":");
        write_string(out, self.id.hyphenated().encode_lower(&mut id));
        put_text_field(out, "tenant", Some(&self.tenant));
        put_text_field(out, "service", Some(&self.service));
        put_text_field(out, "kind", Some(&self.kind));
        put_time_field(out, "event_time", self.event_time_ms);
        put_time_field(out, "received_at", self.received_at_us.div_euclid(1000));
        put_number_field(out, "latency_ms", self.latency_ms);
        put_text_field(out, "status", self.status.as_deref());
        put_number_field(out, "value", self.value);
        put_text_field(out, "user", self.user.as_deref());
        if let Some(RowUsage { sku, unit, amount }) = &self.usage {
            write_usage(out, sku, unit, amount);
        }
        write_metadata(out, &self.metadata);
        if let Some(payload) = &self.payload {
            write_name(out, "payload");
            out.extend_from_slice(payload.as_bytes());
        }
        out.push(b'}');
    }
}

fn put_text_field(out: &mut Vec<u8>, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        write_name(out, name);
        write_string(out, text);
    }
}

fn put_number_field(out: &mut Vec<u8>, name: &str, number: Option<f64>) {
    let Some(number) = number.filter(|number| number.is_finite()) else { return };
    write_name(out, name);
    // A whole number reads as it was most likely sent; within 2^53 it is exact either way.
    let whole = number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
    if whole && (number != 0.0 || number.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
    } else {
        out.extend_from_slice(ryu::Buffer::new().format_finite(number).as_bytes());
    }
}

fn put_time_field(out: &mut Vec<u8>, name: &str, time_ms: i64) {
    write_name(out, name);
    // Accepted times lie near the present; one that no calendar has is shown as its end.
    let end = if time_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    let time = Timestamp::from_millisecond(time_ms).unwrap_or(end);
    out.extend_from_slice(format!("\"{time:.3}\"").as_bytes());
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;
    use uuid::Uuid;

    use super::*;

    fn json(row: &Row) -> String {
        let mut out = Vec::new();
        row.write_json(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    fn row() -> Row {
        Row {
            id: Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057),
            tenant: "default".into(),
            service: "check\"out\\".into(),
            kind: "pulse".into(),
            event_time_ms: 1_700_000_000_007,
            received_at_us: 1_700_000_000_123_999,
            latency_ms: None,
            status: None,
            value: None,
            user: None,
            usage: None,
            metadata: Vec::new(),
            payload: None,
        }
    }

    #[test]
    fn absent_parts_are_left_out() {
        assert_eq!(
            json(&row()),
            "{\"id\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"tenant\":\"default\",\
             \"service\":\"check\\\"out\\\\\",\"kind\":\"pulse\",\
             \"event_time\":\"2023-11-14T22:13:20.007Z\",\
             \"received_at\":\"2023-11-14T22:13:20.123Z\"}"
        );
    }

    #[test]
    fn every_part_is_rendered_as_the_documents_say() {
        let full = Row {
            latency_ms: Some(12.5),
            status: Some("o\nk\u{1}é\u{7f}".into()),
            value: Some(-3.0),
            user: Some("u".into()),
            usage: Some(RowUsage {
                sku: "s".into(),
                unit: "GiB".into(),
                amount: Decimal::new(1_230, 3),
            }),
            metadata: vec![("b".into(), "1".into()), ("a".into(), "\t".into())],
            payload: Some("{ \"x\" : [1, 2] }".into()),
            ..row()
        };
        assert!(json(&full).ends_with(
            ",\"latency_ms\":12.5,\"status\":\"o\\nk\\u0001é\u{7f}\",\"value\":-3,\"user\":\"u\",\
             \"usage\":{\"sku\":\"s\",\"unit\":\"GiB\",\"amount\":\"1.230\"},\
             \"metadata\":{\"b\":\"1\",\"a\":\"\\t\"},\"payload\":{ \"x\" : [1, 2] }}"
        ));
    }

    #[test]
    fn extreme_times_and_numbers_stay_json() {
        for (time, number) in [(i64::MIN, 1e300), (i64::MAX, -0.0), (0, 1e15), (-1, f64::NAN)] {
            let extreme =
                Row { event_time_ms: time, received_at_us: time, value: Some(number), ..row() };
            let value: serde_json::Value =
                serde_json::from_str(&json(&extreme)).expect("valid JSON");
            assert_eq!(value.get("value").and_then(serde_json::Value::as_f64), {
                number.is_finite().then_some(number)
            });
        }
    }
}
