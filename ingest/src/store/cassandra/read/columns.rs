//! Rows of the tables as the driver gives them, and what they mean.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use rust_decimal::Decimal;
use scylla::DeserializeRow;
use scylla::value::{CqlDecimalBorrowed, CqlTimestamp};
use uuid::Uuid;

use crate::store::{Row, RowUsage};

/// The columns of `pulse_events_by_service` that are not of its partition, in their order in
/// [`super::super::statements`]. What every row has is optional here too: one that something
/// else has written must not withhold all others of its service.
#[derive(Debug, DeserializeRow)]
#[scylla(flavor = "enforce_order")]
pub(super) struct EventColumns<'f> {
    event_time: CqlTimestamp,
    event_id: Uuid,
    received_at: Option<CqlTimestamp>,
    kind: Option<&'f str>,
    latency_ms: Option<f64>,
    status: Option<&'f str>,
    value: Option<f64>,
    user_id: Option<&'f str>,
    sku: Option<&'f str>,
    unit: Option<&'f str>,
    amount: Option<CqlDecimalBorrowed<'f>>,
    metadata: Option<BTreeMap<&'f str, &'f str>>,
    payload: Option<&'f str>,
}

impl EventColumns<'_> {
    /// The row of a service that they are.
    pub(super) fn row(self, tenant: &str, service: &str) -> anyhow::Result<Row> {
        let received_at = self.received_at.unwrap_or(self.event_time);
        let entries = self.metadata.into_iter().flatten();
        let amount = self.amount.map(decimal).transpose()?;
        let usage = amount.map(|amount| RowUsage {
            sku: self.sku.unwrap_or_default().to_owned(),
            unit: self.unit.unwrap_or_default().to_owned(),
            amount,
        });
        Ok(Row {
            id: self.event_id,
            tenant: tenant.to_owned(),
            service: service.to_owned(),
            kind: self.kind.unwrap_or_default().to_owned(),
            event_time_ms: self.event_time.0,
            received_at_us: received_at.0.saturating_mul(1000),
            latency_ms: self.latency_ms,
            status: self.status.map(str::to_owned),
            value: self.value,
            user: self.user_id.map(str::to_owned),
            usage,
            metadata: entries.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            payload: self.payload.map(str::to_owned),
        })
    }
}

/// The same number with the same scale.
fn decimal(amount: CqlDecimalBorrowed<'_>) -> anyhow::Result<Decimal> {
    let (bytes, scale) = amount.as_signed_be_bytes_slice_and_exponent();
    let negative = bytes.first().is_some_and(|first| *first >= 0x80);
    let mut number = if negative { [0xFF; 16] } else { [0; 16] };
    ensure!(bytes.len() <= number.len(), "amount has {} bytes", bytes.len());
    let start = number.len() - bytes.len();
    number[start..].copy_from_slice(bytes);
    let scale = u32::try_from(scale).context("amount has a negative scale")?;
    Decimal::try_from_i128_with_scale(i128::from_be_bytes(number), scale)
        .context("amount has too many digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], scale: i32, expected: Option<&str>) {
        let amount = CqlDecimalBorrowed::from_signed_be_bytes_slice_and_exponent(bytes, scale);
        let read = decimal(amount).ok().map(|number| number.to_string());
        assert_eq!(read.as_deref(), expected, "{bytes:?} {scale}");
    }

    #[test]
    fn amounts_keep_their_digits() {
        check(&[], 0, Some("0"));
        check(&[0], 2, Some("0.00"));
        check(&[100], 2, Some("1.00"));
        check(&[0xFF], 1, Some("-0.1"));
        check(&[0, 0x80], 0, Some("128"));
        check(&[0x80], 0, Some("-128"));
        let mut largest = [0xFF; 13];
        largest[0] = 0;
        check(&largest, 28, Some("7.9228162514264337593543950335"));
        check(&largest, 0, Some("79228162514264337593543950335"));
    }

    #[test]
    fn amounts_that_can_not_be_are_refused() {
        check(&[1], 29, None);
        check(&[1], -1, None);
        check(&[1; 13], 0, None);
        check(&[0x7F; 16], 0, None);
        check(&[1; 17], 0, None);
        check(&[0x80; 17], i32::MAX, None);
    }
}
