//! The tables: their definitions by version, and how a keyspace is brought to the newest. Never
//! touches tables that a newer program or another one made.

mod definitions;
pub(super) mod error;
mod keyspace;
mod lease;
mod requests;
mod retention;
mod seen;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;
use std::time::Duration;

use scylla::client::session::Session;
use tracing::{info, warn};
use uuid::Uuid;

use self::definitions::Migration;
use self::error::SchemaError;
use self::lease::Lease;
use self::requests::{Requests, STEP_MAX};
use self::retention::Retention;
use self::seen::{Noted, Seen};
use super::settings::CassandraSettings;
use crate::retention::RetentionClass;

/// How long the lease outlives its holder. A step takes less than half of it, and it is made to
/// last before each.
const LEASE: Duration = Duration::from_secs(2 * STEP_MAX.as_secs() + 6);

/// Brings the keyspace and its tables to the newest version and to the retention of the settings;
/// where all is right, that is two reads. `nodes` is how many the datacenter has. May be called
/// by several processes at once, and again at any time.
pub(crate) async fn prepare(
    session: &Session,
    settings: &CassandraSettings,
    nodes: usize,
) -> Result<(), SchemaError> {
    /// When this process first looked, in milliseconds since 1970 in UTC, and its name.
    static PROCESS: OnceLock<(i64, Uuid)> = OnceLock::new();
    let (began_ms, holder) = *PROCESS.get_or_init(|| ((settings.clock)() / 1000, Uuid::now_v7()));
    let requests = Requests { session, consistency: settings.consistency };
    let preparation = Preparation {
        requests,
        settings,
        class: None,
        nodes,
        began_ms,
        lease: (holder, LEASE),
        migrations: definitions::migrations,
    };
    preparation.run().await?;
    for class in settings.classes.iter() {
        Preparation { class: Some(class), ..preparation }.run().await?;
    }
    tell_unnamed(requests, settings).await;
    Ok(())
}

/// Tells of classes that have tables and are not in the settings: nobody reads what is in them.
async fn tell_unnamed(requests: Requests<'_>, settings: &CassandraSettings) {
    // Nothing depends on it: what can't be asked now is told when the tables are looked at again.
    let Ok(made) = seen::classes(requests, &settings.keyspace).await else { return };
    for class in made.iter().filter(|class| settings.classes.find(class).is_none()) {
        warn!(
            keyspace = settings.keyspace,
            class,
            "there are tables of a retention class that no setting names: pulses in them are not \
             found"
        );
    }
}

/// What is wanted of the tables.
#[derive(Clone, Copy)]
struct Preparation<'a> {
    requests: Requests<'a>,
    settings: &'a CassandraSettings,
    /// Whose tables; `None`: those of the default class, and all that are not of a class.
    class: Option<&'a RetentionClass>,
    nodes: usize,
    /// A process changes the retention of tables only if no other did since it began: so two
    /// with different settings change it once each, not for ever, and the one that began last
    /// wins.
    began_ms: i64,
    /// Who holds the lease, and for how long.
    lease: (Uuid, Duration),
    migrations: fn(&str, Retention) -> Vec<Migration>,
}

