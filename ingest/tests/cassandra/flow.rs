//! A steady load that keeps the id of every pulse that was acknowledged, and when.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use uuid::Uuid;
use xtask::client::{Client, Request, Response};

/// Pulses of a request.
const REQUEST_PULSES: usize = 100;
/// Between two requests: 2,000 pulses a second leave room for three nodes on two processors.
const INTERVAL: Duration = Duration::from_millis(50);

/// Of the pulses: every third is of the same.
pub(crate) const SERVICES: [&str; 3] = ["fault-0", "fault-1", "fault-2"];

/// A load that goes on until it is stopped.
pub(crate) struct Flow {
    thread: JoinHandle<Result<Acknowledged>>,
    stop: Arc<AtomicBool>,
}

/// What a load was answered.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    answers: Vec<(Instant, Vec<Uuid>)>,
    /// Requests that were answered with another status than 2xx.
    pub(crate) refused: Vec<(u16, String)>,
}

impl Acknowledged {
    /// Of all pulses that were acknowledged.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Uuid> {
        self.answers.iter().flat_map(|(_, ids)| ids).copied()
    }

    /// Of those that were sent after this time.
    pub(crate) fn ids_sent_after(&self, time: Instant) -> impl Iterator<Item = Uuid> {
        self.answers.iter().filter(move |(sent, _)| *sent > time).flat_map(|(_, ids)| ids).copied()
    }

    /// An error if a request was refused.
    pub(crate) fn check_none_refused(&self) -> Result<()> {
        let first = self.refused.first();
        ensure!(first.is_none(), "{} were refused, the first {first:?}", self.refused.len());
        Ok(())
    }
}

impl Flow {
    /// Sends at a level of acknowledgement; each pulse carries `padding` bytes of payload.
    pub(crate) fn start(address: SocketAddr, ack: &'static str, padding: usize) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let send = move || {
            let mut sender = Sender::new(address, ack, padding);
            let mut next = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                sender.send()?;
                // What is late is made up for, so that a pause of the server offers no less.
                next += INTERVAL;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            Ok(sender.seen)
        };
        let thread = Builder::new().name(format!("flow-{ack}")).spawn(send);
        Ok(Self { thread: thread.context("start a thread")?, stop })
    }

    /// Ends the load and gives what it was answered; an error if a connection broke.
    pub(crate) fn stop(self) -> Result<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the load panicked"))?
    }
}

struct Sender {
    client: Client,
    request: Request,
    seen: Acknowledged,
}

impl Sender {
    fn new(address: SocketAddr, ack: &str, padding: usize) -> Self {
        let padding = "x".repeat(padding);
        let body: String = (0..REQUEST_PULSES)
            .map(|number| {
                let (service, kind) = (SERVICES[number % SERVICES.len()], number % 2);
                format!(
                    "{{\"service_name\":\"{service}\",\"kind\":\"kind-{kind}\",\
                     \"payload\":\"{padding}\"}}\n"
                )
            })
            .collect();
        let request = Request::lines(&format!("/pulse?ids=true&ack={ack}"), body);
        Self { client: Client::new(address), request, seen: Acknowledged::default() }
    }

    fn send(&mut self) -> Result<()> {
        let sent = Instant::now();
        let response = self.client.send(&self.request).context("send pulses")?;
        if response.status < 300 {
            self.seen.answers.push((sent, ids(&response)?));
        } else {
            self.seen.refused.push((response.status, response.text()));
        }
        Ok(())
    }
}

fn ids(response: &Response) -> Result<Vec<Uuid>> {
    let answer = response.json()?;
    let ids = answer["ids"].as_array().context("an answer without ids")?;
    let ids = ids.iter().map(|id| Ok(Uuid::parse_str(id.as_str().context("no id")?)?));
    let ids = ids.collect::<Result<Vec<_>>>()?;
    ensure!(ids.len() == REQUEST_PULSES, "{answer}");
    Ok(ids)
}
