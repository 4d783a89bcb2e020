//! Who may change the tables: a row that is written on condition, and that goes by itself when
//! its holder is gone. Within a datacenter there is one holder; processes of two datacenters may
//! meet, which costs nothing but work: every change may be made twice.

use std::time::{Duration, Instant};

use tracing::warn;
use uuid::Uuid;

use super::definitions::LOCK;
use super::error::{SchemaError, unread};
use super::requests::Requests;

const DOING: &str = "lock the tables";
/// What is locked, as the row's key.
const NAME: &str = "schema";

/// A lease that is held.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    requests: Requests<'a>,
    keyspace: &'a str,
    holder: Uuid,
    length: Duration,
    since: Instant,
}

impl<'a> Lease<'a> {
    /// Takes the lease for so long, if nobody else has it. A holder that was interrupted takes
    /// it again.
    pub(super) async fn take(
        requests: Requests<'a>,
        keyspace: &'a str,
        (holder, length): (Uuid, Duration),
    ) -> Result<Self, SchemaError> {
        let mut lease = Self { requests, keyspace, holder, length, since: Instant::now() };
        let cql = format!(
            "INSERT INTO {keyspace}.{LOCK} (name, holder) VALUES (?, ?) IF NOT EXISTS USING TTL ?"
        );
        let sent = requests.write(DOING, &cql, (NAME, holder, lease.seconds())).await;
        lease.settle(sent).await?;
        // It may have been taken before an interruption, and have little time left.
        lease.renew().await?;
        Ok(lease)
    }

    /// Makes it last, once half of it has gone. An error: it is another's, or may be.
    pub(super) async fn extend(&mut self) -> Result<(), SchemaError> {
        if self.since.elapsed() < self.length / 2 {
            return Ok(());
        }
        self.renew().await
    }

    async fn renew(&mut self) -> Result<(), SchemaError> {
        let since = Instant::now();
        let cql = format!(
            "UPDATE {}.{LOCK} USING TTL ? SET holder = ? WHERE name = ? IF holder = ?",
            self.keyspace
        );
        let values = (self.seconds(), self.holder, NAME, self.holder);
        let sent = self.requests.write(DOING, &cql, values).await;
        self.settle(sent).await?;
        self.since = since;
        Ok(())
    }

    /// Gives it back; if that fails, it ends by itself.
    pub(super) async fn release(self) {
        let cql = format!("DELETE FROM {}.{LOCK} WHERE name = ? IF holder = ?", self.keyspace);
        if let Err(error) = self.requests.write(DOING, &cql, (NAME, self.holder)).await {
            let seconds = self.seconds();
            warn!(error = ?error, seconds, "the lock of the tables is not given back, it expires");
        }
    }

    /// Finds out who has it after a conditional write, which may have been done although it
    /// failed: reading makes an unfinished one end.
    async fn settle(&self, sent: Result<(), SchemaError>) -> Result<(), SchemaError> {
        let cql = format!("SELECT holder FROM {}.{LOCK} WHERE name = ?", self.keyspace);
        let rows = self.requests.settled_rows(DOING, &cql, (NAME,)).await?;
        let row = rows.maybe_first_row::<(Option<Uuid>,)>().map_err(unread(DOING))?;
        match row.and_then(|(holder,)| holder) {
            Some(holder) if holder == self.holder => Ok(()),
            Some(_) => Err(self.held()),
            None => sent.and_then(|()| Err(self.held())),
        }
    }

    fn held(&self) -> SchemaError {
        SchemaError::LockHeld { keyspace: self.keyspace.to_owned() }
    }

    fn seconds(&self) -> i32 {
        i32::try_from(self.length.as_secs()).unwrap_or(i32::MAX).max(1)
    }
}
