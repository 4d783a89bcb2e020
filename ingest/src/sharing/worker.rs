//! The task that asks: keeps the connection, puts the questions of many requests into one round
//! trip, and tells first what could not be told before. Says when others can't be asked.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::limits::{RedisFault, RedisSettings};
use crate::reconnect::Reconnect;
use crate::store::cassandra::SharedLink;

use super::cassandra::{self, CassandraFault};
use super::entry::Verdict;
use super::group::{Ask, Group};
use super::link::Link;
use super::redis;

/// Round trips at once: while one is under way, what comes fills the next.
const GROUPS_MAX: usize = 4;
/// Pulses and keys of a group, with one request's more: some 10 ms of Redis.
const GROUP_LEN_MAX: usize = 2_048;
/// Between two looks at what is late, and at a connection that nobody has a question for.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// A connection that was silent so long is asked whether it is there.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Where what is shared lies.
#[derive(Debug)]
pub(super) enum Backend {
    Redis(RedisSettings),
    Cassandra(SharedLink),
}

/// Why others can't be asked.
#[derive(Debug, Error)]
pub(super) enum Fault {
    #[error("use of Redis failed")]
    Redis(#[from] RedisFault),
    #[error("use of Cassandra failed")]
    Cassandra(#[source] Box<CassandraFault>),
}

impl From<CassandraFault> for Fault {
    fn from(fault: CassandraFault) -> Self {
        Self::Cassandra(Box::new(fault))
    }
}

#[derive(Clone)]
enum Connection {
    Redis(redis::Connection),
    Cassandra(cassandra::Connection),
}

impl Connection {
    /// Sends a group; an empty one asks whether anybody is there.
    async fn send(&mut self, group: &Group, link: &Link) -> Result<Vec<Verdict>, Fault> {
        let now_us = (link.clock)();
        link.metrics.asked();
        Ok(match self {
            Self::Redis(redis) if group.len() == 0 => {
                redis.announce().await?;
                Vec::new()
            }
            Self::Redis(redis) => redis.send(group, now_us).await?,
            Self::Cassandra(cassandra) => cassandra.send(group, now_us).await?,
        })
    }
}

/// Asks for as long as the process runs.
#[derive(Debug)]
pub(crate) struct Worker {
    link: Arc<Link>,
    asks: mpsc::Receiver<Ask>,
    backend: Backend,
}

type Sent = (Group, Result<Vec<Verdict>, Fault>);

impl Worker {
    pub(super) fn new(link: Arc<Link>, asks: mpsc::Receiver<Ask>, backend: Backend) -> Self {
        Self { link, asks, backend }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let reconnect = Reconnect::new();
        loop {
            let attempt = reconnect.attempt().await;
            let fault = match self.open().await {
                Ok(connection) => {
                    info!("ids and keys are shared with other processes");
                    self.link.set(true);
                    let fault = self.serve(connection).await;
                    self.link.set(false);
                    fault
                }
                Err(fault) => fault,
            };
            self.fail_waiting();
            if reconnect.has_failed_first(attempt).await {
                let error = anyhow::Error::new(fault);
                warn!(error = format!("{error:#}"), "ids and keys are not shared");
            }
        }
    }

    /// Connects, and tells what is late before anybody may take what is in a log already.
    async fn open(&self) -> Result<Connection, Fault> {
        let mut connection = match &self.backend {
            Backend::Redis(settings) => {
                Connection::Redis(redis::Connection::open(settings, &self.link).await?)
            }
            Backend::Cassandra(shared) => {
                Connection::Cassandra(cassandra::Connection::open(shared, &self.link).await?)
            }
        };
        loop {
            let group = Group::of(self.link.late.take(GROUP_LEN_MAX));
            let last = group.len() == 0;
            match connection.send(&group, &self.link).await {
                Ok(_) if last => return Ok(connection),
                Ok(_) => {}
                Err(fault) => {
                    self.link.late.put_back(group.told);
                    return Err(fault);
                }
            }
        }
    }

    /// Asks until that fails.
    async fn serve(&mut self, connection: Connection) -> Fault {
        let mut flying = FuturesUnordered::new();
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sent_at = Instant::now();
        let fault = loop {
            let has_room = flying.len() < GROUPS_MAX;
            let group = tokio::select! {
                Some(sent) = flying.next() => match self.ended(sent) {
                    Some(fault) => break fault,
                    None => continue,
                },
                Some(ask) = self.asks.recv(), if has_room => self.gather(ask),
                _ = looks.tick(), if has_room => Group::of(self.link.late.take(GROUP_LEN_MAX)),
            };
            if group.len() == 0 && sent_at.elapsed() < SILENCE_MAX {
                continue;
            }
            sent_at = Instant::now();
            flying.push(send(connection.clone(), group, Arc::clone(&self.link)));
        };
        // They have their time-out.
        while let Some(sent) = flying.next().await {
            self.ended(sent);
        }
        fault
    }

    /// A group with this and with what waits beside it.
    fn gather(&mut self, ask: Ask) -> Group {
        let mut group = Group::default();
        group.add(ask);
        while group.len() < GROUP_LEN_MAX
            && let Ok(ask) = self.asks.try_recv()
        {
            group.add(ask);
        }
        group
    }

    fn ended(&self, (group, result): Sent) -> Option<Fault> {
        match result {
            Ok(verdicts) => {
                group.answer(verdicts);
                None
            }
            Err(fault) => {
                self.link.late.put_back(group.told);
                Some(fault)
            }
        }
    }

    /// Nobody waits for what can't be asked now.
    fn fail_waiting(&mut self) {
        while let Ok(ask) = self.asks.try_recv() {
            let mut group = Group::default();
            group.add(ask);
            self.link.late.add(group.told);
        }
    }
}

async fn send(mut connection: Connection, group: Group, link: Arc<Link>) -> Sent {
    let result = connection.send(&group, &link).await;
    (group, result)
}
