//! Real servers that know ids and keys together: a repeat at another one is the first again, and
//! what happens while Redis is away is what was asked for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use xtask::client::{Request, Response};
use xtask::flags;
use xtask::ledger::{drained, in_place};
use xtask::redis::Redis;
use xtask::server::{Launch, Server, wait_for};

use crate::support::{SOON, example};

/// How a server is started that knows ids and keys together with others.
pub(crate) fn launch(redis: &Redis, dir: &TempDir) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_pulsemesh-ingest"), dir.path())
        .flag(flags::REDIS_URL, &redis.url())
        .flag(flags::IDEMPOTENCY, "redis")
        .flag(flags::FLUSH_INTERVAL, "20ms")
}

/// A Redis that loses nothing that it has answered, whatever happens to it.
pub(crate) fn durable_redis() -> Result<Redis> {
    Redis::with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
}

/// Waits until a server knows ids and keys in this way.
pub(crate) fn wait_mode(server: &Server, mode: &str) -> Result<()> {
    wait_for(SOON, mode, || {
        Ok(server.samples()?.sum("pulsemesh_idempotency_mode", &[("mode", mode)]) == 1.0)
    })
    .with_context(|| format!("its log:\n{}", server.log()))
}

/// Servers with one Redis.
struct Mesh {
    redis: Redis,
    dirs: Vec<TempDir>,
    servers: Vec<Server>,
}

impl Mesh {
    fn start(count: usize, on_failure: &str) -> Result<Self> {
        let mut mesh = Self { redis: durable_redis()?, dirs: Vec::new(), servers: Vec::new() };
        for _ in 0..count {
            let dir = TempDir::new()?;
            let launch = launch(&mesh.redis, &dir).flag(flags::IDEMPOTENCY_ON_FAILURE, on_failure);
            mesh.servers.push(launch.start()?);
            mesh.dirs.push(dir);
        }
        mesh.wait_mode("shared")?;
        Ok(mesh)
    }

    fn wait_mode(&self, mode: &str) -> Result<()> {
        self.servers.iter().try_for_each(|server| wait_mode(server, mode))
    }

    fn send(&self, server: usize, request: &Request) -> Result<Response> {
        self.servers[server].client().send(request)
    }

    /// The answer, which must have this status.
    fn ask(&self, server: usize, request: &Request, status: u16) -> Result<Value> {
        let answer = self.send(server, request)?;
        ensure!(answer.status == status, "{} {}", answer.status, answer.text());
        answer.json()
    }

    /// How many pulses all servers together have stored, once they have nothing more to store.
    fn stored(&self) -> Result<f64> {
        let stored = |server| Ok(in_place(&drained(server, SOON)?, "stored"));
        self.servers.iter().map(stored).sum()
    }
}

