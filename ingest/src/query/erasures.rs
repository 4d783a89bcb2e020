//! What is asked of erasures, and the JSON of what is answered.

use serde::Deserialize;
use serde_json::Value;

use crate::code::{Code, Reject};
use crate::erasure::Job;

use super::letters::{json, time_us};

/// What an erasure is asked with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    confirm: String,
}

/// Reads the body of `POST /v1/erasures`: whoever asks must name the tenant, which is the key's.
pub fn confirmed(tenant: &str, body: &[u8]) -> Result<(), Reject> {
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Reject::new(Code::NotAnObject, "the body must be a JSON object"));
    }
    let asked: Asked = serde_json::from_slice(body)
        .map_err(|error| Reject::new(Code::InvalidJson, format!("the body: {error}")))?;
    if asked.confirm == tenant {
        return Ok(());
    }
    let why = "`confirm` must be the name of the tenant that the key belongs to";
    Err(Reject::new(Code::NotConfirmed, why))
}

/// One erasure.
pub fn job_json(job: &Job) -> Vec<u8> {
    json(&value(job))
}

/// `{"erasures":[…]}`, the newest first.
pub fn jobs_json(jobs: &[Job]) -> Vec<u8> {
    let jobs: Vec<_> = jobs.iter().map(value).collect();
    json(&serde_json::json!({ "erasures": jobs }))
}

fn value(job: &Job) -> Value {
    serde_json::json!({
        "id": job.id.to_string(),
        "tenant": job.tenant,
        "state": job.phase.as_str(),
        "asked_by": job.by,
        "created_at": time_us(job.until_us),
        "ended_at": job.ended_at_us.map(time_us),
        "progress": { "stage": job.stage() },
        "counts": job.counts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erasure_is_asked_for_with_the_tenants_name_and_nothing_else() {
        assert_eq!(confirmed("a", br#"{"confirm":"a"}"#), Ok(()));
        for (body, code) in [
            (&br#"{"confirm":"b"}"#[..], Code::NotConfirmed),
            (br#"{"confirm":""}"#, Code::NotConfirmed),
            (br#"{"confirm":"a","all":true}"#, Code::InvalidJson),
            (br#"{"confirm":1}"#, Code::InvalidJson),
            (b"{}", Code::InvalidJson),
            (br#"{"confirm":"a""#, Code::InvalidJson),
            (br#"["a"]"#, Code::NotAnObject),
            (b"", Code::NotAnObject),
        ] {
            let refused = confirmed("a", body).map_err(|reject| reject.code);
            assert_eq!(refused, Err(code), "{}", String::from_utf8_lossy(body));
        }
    }
}
