//! Whether events are as their tenant's schemas have them. Costs nothing where there are none.

use crate::code::{Code, Reject};
use crate::decode::decode_event;
use crate::pulse::Pulse;
use crate::schema::{OnFailure, Reason};
use crate::submission::Submission;

use super::enrich::Enrichment;

/// What was not as it must be, and what follows from it: to be counted.
pub(super) type Failure = (Reason, OnFailure);

/// Judges an event with all that its tenant adds to it. Returns why it is to be a dead letter,
/// where it is.
pub(super) fn check(
    submission: &Submission<'_>,
    enrichment: &mut Enrichment,
    (raw, pulse): (&[u8], &Pulse<'_>),
    failures: &mut Vec<Failure>,
) -> Result<Option<String>, Reject> {
    let schemas = submission.tenant.schemas.as_deref();
    let Some(rule) = schemas.and_then(|schemas| schemas.of(&pulse.kind)) else { return Ok(None) };
    // As it will be stored, so that a replay of the letter judges the same.
    let checked = match submission.tenant.metadata.is_empty() {
        true => rule.check(pulse),
        false => match decode_event(submission.shape, enrichment.apply(raw)) {
            Ok(enriched) => rule.check(&enriched),
            Err(_) => rule.check(pulse),
        },
    };
    let Err(violation) = checked else { return Ok(None) };
    failures.push((violation.reason, rule.on_failure()));
    match rule.on_failure() {
        OnFailure::Reject => Err(Reject::new(Code::SchemaViolation, violation.to_string())),
        OnFailure::DeadLetter => Ok(Some(violation.to_string())),
    }
}
