//! The shared part in Cassandra or Scylla: one row a key, changed on condition of what it is.
//! The rules are those of [`script`](super::script), step by step: each step is a conditional
//! write of four round trips between replicas.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::client::session::Session;
use scylla::errors::{ExecutionError, PrepareError};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::{CqlValue, Row};
use thiserror::Error;
use tokio::time::timeout;

use crate::reservation::Fixed;
use crate::store::cassandra::SharedLink;

use super::entry::{FIXED_BYTES, Question, SharedKey, Verdict, decode, encode};
use super::group::{Group, Token, Told};
use super::link::{Link, Owner};
use super::redis::left_ms;

/// Conditional writes at once: enough to hide four round trips, few enough to leave the database
/// to its rows.
const WRITES_MAX: usize = 64;
/// For one of them, before it is tried again.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is tried: it may have been done though it failed, which the next try sees.
const TRIES: usize = 3;
/// For the table to be there on all nodes.
const TABLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Why the database can't be asked.
#[derive(Debug, Error)]
pub(crate) enum CassandraFault {
    #[error("{0}")]
    Down(String),
    #[error("make table pulse_idempotency failed")]
    Table(#[source] ExecutionError),
    #[error("prepare the statements failed")]
    Prepare(#[source] PrepareError),
    #[error("write on condition failed")]
    Write(#[source] ExecutionError),
    #[error("{0} took too long")]
    Late(&'static str),
    #[error("the answer has other columns than were asked for")]
    Strange,
}

/// A session with its statements. Cloning shares it.
#[derive(Clone)]
pub(super) struct Connection {
    session: Arc<Session>,
    statements: Arc<Statements>,
    owner: Owner,
    window: Duration,
    lease: Duration,
}

struct Statements {
    find: PreparedStatement,
    insert: PreparedStatement,
    swap: PreparedStatement,
    delete: PreparedStatement,
}

/// What a row holds, in bytes: state, what it leads to, and unless it is committed the holder's
/// log, token, and until when it holds it in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Value {
    state: u8,
    leads: Fixed,
    log: [u8; 16],
    token: Token,
    until_ms: i64,
}

const COMMITTED: u8 = b'c';
const TAKEN: u8 = b'p';
const TAKEN_OVER: u8 = b't';

impl Value {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.state];
        bytes.extend_from_slice(&encode(&self.leads));
        if self.state != COMMITTED {
            bytes.extend_from_slice(&self.log);
            bytes.extend_from_slice(&self.token.to_be_bytes());
            bytes.extend_from_slice(&self.until_ms.to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&state, rest) = bytes.split_first()?;
        let (leads, rest) = rest.split_at_checked(FIXED_BYTES)?;
        let value = Self { state, leads: decode(leads)?, log: [0; 16], token: 0, until_ms: 0 };
        if state == COMMITTED {
            return Some(value);
        }
        Some(Self {
            log: rest.get(..16)?.try_into().ok()?,
            token: Token::from_be_bytes(rest.get(16..24)?.try_into().ok()?),
            until_ms: i64::from_be_bytes(rest.get(24..32)?.try_into().ok()?),
            ..value
        })
    }
}

/// What a pulse's key is to one who wants it.
enum Seen {
    InFlight,
    Committed(Fixed),
    Reused,
    /// It may be taken over, with what it leads to where that is to be kept.
    Free(Option<Fixed>),
}

impl Connection {
    /// Makes the table where it is missing, and prepares the statements.
    pub(super) async fn open(shared: &SharedLink, link: &Link) -> Result<Self, CassandraFault> {
        let session = shared.session().map_err(CassandraFault::Down)?;
        let late = |_| CassandraFault::Late("making table pulse_idempotency");
        let table = async {
            let made = session.query_unpaged(shared.idempotency_table(link.window), ()).await;
            made.map_err(CassandraFault::Table)?;
            // What does not agree yet fails the first write, and is tried again.
            let _ = session.await_schema_agreement().await;
            Ok::<_, CassandraFault>(())
        };
        timeout(TABLE_TIMEOUT, table).await.map_err(late)??;
        let mut find =
            prepare(&session, "SELECT value FROM pulse_idempotency WHERE tenant = ? AND key = ?")
                .await?;
        // As it is once all conditional writes before have ended.
        find.set_consistency(Consistency::LocalSerial);
        let statements = Statements {
            find,
            insert: prepare(
                &session,
                "INSERT INTO pulse_idempotency (tenant, key, value) VALUES (?, ?, ?) \
                 IF NOT EXISTS USING TTL ?",
            )
            .await?,
            swap: prepare(
                &session,
                "UPDATE pulse_idempotency USING TTL ? SET value = ? WHERE tenant = ? AND key = ? \
                 IF value = ?",
            )
            .await?,
            delete: prepare(
                &session,
                "DELETE FROM pulse_idempotency WHERE tenant = ? AND key = ? IF value = ?",
            )
            .await?,
        };
        let statements = Arc::new(statements);
        Ok(Self { session, statements, owner: link.owner, window: link.window, lease: link.lease })
    }

    /// Tells and asks all of a group; one verdict for each question.
    pub(super) async fn send(
        &self,
        group: &Group,
        now_us: i64,
    ) -> Result<Vec<Verdict>, CassandraFault> {
        let told: Vec<_> = group.told.iter().map(|told| self.tell(told, now_us)).collect();
        stream::iter(told).buffer_unordered(WRITES_MAX).try_collect::<()>().await?;
        let now_ms = now_us / 1_000;
        let taken = group.taken.iter().map(|(question, token)| self.take(question, *token, now_ms));
        stream::iter(taken.collect::<Vec<_>>()).buffered(WRITES_MAX).try_collect().await
    }

    async fn take(
        &self,
        question: &Question,
        token: Token,
        now_ms: i64,
    ) -> Result<Verdict, CassandraFault> {
        let (mut known, mut committed): (Option<Fixed>, Option<Fixed>) = (None, None);
        let mut against = None;
        for key in &question.keys {
            let seen = match committed {
                // Nothing is to be taken any more; it may be another pulse's.
                Some(_) => self.look(key, &question.fixed, now_ms).await?,
                None => self.take_key(key, question.fixed, token, now_ms).await?,
            };
            let is_other = |fixed: &Fixed| known.is_some_and(|known| known.id != fixed.id);
            match seen {
                Seen::Free(None) => continue,
                Seen::InFlight => against = Some(Verdict::InFlight),
                Seen::Reused => against = Some(Verdict::Reused),
                Seen::Free(Some(fixed)) | Seen::Committed(fixed) if is_other(&fixed) => {
                    against = Some(Verdict::Reused);
                }
                Seen::Free(Some(fixed)) => known = Some(fixed),
                Seen::Committed(fixed) => (known, committed) = (Some(fixed), Some(fixed)),
            }
            if against.is_some() {
                break;
            }
        }
        let Some(verdict) = against.or(committed.map(Verdict::Repeat)) else {
            return Ok(Verdict::New(known));
        };
        // All or none.
        for key in &question.keys {
            self.give_back(key, token, true).await?;
        }
        Ok(verdict)
    }

    /// What a key is, without taking it.
    async fn look(
        &self,
        key: &SharedKey,
        wanted: &Fixed,
        now_ms: i64,
    ) -> Result<Seen, CassandraFault> {
        let held = self.find(key).await?.and_then(|found| Value::decode(&found));
        Ok(held.map_or(Seen::Free(None), |held| self.judge(&held, wanted, now_ms)))
    }

    /// Takes one key if it may be taken; says what it was.
    async fn take_key(
        &self,
        key: &SharedKey,
        wanted: Fixed,
        token: Token,
        now_ms: i64,
    ) -> Result<Seen, CassandraFault> {
        let until_ms = now_ms + self.lease.as_millis() as i64;
        let log = *self.owner.log.as_bytes();
        let value = Value { state: TAKEN, leads: wanted, log, token, until_ms };
        let seconds = seconds(self.window.as_millis() as u64);
        let Some(mut found) = self.insert(key, &value, seconds).await? else {
            return Ok(Seen::Free(None));
        };
        // Others may change it meanwhile; each time somebody gets further.
        for _ in 0..TRIES {
            let held = Value::decode(&found).ok_or(CassandraFault::Strange)?;
            let seen = self.judge(&held, &wanted, now_ms);
            let Seen::Free(leads) = seen else { return Ok(seen) };
            let mine = Value {
                state: if leads.is_some() { TAKEN_OVER } else { TAKEN },
                leads: leads.unwrap_or(wanted),
                ..value
            };
            match self.swap(key, &found, &mine, seconds).await? {
                None => return Ok(Seen::Free(leads)),
                // Gone since: for the next try.
                Some(now) if now.is_empty() => match self.insert(key, &value, seconds).await? {
                    None => return Ok(Seen::Free(None)),
                    Some(now) => found = now,
                },
                Some(now) => found = now,
            }
        }
        Ok(Seen::InFlight)
    }

    fn judge(&self, held: &Value, wanted: &Fixed, now_ms: i64) -> Seen {
        let same = held.leads.body_hash == wanted.body_hash;
        let own = held.log == *self.owner.log.as_bytes();
        match held.state {
            COMMITTED if same => Seen::Committed(held.leads),
            COMMITTED => Seen::Reused,
            _ if !own && held.until_ms > now_ms => Seen::InFlight,
            _ if same => Seen::Free(Some(held.leads)),
            // It is in no log of ours: it would have been known here.
            TAKEN if own => Seen::Free(None),
            _ => Seen::Reused,
        }
    }

    async fn tell(&self, told: &Told, now_us: i64) -> Result<(), CassandraFault> {
        match told {
            Told::Logged(key, fixed) => {
                let left = left_ms(self.window, now_us - fixed.received_at_us);
                self.commit(key, *fixed, seconds(left)).await
            }
            Told::GivenBack { key, token, certain } => self.give_back(key, *token, *certain).await,
        }
    }

    async fn commit(
        &self,
        key: &SharedKey,
        leads: Fixed,
        seconds: i32,
    ) -> Result<(), CassandraFault> {
        let value = Value { state: COMMITTED, leads, log: [0; 16], token: 0, until_ms: 0 };
        let mut found = self.insert(key, &value, seconds).await?;
        while let Some(now) = found {
            found = match now.first() {
                Some(&COMMITTED) => return Ok(()),
                Some(_) => self.swap(key, &now, &value, seconds).await?,
                None => self.insert(key, &value, seconds).await?,
            };
        }
        Ok(())
    }

    async fn give_back(
        &self,
        key: &SharedKey,
        token: Token,
        certain: bool,
    ) -> Result<(), CassandraFault> {
        let Some(found) = self.find(key).await? else { return Ok(()) };
        let held = Value::decode(&found).filter(|held| held.token == token);
        let Some(held) = held.filter(|held| held.state != COMMITTED) else { return Ok(()) };
        if held.state == TAKEN && certain {
            let bound = (&*key.tenant, key.hash.as_slice(), found.as_slice());
            return self.write(&self.statements.delete, bound).await.map(drop);
        }
        let free = Value { state: TAKEN_OVER, until_ms: 0, ..held };
        let left = seconds(self.window.as_millis() as u64);
        self.swap(key, &found, &free, left).await.map(drop)
    }

    /// What is there, once all conditional writes before have ended.
    async fn find(&self, key: &SharedKey) -> Result<Option<Vec<u8>>, CassandraFault> {
        let bound = (&*key.tenant, key.hash.as_slice());
        let found = self.session.execute_unpaged(&self.statements.find, bound).await;
        let rows = found.map_err(CassandraFault::Write)?.into_rows_result();
        let row = rows.ok().and_then(|rows| rows.maybe_first_row::<(Option<Vec<u8>>,)>().ok());
        Ok(row.ok_or(CassandraFault::Strange)?.and_then(|(value,)| value))
    }

    /// `None`: it is there now; else what was there already.
    async fn insert(
        &self,
        key: &SharedKey,
        value: &Value,
        seconds: i32,
    ) -> Result<Option<Vec<u8>>, CassandraFault> {
        let bytes = value.encode();
        let bound = (&*key.tenant, key.hash.as_slice(), bytes.as_slice(), seconds);
        let found = self.write(&self.statements.insert, bound).await?;
        Ok(found.filter(|found| *found != bytes))
    }

    /// `None`: it is changed; else what is there instead, empty where nothing is.
    async fn swap(
        &self,
        key: &SharedKey,
        from: &[u8],
        to: &Value,
        seconds: i32,
    ) -> Result<Option<Vec<u8>>, CassandraFault> {
        let bytes = to.encode();
        let bound = (seconds, bytes.as_slice(), &*key.tenant, key.hash.as_slice(), from);
        let found = self.write(&self.statements.swap, bound).await?;
        Ok(found.filter(|found| *found != bytes))
    }

    /// Writes on condition: `None` where it held, else the value that stood against it.
    async fn write(
        &self,
        statement: &PreparedStatement,
        bound: impl SerializeRow + Copy,
    ) -> Result<Option<Vec<u8>>, CassandraFault> {
        let mut failed = CassandraFault::Strange;
        for _ in 0..TRIES {
            match self.session.execute_unpaged(statement, bound).await {
                Ok(result) => {
                    let rows = result.into_rows_result().map_err(|_| CassandraFault::Strange)?;
                    let place = rows.column_specs().iter().position(|spec| spec.name() == "value");
                    let row: Row = rows.first_row().map_err(|_| CassandraFault::Strange)?;
                    return outcome(row, place).ok_or(CassandraFault::Strange);
                }
                Err(error) => failed = CassandraFault::Write(error),
            }
        }
        Err(failed)
    }
}

async fn prepare(session: &Session, text: &str) -> Result<PreparedStatement, CassandraFault> {
    let mut statement = session.prepare(text).await.map_err(CassandraFault::Prepare)?;
    statement.set_consistency(Consistency::LocalQuorum);
    statement.set_serial_consistency(Some(SerialConsistency::LocalSerial));
    statement.set_request_timeout(Some(WRITE_TIMEOUT));
    Ok(statement)
}

/// Whether the condition of a write held, from the row that it is answered with.
fn outcome(mut row: Row, place: Option<usize>) -> Option<Option<Vec<u8>>> {
    if let Some(CqlValue::Boolean(true)) = row.columns.first()? {
        return Some(None);
    }
    let value = place.and_then(|place| row.columns.get_mut(place)?.take());
    match value {
        None => Some(Some(Vec::new())),
        Some(CqlValue::Blob(bytes)) => Some(Some(bytes)),
        Some(_) => None,
    }
}

fn seconds(milliseconds: u64) -> i32 {
    i32::try_from(milliseconds.div_ceil(1_000)).unwrap_or(i32::MAX).max(1)
}
