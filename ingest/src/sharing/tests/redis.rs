//! With a real Redis.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use xtask::redis::Redis;

use crate::limits::RedisSettings;
use crate::sharing::{OnFailure, Shared, Verdict};

use super::process::{Process, keyed};
use super::rules;

fn shared(redis: &Redis) -> Shared {
    let settings = RedisSettings {
        host: "127.0.0.1".to_owned(),
        port: redis.port(),
        database: 0,
        username: None,
        password: None,
        tls: false,
        tls_ca: None,
    };
    Shared::Redis(settings, OnFailure::Refuse)
}

#[tokio::test]
#[ignore = "needs a redis-server"]
async fn the_rules_hold() {
    let redis = Redis::start().expect("a Redis");
    rules::check(&shared(&redis), "r").await;
}

#[tokio::test]
#[ignore = "needs a redis-server"]
async fn what_a_process_held_is_over_as_soon_as_it_is_back() {
    let redis = Redis::start().expect("a Redis");
    let shared = shared(&redis);
    let (dying, other) = (Process::new(&shared).await, Process::new(&shared).await);
    let (log, first) = (dying.log, keyed("held", 1));
    let (_, claimed) = dying.take(std::slice::from_ref(&first)).await;
    dying.kill(claimed);
    assert_eq!(other.look(&keyed("held", 1)).await, Verdict::InFlight);
    let begin = super::process::Begin { log, ..Default::default() };
    let _back = Process::begin(&shared, begin).await;
    assert_eq!(other.look(&keyed("held", 1)).await, Verdict::New(Some(first.fixed)));
}

#[tokio::test]
#[ignore = "needs a redis-server"]
async fn questions_of_many_requests_share_round_trips() {
    let redis = Redis::start().expect("a Redis");
    let process = Process::new(&shared(&redis)).await;
    let before = commands(&redis);
    let questions: Vec<_> = (0..400).map(|number| [keyed(&format!("m-{number}"), 1)]).collect();
    redis.pause().expect("it can be paused");
    let asked: Vec<_> = questions.iter().map(|question| process.take(question)).collect();
    let asked = stream::iter(asked).buffered(questions.len()).collect::<Vec<_>>();
    let resume = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        redis.resume().expect("it can be resumed");
    };
    let (answers, ()) = tokio::join!(asked, resume);
    assert!(answers.iter().all(|(verdicts, _)| verdicts == &[Verdict::New(None)]));
    let scripts = commands(&redis) - before;
    assert!(scripts < 40, "{scripts} scripts for 400 requests");
}

/// How many scripts it has run.
fn commands(redis: &Redis) -> u64 {
    let script = "for calls in string.gmatch(redis.call('INFO', 'commandstats'), \
                  'cmdstat_eval:calls=(%d+)') do return tonumber(calls) end return 0";
    redis.ask(&["EVAL", script, "0"]).expect("an answer").parse().expect("a number")
}
