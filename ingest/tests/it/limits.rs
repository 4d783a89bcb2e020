//! Limits of tenants from outside: what is over them is refused before its body, told with a
//! time, and counts for nobody else; a file that is read again changes them.

use anyhow::{Context, Result};
use xtask::client::{Request, Response};
use xtask::flags;
use xtask::server::wait_for;
use xtask::tenants::{HOT, QUIET, Tenant, write_file};

use crate::support::{Fixture, SOON};

const PULSE: &str = r#"{"service_name":"a"}"#;

fn fixture(limits: &[(Tenant, u64)]) -> Result<(Fixture, tempfile::TempDir)> {
    let dir = tempfile::TempDir::new()?;
    let file = write_file(dir.path(), limits)?.display().to_string();
    Ok((Fixture::with(|launch| launch.flag(flags::TENANTS, &file))?, dir))
}

fn send(fixture: &Fixture, tenant: Tenant) -> Result<Response> {
    fixture.send(&Request::json("/pulse", PULSE).header("x-api-key", tenant.key))
}

#[test]
fn a_tenant_over_its_limit_is_refused_and_others_are_not() -> Result<()> {
    let (fixture, _dir) = fixture(&[(HOT, 60), (QUIET, 0)])?;
    let mut accepted = 0;
    let refused = loop {
        let response = send(&fixture, HOT)?;
        if response.status == 429 {
            break response;
        }
        assert_eq!(response.status, 202, "{}", response.text());
        assert_eq!(response.header("ratelimit-policy"), Some("\"requests\";q=60;w=60"));
        accepted += 1;
    };
    assert!((10..=20).contains(&accepted), "{accepted} of a burst of 10");
    assert_eq!(refused.json()?["code"], "too_many_requests");
    let wait: u64 = refused.header("retry-after").context("a Retry-After")?.parse()?;
    assert!((1..=2).contains(&wait), "{wait}");
    assert!(refused.header("ratelimit").is_some_and(|left| left.starts_with("\"requests\";r=0")));
    let other = send(&fixture, QUIET)?;
    assert_eq!((other.status, other.header("ratelimit")), (202, None));
    let samples = fixture.server.samples()?;
    let limited = samples.sum("pulsemesh_requests_limited_total", &[]);
    assert_eq!(limited, 1.0);
    assert_eq!(samples.sum("pulsemesh_pulses_accepted_total", &[]), f64::from(accepted) + 1.0);
    Ok(())
}

#[test]
fn limits_that_are_read_again_hold_at_once() -> Result<()> {
    let (fixture, dir) = fixture(&[(HOT, 1)])?;
    assert_eq!(send(&fixture, HOT)?.status, 202);
    assert_eq!(send(&fixture, HOT)?.status, 429);
    write_file(dir.path(), &[(HOT, 0)])?;
    wait_for(SOON, "the file to be read again", || Ok(send(&fixture, HOT)?.status == 202))?;
    assert_eq!(send(&fixture, HOT)?.header("ratelimit"), None);
    Ok(())
}

#[test]
fn without_tenants_nothing_is_limited() -> Result<()> {
    let fixture = Fixture::start()?;
    let mut client = fixture.server.client();
    for _ in 0..400 {
        assert_eq!(client.send(&Request::json("/pulse", PULSE))?.status, 202);
    }
    let labels = [("mode", "alone")];
    assert_eq!(fixture.server.samples()?.sum("pulsemesh_limits_mode", &labels), 1.0);
    Ok(())
}
