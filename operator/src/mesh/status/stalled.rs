//! Whether nothing goes on until a person acts, and what to do.

use super::Facts;
use super::conditions::Told;
use crate::mesh::build;
use crate::mesh::claims;
use crate::mesh::names;
use crate::mesh::object::Kind;
use crate::mesh::plan::Plan;

/// The condition `Stalled`.
pub(super) fn told(facts: &Facts<'_>) -> Told {
    let plan = match facts.plan {
        Ok(plan) => plan,
        Err(problems) => {
            let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
            return Told::yes("InvalidSpec", all.join("; "));
        }
    };
    if let Some(stalled) = &facts.step.stalled {
        return Told::yes(stalled.reason, stalled.message.clone());
    }
    if let Some(message) = missing_secret(facts, plan) {
        return Told::yes("SecretMissing", message);
    }
    let stuck = claims::behind(plan, facts.observed).stuck;
    if !stuck.is_empty() {
        let message = format!(
            "{} can't grow: set the storage back to their size, or let their storage class grow \
             claims (allowVolumeExpansion)",
            stuck.join(", ")
        );
        return Told::yes("ClaimsCannotGrow", message);
    }
    if let Some(job) = failed_drain(facts) {
        let message = format!(
            "Job {job} gave up writing a log left behind to the store: see kubectl logs job/{job}, \
             mend it, then delete the Job, which is made anew"
        );
        return Told::yes("DrainFailed", message);
    }
    Told::no("NotStalled", "nothing waits for a person")
}

/// A Secret that pods need and that others make. One that was not looked for is not missing, nor
/// is the operator's own, which it makes when it may.
fn missing_secret(facts: &Facts<'_>, plan: &Plan) -> Option<String> {
    let own = [names::credentials(&plan.mesh.name), names::tenants(&plan.mesh.name)];
    let mounts = plan.ingest.mounts.iter().filter(|mount| !own.contains(&mount.secret));
    let missing = mounts.filter_map(|mount| {
        let secret = &mount.secret;
        match facts.observed.secrets.get(secret)? {
            None => Some(format!("Secret {secret} is missing: make it with {}", list(&mount.keys))),
            Some(keys) => {
                let absent: Vec<_> =
                    mount.keys.iter().filter(|key| !keys.contains(*key)).cloned().collect();
                (!absent.is_empty()).then(|| format!("Secret {secret} lacks {}", list(&absent)))
            }
        }
    });
    let missing: Vec<_> = missing.collect();
    (!missing.is_empty()).then(|| missing.join("; "))
}

fn list(keys: &[String]) -> String {
    keys.join(" and ")
}

fn failed_drain<'a>(facts: &'a Facts<'_>) -> Option<&'a str> {
    let mut jobs = facts.observed.objects.iter().filter(|object| object.kind == Kind::Job);
    jobs.find(|job| build::has_failed(job)).map(|job| job.name())
}
