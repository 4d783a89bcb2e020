//! With a real Redis.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use xtask::redis::Redis;
use xxhash_rust::xxh3::xxh3_128;

use crate::code::Code;
use crate::ingestor::Ingestor;
use crate::limits::RedisSettings;
use crate::pulse::{Pulse, id_from_text};
use crate::sharing::{Namer, OnFailure, Question, Shared, Verdict};
use crate::store::memory::{MemoryStore, MemoryStoreLimits};

use super::process::{Process, fixed, keyed};
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
    rules::check(&shared(&redis), "r", Duration::from_secs(2)).await.expect("Redis answers");
}

#[tokio::test]
#[ignore = "needs a redis-server"]
async fn what_a_process_held_is_over_as_soon_as_it_is_back() {
    let redis = Redis::start().expect("a Redis");
    let shared = shared(&redis);
    let (dying, other) = (Process::new(&shared).await, Process::new(&shared).await);
    let (log, first) = (dying.log, keyed("held", 1));
    let (_, claimed) = dying.take(std::slice::from_ref(&first)).await.expect("an answer");
    dying.kill(claimed);
    assert_eq!(other.look(&keyed("held", 1)).await, Ok(Verdict::InFlight));
    let begin = super::process::Begin { log, ..Default::default() };
    let _back = Process::begin(&shared, begin).await;
    assert_eq!(other.look(&keyed("held", 1)).await, Ok(Verdict::New(Some(first.fixed))));
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
    let is_new = |(verdicts, _): &(Vec<_>, _)| verdicts == &[Verdict::New(None)];
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(is_new)));
    let scripts = commands(&redis) - before;
    assert!(scripts < 40, "{scripts} scripts for 400 requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a redis-server"]
async fn what_another_process_has_in_flight_is_waited_for_for_a_bounded_time() {
    let redis = Redis::start().expect("a Redis");
    let shared = shared(&redis);
    let (elsewhere, directory) = (Process::new(&shared).await, TempDir::new().expect("a folder"));
    let limits = MemoryStoreLimits { rows_max: 100, bytes_max: 1 << 20 };
    let builder = Ingestor::builder(directory.path()).shared(shared.clone());
    let ingestor = builder.store(Arc::new(MemoryStore::new(limits))).build().expect("it starts");
    while ingestor.not_shared().is_some() {
        sleep(Duration::from_millis(5)).await;
    }
    let pulse = Pulse { event_id: Some("e".into()), ..Pulse::new("s", "k") };
    let mut body = Vec::new();
    pulse.write_json(&mut body);
    let id = id_from_text("default", "e");
    let keys = Namer::new("default").keys(Some(id), None);
    let question = Question { keys, fixed: fixed(id, xxh3_128(&body)) };
    let (verdicts, claimed) = elsewhere.take(&[question]).await.expect("an answer");
    assert_eq!(verdicts, [Verdict::New(None)]);

    let begun = Instant::now();
    let refused = ingestor.push(&pulse).await.expect("each event is answered alone");
    assert_eq!(refused.errors.first().map(|error| error.reject.code), Some(Code::KeyInFlight));
    let waited = begun.elapsed();
    assert!((2..4).contains(&waited.as_secs()), "{waited:?}");

    let commit = async {
        sleep(Duration::from_millis(300)).await;
        claimed.commit().told().await;
    };
    let (receipt, ()) = tokio::join!(ingestor.push(&pulse), commit);
    let receipt = receipt.expect("it is known");
    assert_eq!((receipt.accepted, receipt.duplicates, receipt.ids), (0, 1, vec![Some(id)]));
    ingestor.close().await.expect("it closes");
}

/// How many scripts it has run.
fn commands(redis: &Redis) -> u64 {
    let script = "for calls in string.gmatch(redis.call('INFO', 'commandstats'), \
                  'cmdstat_eval:calls=(%d+)') do return tonumber(calls) end return 0";
    redis.ask(&["EVAL", script, "0"]).expect("an answer").parse().expect("a number")
}