fn pulse(id: &str, latency_ms: u32) -> Request {
    let body = format!(r#"{{"service_name":"a","event_id":"{id}","latency_ms":{latency_ms}}}"#);
    Request::json("/pulse", body)
}

fn keyed(key: &str, latency_ms: u32) -> Request {
    let body = format!(r#"{{"service_name":"a","latency_ms":{latency_ms}}}"#);
    Request::json("/pulse", body).header("idempotency-key", key)
}

#[test]
#[ignore = "needs a redis-server"]
fn a_repeat_at_any_server_gets_the_first_answer_and_another_body_is_refused() -> Result<()> {
    let mesh = Mesh::start(3, "refuse")?;
    for (first, again, other) in [
        (pulse("order-1", 1), pulse("order-1", 1), pulse("order-1", 2)),
        (keyed("key-1", 1), keyed("key-1", 1), keyed("key-1", 2)),
        (
            pulse("order-2", 1).header("idempotency-key", "key-2"),
            pulse("order-2", 1).header("idempotency-key", "key-2"),
            keyed("key-2", 2),
        ),
    ] {
        let answer = mesh.ask(0, &first, 202)?;
        assert!(answer.get("duplicate").is_none(), "{answer}");
        for server in [1, 2, 0] {
            let repeat = mesh.ask(server, &again, 202)?;
            assert_eq!((&repeat["id"], &repeat["duplicate"]), (&answer["id"], &true.into()));
            assert_eq!(mesh.ask(server, &other, 422)?["code"], "key_reused");
        }
    }
    assert_eq!(mesh.stored()?, 3.0);
    let bytes = bytes_of_a_key(&mesh.redis)?;
    assert!(bytes <= 256, "{bytes} bytes for a key of the tenant `default`");
    Ok(())
}

/// What the largest key takes of the memory of Redis, and that none is kept for ever.
fn bytes_of_a_key(redis: &Redis) -> Result<u64> {
    let script = "local most = 0 for _, key in ipairs(redis.call('KEYS', 'pulsemesh:once:*')) do \
                  local left = redis.call('PTTL', key) \
                  if left <= 0 or left > 1800000 then return 0 end \
                  most = math.max(most, redis.call('MEMORY', 'USAGE', key)) end return most";
    let bytes: u64 = redis.ask(&["EVAL", script, "0"])?.parse()?;
    ensure!(bytes > 0, "there is no key, or one that does not end with the window");
    Ok(bytes)
}

#[test]
#[ignore = "needs a redis-server"]
fn each_event_of_a_batch_is_known_alone_and_a_batch_costs_few_round_trips() -> Result<()> {
    let mesh = Mesh::start(2, "refuse")?;
    let event = |number: usize| format!(r#"{{"service_name":"b","event_id":"e-{number}"}}"#);
    let batch = |numbers: &[usize]| {
        let events: Vec<_> = numbers.iter().map(|number| event(*number)).collect();
        Request::lines("/pulse?ids=true", events.join("\n"))
    };
    let trips = |server: usize| -> Result<f64> {
        Ok(mesh.servers[server].samples()?.sum("pulsemesh_idempotency_round_trips_total", &[]))
    };
    let all: Vec<usize> = (0..3_000).collect();
    let before = trips(0)?;
    let first = mesh.ask(0, &batch(&all), 202)?;
    assert_eq!(first["accepted"], 3_000, "{first}");
    let cost = trips(0)? - before;
    assert!(cost < 20.0, "{cost} round trips for one batch");
    // Some new, some known here, some there, one of them twice.
    let mixed = mesh.ask(1, &batch(&[2_998, 3_000, 0, 3_000, 3_001]), 202)?;
    assert_eq!((&mixed["accepted"], &mixed["duplicates"]), (&2.into(), &3.into()), "{mixed}");
    assert_eq!(mixed["ids"][2], first["ids"][0]);
    let again = mesh.ask(0, &batch(&[3_000, 3_001, 5]), 202)?;
    assert_eq!((&again["accepted"], &again["duplicates"]), (&0.into(), &3.into()), "{again}");
    assert_eq!(mesh.stored()?, 3_002.0);
    Ok(())
}

#[test]
#[ignore = "needs a redis-server"]
fn pulses_without_id_and_key_ask_nobody() -> Result<()> {
    let mesh = Mesh::start(1, "refuse")?;
    let asked = || {
        Ok::<_, anyhow::Error>(
            mesh.servers[0].samples()?.sum("pulsemesh_idempotency_questions_total", &[]),
        )
    };
    for _ in 0..20 {
        mesh.ask(0, &Request::json("/pulse", r#"{"service_name":"a"}"#), 202)?;
    }
    assert_eq!(asked()?, 0.0);
    mesh.ask(0, &pulse("one", 1), 202)?;
    // A repeat at the same server is known there.
    mesh.ask(0, &pulse("one", 1), 202)?;
    assert_eq!(asked()?, 1.0);
    Ok(())
}

#[test]
#[ignore = "needs a redis-server"]
fn without_redis_what_has_an_id_or_key_is_refused_and_nothing_else() -> Result<()> {
    let mut mesh = Mesh::start(2, "refuse")?;
    let first = mesh.ask(0, &pulse("before", 1), 202)?;
    for _ in 0..2 {
        mesh.redis.kill()?;
        mesh.wait_mode("refuse")?;
        let answer = mesh.send(1, &pulse("before", 1))?;
        assert_eq!(answer.json()?["code"], "idempotency_unavailable");
        assert!(answer.status == 503 && answer.header("retry-after").is_some(), "{answer:?}");
        assert_eq!(mesh.ask(0, &pulse("before", 1), 202)?["duplicate"], true, "known here");
        mesh.ask(1, &Request::json("/pulse", r#"{"service_name":"plain"}"#), 202)?;
        let ready = xtask::client::Client::new(mesh.servers[1].admin()).get("/readyz?verbose")?;
        assert!(ready.status == 200 && ready.text().contains("are refused"), "{}", ready.text());
        mesh.redis.start_again()?;
        mesh.wait_mode("shared")?;
        let again = mesh.ask(1, &pulse("before", 1), 202)?;
        assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &true.into()));
    }
    assert_eq!(mesh.stored()?, 3.0);
    Ok(())
}

#[test]
#[ignore = "needs a redis-server"]
fn without_redis_what_is_accepted_alone_is_told_to_the_others_when_it_is_back() -> Result<()> {
    let mut mesh = Mesh::start(2, "local")?;
    mesh.redis.kill()?;
    mesh.wait_mode("local")?;
    let first = mesh.ask(0, &pulse("alone", 1), 202)?;
    assert_eq!(mesh.ask(0, &pulse("alone", 1), 202)?["duplicate"], true);
    mesh.redis.start_again()?;
    mesh.wait_mode("shared")?;
    let late = || Ok(mesh.servers[0].samples()?.sum("pulsemesh_idempotency_late", &[]) == 0.0);
    wait_for(SOON, "the others to be told", late)?;
    let again = mesh.ask(1, &pulse("alone", 1), 202)?;
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &true.into()));
    assert_eq!(mesh.ask(1, &pulse("alone", 2), 422)?["code"], "key_reused");
    assert_eq!(mesh.stored()?, 1.0);
    Ok(())
}

#[test]
#[ignore = "needs a redis-server"]
fn a_redis_that_hangs_holds_a_request_up_for_a_bounded_time() -> Result<()> {
    let mesh = Mesh::start(2, "refuse")?;
    mesh.redis.pause()?;
    let begun = Instant::now();
    let answer = mesh.ask(0, &pulse("hangs", 1), 503)?;
    assert_eq!(answer["code"], "idempotency_unavailable");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    mesh.wait_mode("refuse")?;
    mesh.redis.resume()?;
    mesh.wait_mode("shared")?;
    // What Redis was asked while it hung is given back, by whichever it is sent to again.
    wait_for(SOON, "the key to be free", || Ok(mesh.send(1, &pulse("hangs", 1))?.status == 202))?;
    let again = mesh.ask(0, &pulse("hangs", 1), 202)?;
    assert_eq!(again["duplicate"], true);
    assert_eq!(mesh.stored()?, 1.0);
    Ok(())
}

#[test]
#[ignore = "needs a redis-server"]
fn a_request_that_failed_frees_its_key_for_all() -> Result<()> {
    let redis = durable_redis()?;
    let dirs = [TempDir::new()?, TempDir::new()?];
    // Its store is stuck, so that its log fills up.
    let stuck = Launch::new(example("throttled")?, dirs[0].path())
        .flag(flags::ROWS_PER_SECOND, "0")
        .flag(flags::LOG_BUDGET, "16MiB")
        .flag(flags::BODY_BYTES_MAX, "1MiB")
        .flag(flags::DECOMPRESSED_BYTES_MAX, "1MiB")
        .flag(flags::REDIS_URL, &redis.url())
        .flag(flags::IDEMPOTENCY, "redis")
        .start()?;
    let other = launch(&redis, &dirs[1]).start()?;
    [&stuck, &other].into_iter().try_for_each(|server| wait_mode(server, "shared"))?;
    let padding = "x".repeat(16 * 1024);
    let body = format!(r#"{{"service_name":"f","payload":"{padding}"}}"#);
    let mut client = stuck.client();
    let filler = Request::json("/pulse", body.clone());
    wait_for(SOON, "the log to be full", || Ok(client.send(&filler)?.status == 503))?;
    // Its length is not declared, so that it is refused only when it is to be logged.
    let chunked = format!(
        "POST /pulse HTTP/1.1\r\nhost: test\r\nidempotency-key: full\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    for _ in 0..2 {
        let refused = stuck.client().send_bytes(chunked.as_bytes())?;
        assert_eq!((refused.status, &refused.json()?["code"]), (503, &"log_full".into()));
    }
    let new = [("result", "new")];
    assert_eq!(stuck.samples()?.sum("pulsemesh_idempotency_questions_total", &new), 2.0);
    let send = || {
        other
            .client()
            .send(&Request::json("/pulse", body.clone()).header("idempotency-key", "full"))
    };
    wait_for(SOON, "the key to be free", || Ok(send()?.status == 202))?;
    assert_eq!(send()?.json()?["duplicate"], true);
    Ok(())
}
