//! The shared part in Redis: a group is one pipeline of scripts, some of each kind.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Pipeline};

use crate::limits::{RedisFault, RedisSettings, redis_client, within};

use super::entry::{Verdict, decode, encode};
use super::group::{Group, Taken, Told};
use super::link::{Link, Owner};
use super::script::{COMMIT, GIVE_BACK, TAKE};

/// Longest time until a connection is made, with the login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for a group: many syncs of a sound disk. A Redis that hangs is noticed by then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Pulses or keys of one script: half a millisecond in which Redis works on nothing else.
const SCRIPT_MAX: usize = 128;
/// What the name of a log begins with, under which its process says which run it is in.
const RUNS: &[u8] = b"pulsemesh:once-run:";
/// How long that is known, at least: longer than any lease.
const RUN_KEPT_MIN: Duration = Duration::from_secs(24 * 3600);

/// A connection that answers. Cloning shares it.
#[derive(Clone)]
pub(super) struct Connection {
    inner: MultiplexedConnection,
    owner: Owner,
    window: Duration,
    lease: Duration,
}

impl Connection {
    /// Connects; whether it is answered shows the first group.
    pub(super) async fn open(settings: &RedisSettings, link: &Link) -> Result<Self, RedisFault> {
        let client = redis_client(settings).await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT));
        let connect = client.get_multiplexed_async_connection_with_config(&config);
        let inner = within(CONNECT_TIMEOUT, connect).await?;
        Ok(Self { inner, owner: link.owner, window: link.window, lease: link.lease })
    }

    /// Says which run this process is in: what an earlier one held is over. Sees as well that
    /// Redis takes writes.
    pub(super) async fn announce(&mut self) -> Result<(), RedisFault> {
        let name = [RUNS, self.owner.log.as_bytes()].concat();
        let kept = self.window.max(RUN_KEPT_MIN).as_millis() as u64;
        let mut set = ::redis::cmd("SET");
        set.arg(name).arg(&self.owner.run.to_be_bytes()[..]).arg("PX").arg(kept);
        within(ANSWER_TIMEOUT, set.query_async::<()>(&mut self.inner)).await
    }

    /// Asks and tells all of a group, in the order told, taken; one verdict for each question.
    pub(super) async fn send(
        &mut self,
        group: &Group,
        now_us: i64,
    ) -> Result<Vec<Verdict>, RedisFault> {
        let mut pipeline = ::redis::pipe();
        group.told.chunks(SCRIPT_MAX).for_each(|told| self.add_told(&mut pipeline, told, now_us));
        group.taken.chunks(SCRIPT_MAX).for_each(|taken| self.add_taken(&mut pipeline, taken));
        let answers: Vec<Vec<Vec<u8>>> =
            within(ANSWER_TIMEOUT, pipeline.query_async(&mut self.inner)).await?;
        let verdicts: Option<Vec<_>> = answers.iter().flatten().map(|text| verdict(text)).collect();
        let verdicts = verdicts.filter(|verdicts| verdicts.len() == group.taken.len());
        verdicts.ok_or(RedisFault::Strange)
    }

    fn add_taken(&self, pipeline: &mut Pipeline, taken: &[Taken]) {
        let keys = || taken.iter().flat_map(|(question, _)| &question.keys);
        let eval = pipeline.cmd("EVAL").arg(TAKE).arg(keys().count());
        for key in keys() {
            eval.arg(key.redis_name());
        }
        eval.arg(self.window.as_millis() as u64).arg(self.lease.as_millis() as u64);
        let run = self.owner.run.to_be_bytes();
        eval.arg([self.owner.log.as_bytes().as_slice(), &run].concat()).arg(RUNS);
        for (question, token) in taken {
            let count = question.keys.len().to_string();
            let leads = encode(&question.fixed);
            eval.arg([count.as_bytes(), &token.to_be_bytes(), &leads].concat());
        }
    }

    fn add_told(&self, pipeline: &mut Pipeline, told: &[Told], now_us: i64) {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for one in told {
            if let Told::Logged(key, fixed) = one {
                let left = left_ms(self.window, now_us - fixed.received_at_us).to_string();
                names.push(key.redis_name());
                values.push([&encode(fixed), left.as_bytes()].concat());
            }
        }
        add_script(pipeline, COMMIT, (&names, &values));
        names.clear();
        values.clear();
        for one in told {
            if let Told::GivenBack { key, token, certain } = one {
                names.push(key.redis_name());
                values
                    .push([&token.to_be_bytes()[..], if *certain { b"1" } else { b"0" }].concat());
            }
        }
        add_script(pipeline, GIVE_BACK, (&names, &values));
    }
}

fn add_script(pipeline: &mut Pipeline, script: &str, (names, values): (&[Vec<u8>], &[Vec<u8>])) {
    if names.is_empty() {
        return;
    }
    let eval = pipeline.cmd("EVAL").arg(script).arg(names.len());
    for argument in names.iter().chain(values) {
        eval.arg(argument);
    }
    eval.ignore();
}

/// How long a key is known that was accepted so long ago. A clock that was set makes it neither
/// longer than the window nor nothing.
pub(super) fn left_ms(window: Duration, age_us: i64) -> u64 {
    let age = Duration::from_micros(u64::try_from(age_us).unwrap_or(0));
    window.saturating_sub(age).as_millis().max(1_000) as u64
}

fn verdict(text: &[u8]) -> Option<Verdict> {
    let (kind, leads) = text.split_first()?;
    Some(match kind {
        b'n' if leads.is_empty() => Verdict::New(None),
        b'n' => Verdict::New(Some(decode(leads)?)),
        b'r' => Verdict::Repeat(decode(leads)?),
        b'x' => Verdict::Reused,
        b'w' => Verdict::InFlight,
        _ => return None,
    })
}