impl Preparation<'_> {
    async fn run(&self) -> Result<(), SchemaError> {
        keyspace::check_name(self.keyspace())?;
        let seen = self.look().await?;
        if self.is_right(&seen) {
            self.tell_kept(&seen);
            return Ok(());
        }
        keyspace::make(self.requests, self.settings, self.nodes).await?;
        if let Some(lock) = definitions::create_lock(self.keyspace(), self.wanted()) {
            self.requests.change(&lock).await?;
        }
        let mut lease = Lease::take(self.requests, self.keyspace(), self.lease).await?;
        let done = self.migrate(&mut lease).await;
        lease.release().await;
        done
    }

    /// What there is; refused where it must not be touched.
    async fn look(&self) -> Result<Seen, SchemaError> {
        let seen = Seen::look(self.requests, self.keyspace(), self.class_name()).await?;
        seen.refuse(self.keyspace(), self.newest())?;
        Ok(seen)
    }

    fn is_right(&self, seen: &Seen) -> bool {
        let right = |noted: Noted| {
            noted.version == self.newest() && noted.retention == self.retention(seen)
        };
        seen.is_whole() && seen.noted.is_some_and(right)
    }

    /// Under the lease: whatever is missing. A table that was dropped is made anew by running
    /// all versions again.
    async fn migrate(&self, lease: &mut Lease<'_>) -> Result<(), SchemaError> {
        self.requests.agree().await?;
        let seen = self.look().await?;
        if self.is_right(&seen) {
            return Ok(());
        }
        let retention = self.retention(&seen);
        let from = seen.noted.filter(|_| seen.is_whole()).map_or(0, |noted| noted.version);
        let versions = self.versions(retention);
        for migration in versions.into_iter().filter(|migration| migration.version > from) {
            let (keyspace, class) = (self.keyspace(), self.class_name());
            info!(keyspace, class, version = migration.version, "prepare the tables");
            self.change(migration.statements, lease).await?;
        }
        let keeps = seen.noted.map(|noted| noted.retention);
        if keeps != Some(retention) && !seen.is_fresh() {
            self.tell(keeps, retention);
            let altered = definitions::keep(self.keyspace(), self.class_name(), retention);
            self.change(altered, lease).await?;
        }
        self.note(&seen, retention).await
    }

    async fn change(
        &self,
        statements: Vec<String>,
        lease: &mut Lease<'_>,
    ) -> Result<(), SchemaError> {
        for statement in statements {
            lease.extend().await?;
            self.requests.change(&statement).await?;
        }
        Ok(())
    }

    async fn note(&self, seen: &Seen, retention: Retention) -> Result<(), SchemaError> {
        let kept = seen.noted.filter(|noted| noted.retention == retention);
        let now_ms = || (self.settings.clock)() / 1000;
        let changed_at_ms = kept.map_or_else(now_ms, |noted| noted.changed_at_ms);
        let noted = Noted { version: self.newest(), retention, changed_at_ms };
        noted.write(self.requests, self.keyspace(), self.class_name()).await
    }

    /// The retention that the tables get: the one of the settings, unless another process has
    /// set its own since this one began.
    fn retention(&self, seen: &Seen) -> Retention {
        let later = |noted: &Noted| noted.changed_at_ms >= self.began_ms;
        seen.noted.filter(later).map_or(self.wanted(), |noted| noted.retention)
    }

    fn wanted(&self) -> Retention {
        Retention::new(self.class.map_or(self.settings.retention, |class| class.retention))
    }

    fn versions(&self, retention: Retention) -> Vec<Migration> {
        match self.class_name() {
            None => (self.migrations)(self.keyspace(), retention),
            class => definitions::migrations_of(self.keyspace(), class, retention),
        }
    }

    fn newest(&self) -> i32 {
        let versions = self.versions(self.wanted());
        versions.last().map_or(0, |migration| migration.version)
    }

    fn keyspace(&self) -> &str {
        &self.settings.keyspace
    }

    fn class_name(&self) -> Option<&str> {
        self.class.map(|class| &*class.name)
    }

    fn tell_kept(&self, seen: &Seen) {
        let kept_seconds = self.retention(seen).seconds();
        let wanted_seconds = self.wanted().seconds();
        if kept_seconds != wanted_seconds {
            info!(
                keyspace = self.keyspace(),
                class = self.class_name(),
                kept_seconds,
                wanted_seconds,
                "leave the tables' retention as another process has set it"
            );
        }
    }

    fn tell(&self, keeps: Option<Retention>, retention: Retention) {
        let from_seconds = keeps.map(Retention::seconds);
        let to_seconds = retention.seconds();
        let (keyspace, class) = (self.keyspace(), self.class_name());
        info!(keyspace, class, from_seconds, to_seconds, "change the tables' retention");
    }
}
