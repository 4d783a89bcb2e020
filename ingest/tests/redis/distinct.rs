//! Many requests of which three in ten repeat, over three servers that know ids and keys
//! together. One server is killed and started again, and so is Redis: each distinct pulse is one
//! row of one server, and none was accepted twice.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use xtask::client::{Client, Request};
use xtask::ledger::drained;
use xtask::redis::Redis;
use xtask::server::Server;

use crate::once::{durable_redis, launch, wait_mode};
use crate::support::{SOON, setting};

/// Requests of a run; all of them with `cargo xtask test --long`.
const REQUESTS: usize = 100_000;
/// Requests at once: enough to fill each sync of the logs and of Redis.
const SENDERS: usize = 48;
const SERVERS: usize = 3;
/// Longest that one request is sent again and again: a restart of what it needs.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Which pulse the request at this place is of: three in ten are of an earlier one, of which one
/// may still be on its way.
fn pulse_of(place: usize) -> usize {
    let number = |place: usize| place / 10 * 7 + [0, 1, 2, 2, 3, 4, 4, 5, 6, 6][place % 10];
    let earlier = |back: usize| number(place.saturating_sub(back));
    match place % 10 {
        6 => earlier(place * 7_919 % 5_000),
        9 => earlier(place * 104_729 % place.max(1)),
        _ => number(place),
    }
}

/// Half have an id of their own, half a key.
fn request_of(pulse: usize) -> Request {
    if pulse.is_multiple_of(2) {
        let body = format!(r#"{{"service_name":"once","event_id":"e-{pulse}"}}"#);
        return Request::json("/pulse", body);
    }
    let body = format!(r#"{{"service_name":"once","latency_ms":{pulse}}}"#);
    Request::json("/pulse", body).header("idempotency-key", &format!("k-{pulse}"))
}

/// What the senders share.
struct Run {
    requests: usize,
    next: AtomicUsize,
    stop: AtomicBool,
    addresses: RwLock<Vec<SocketAddr>>,
    /// Of each pulse its id and how often it was answered as new.
    seen: Mutex<HashMap<usize, (String, u32)>>,
}

impl Run {
    fn sent(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    fn send_all(&self) -> Result<()> {
        let mut clients: Vec<Option<(SocketAddr, Client)>> = vec![None, None, None];
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            if place >= self.requests || self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let sent = self.send(place, &mut clients);
            if sent.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            sent.with_context(|| format!("request {place}"))?;
        }
    }

    /// Sends one until it is answered, at one server after the other.
    fn send(&self, place: usize, clients: &mut [Option<(SocketAddr, Client)>]) -> Result<()> {
        let pulse = pulse_of(place);
        let request = request_of(pulse);
        let until = Instant::now() + ANSWER_MAX;
        for at in place.. {
            ensure!(Instant::now() < until, "pulse {pulse} is not answered");
            let at = (at * 31 + at / 3) % SERVERS;
            let address = self.addresses.read().unwrap_or_else(PoisonError::into_inner)[at];
            let client = match &mut clients[at] {
                Some((known, client)) if *known == address => client,
                place => &mut place.insert((address, Client::new(address))).1,
            };
            match client.send(&request) {
                Ok(answer) if answer.status == 202 => return self.note(pulse, &answer.json()?),
                Ok(answer) if [409, 503].contains(&answer.status) => {}
                Ok(answer) => bail!("{} {}", answer.status, answer.text()),
                // It was killed, or its connections were.
                Err(_) => clients[at] = None,
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn note(&self, pulse: usize, answer: &Value) -> Result<()> {
        let id = answer["id"].as_str().context("no id")?;
        let is_new = answer.get("duplicate").is_none();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, news) = seen.entry(pulse).or_insert_with(|| (id.to_owned(), 0));
        ensure!(first == id, "pulse {pulse} has the ids {first} and {id}");
        *news += u32::from(is_new);
        ensure!(*news <= 1, "pulse {pulse} was accepted twice");
        Ok(())
    }
}

/// The ids of all rows of a server.
fn rows(server: &Server) -> Result<Vec<String>> {
    let (mut client, mut ids, mut cursor) = (server.client(), Vec::new(), String::new());
    loop {
        let page = client.get_json(&format!("/v1/pulses?service=once&limit=1000{cursor}"))?;
        let rows = page["pulses"].as_array().context("a page has no pulses")?;
        ids.extend(rows.iter().filter_map(|row| Some(row["id"].as_str()?.to_owned())));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(ids),
        }
    }
}

/// Kills one server and Redis on the way, each of which is started again at once.
fn disturb(run: &Run, redis: &mut Redis, servers: &mut [Server], dirs: &[TempDir]) -> Result<()> {
    let wait = |part: usize| {
        while run.sent() < run.requests * part / 10 && !run.stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
    };
    wait(3);
    servers[1].kill()?;
    servers[1] = launch(redis, &dirs[1]).start()?;
    run.addresses.write().unwrap_or_else(PoisonError::into_inner)[1] = servers[1].listen();
    wait(6);
    redis.kill()?;
    redis.start_again()?;
    servers.iter().try_for_each(|server| wait_mode(server, "shared"))?;
    ensure!(run.sent() < run.requests, "everything was over before Redis was back");
    Ok(())
}

#[test]
#[ignore = "needs a redis-server"]
fn of_many_requests_that_repeat_each_pulse_is_one_row_though_a_server_and_redis_are_killed()
-> Result<()> {
    let requests = setting("PULSEMESH_IDEMPOTENT_REQUESTS").unwrap_or(REQUESTS);
    let mut redis = durable_redis()?;
    let dirs = [TempDir::new()?, TempDir::new()?, TempDir::new()?];
    let mut servers = Vec::new();
    for dir in &dirs {
        servers.push(launch(&redis, dir).start()?);
    }
    servers.iter().try_for_each(|server| wait_mode(server, "shared"))?;
    let run = Run {
        requests,
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        addresses: RwLock::new(servers.iter().map(Server::listen).collect()),
        seen: Mutex::default(),
    };
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(|| run.send_all())).collect();
        let disturbed = disturb(&run, &mut redis, &mut servers, &dirs);
        run.stop.fetch_or(disturbed.is_err(), Ordering::Relaxed);
        for sender in senders {
            sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        disturbed
    })?;

    let seen = run.seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(seen.len(), requests / 10 * 7, "distinct pulses");
    let mut stored: HashMap<String, u32> = HashMap::new();
    for server in &servers {
        drained(server, SOON)?;
        let rows = rows(server)?;
        ensure!(rows.len() * 10 > seen.len(), "a server has only {} rows", rows.len());
        rows.into_iter().for_each(|id| *stored.entry(id).or_default() += 1);
    }
    let twice = stored.values().filter(|times| **times > 1).count();
    let lost = seen.values().filter(|(id, _)| !stored.contains_key(id)).count();
    assert_eq!((stored.len(), twice, lost), (seen.len(), 0, 0), "rows, twice, lost");
    Ok(())
}
