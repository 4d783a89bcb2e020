//! What an answer tells of a tenant's limits: the fields `RateLimit-Policy` and `RateLimit` of
//! the IETF draft <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>.

use crate::limits::{Quota, Standing};

/// Limits count by the minute.
const WINDOW_S: u64 = 60;

/// Which limits there are: `"requests";q=300;w=60`.
pub fn policy(standing: &Standing) -> String {
    list(standing, |out, quota| {
        number(out, ";q=", quota.per_minute);
        number(out, ";w=", WINDOW_S);
    })
}

/// What is left of them, and in how many seconds there is more: `"requests";r=10;t=0`.
pub fn left(standing: &Standing) -> String {
    list(standing, |out, quota| {
        number(out, ";r=", quota.remaining);
        number(out, ";t=", quota.more_in.as_millis().div_ceil(1000) as u64);
    })
}

fn list(standing: &Standing, write: impl Fn(&mut String, &Quota)) -> String {
    let Standing { requests, pulses } = standing;
    // Room for both with any numbers that are met.
    let mut out = String::with_capacity(64);
    for (name, quota) in [("\"requests\"", requests), ("\"pulses\"", pulses)] {
        if let Some(quota) = quota {
            if !out.is_empty() {
                out.push_str(", ");
            }
            out.push_str(name);
            write(&mut out, quota);
        }
    }
    out
}

fn number(out: &mut String, name: &str, number: u64) {
    out.push_str(name);
    out.push_str(itoa::Buffer::new().format(number));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_limit_is_a_member_of_the_list() {
        let more_in = Duration::from_millis(1_001);
        let requests = Some(Quota { per_minute: 300, remaining: 10, more_in: Duration::ZERO });
        let pulses = Some(Quota { per_minute: 60_000, remaining: 0, more_in });
        let both = Standing { requests, pulses };
        assert_eq!(policy(&both), r#""requests";q=300;w=60, "pulses";q=60000;w=60"#);
        assert_eq!(left(&both), r#""requests";r=10;t=0, "pulses";r=0;t=2"#);
        assert_eq!(left(&Standing { requests: None, ..both }), r#""pulses";r=0;t=2"#);
    }
}
