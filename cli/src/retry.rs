//! Sends a request again until it is answered for good: after the time that the server asks for,
//! or after one that doubles. Only for requests that may be repeated.

use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt as _;

use crate::client::{Answer, Call, CallError, Client};
use crate::problem::{self, Problem};

/// First pause: a restart or a moment of overload takes about as long.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest pause of our own: a server that is back is noticed soon.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How one request goes on being tried.
pub(crate) struct Retry<'a> {
    deadline: Instant,
    pause: Duration,
    /// How often it was tried again.
    pub(crate) retries: u64,
    /// Is told why, before the first pause.
    notice: &'a mut dyn FnMut(&str),
}

impl<'a> Retry<'a> {
    /// Tries for `at_most`, beginning now.
    pub(crate) fn new(at_most: Duration, notice: &'a mut dyn FnMut(&str)) -> Self {
        Self { deadline: Instant::now() + at_most, pause: PAUSE, retries: 0, notice }
    }

    /// Sends it until there is an answer that waiting does not change, or the time is over.
    ///
    /// # Errors
    /// When there is no answer in time, or none ever will be.
    pub(crate) fn send(&mut self, client: &Client, call: &Call<'_>) -> Result<Answer, CallError> {
        loop {
            let failed = match client.call(call) {
                Ok(answer) if !again(&answer) => return Ok(answer),
                Ok(answer) => Err(answer),
                Err(error) if passes(&error) => Ok(error),
                Err(error) => return Err(error),
            };
            let (why, asked) = match &failed {
                Ok(error) => (error.what(), None),
                Err(answer) => (client.refused(call, answer).what(), answer.retry_after()),
            };
            if !self.wait(&why, asked) {
                // The last answer says more than that the time is over.
                return failed.map_or_else(Ok, Err);
            }
        }
    }

    /// Waits before the next try; `false` when there is no time left for one.
    pub(crate) fn wait(&mut self, why: &str, asked: Option<Duration>) -> bool {
        let spread = rand::rng().random_range(0.5..1.0);
        let pause = self.pause.mul_f64(spread).max(asked.unwrap_or_default());
        if Instant::now() + pause > self.deadline {
            return false;
        }
        if self.retries == 0 {
            (self.notice)(why);
        }
        self.retries += 1;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        thread::sleep(pause);
        true
    }
}

/// Whether it passes: a conflict with what is in flight, a limit, no capacity, here or at a proxy
/// on the way.
fn again(answer: &Answer) -> bool {
    let passing = matches!(answer.status, 408 | 409 | 429 | 502 | 503 | 504);
    let named = || Problem::of(answer).code.and_then(|name| problem::code(&name));
    passing && named().is_none_or(problem::passes)
}

fn passes(error: &CallError) -> bool {
    use CallError::{Broken, Connect, Resolve, Timeout};
    matches!(error, Resolve { .. } | Connect { .. } | Timeout { .. } | Broken { .. })
}
