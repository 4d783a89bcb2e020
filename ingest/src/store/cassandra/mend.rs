//! What is done, again and again, until requests can be sent: connect, bring the tables to
//! their newest version, prepare the statements. Then watches whether it stays so.

use std::sync::Arc;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::errors::PrepareError;
use tokio::time::{Instant, interval, timeout};

use crate::sink::drain::RetrySettings;
use crate::sink::drain::backoff::{Backoff, Round};

use super::connect::{Connected, Connector};
use super::link::{Down, Standing};
use super::live::Live;
use super::reason;
use super::schema::{self, error::Again};
use super::settings::CassandraSettings;
use super::statements::Statements;

/// Longest wait after a first failure, and after any number: a database that is back is
/// noticed within the second.
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// For the tables: several changes that each wait for all nodes to agree, behind another
/// process that does the same.
const TABLES_TIMEOUT: Duration = Duration::from_secs(300);
/// For preparing the statements on all nodes.
const STATEMENTS_TIMEOUT: Duration = Duration::from_secs(15);
/// Before the tables are looked at again while another process prepares them.
const WAIT_SOON: Duration = Duration::from_millis(250);
/// Between two looks at the connections.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks in a row without any connection after which a session is given up. The driver may wait
/// 10 s before it tries a node again; a new session tries at once, and looks names up anew.
const LOOKS_MAX: u32 = 2;
/// How long it must be well until a doubt is the first of its kind: below, the next look at the
/// tables waits as after a failure, so that a request that fails for ever asks for few of them.
const WELL_AFTER: Duration = Duration::from_secs(10);
/// Between two looks at the files of the encryption.
const FILES_INTERVAL: Duration = Duration::from_secs(60);

/// Keeps the connection.
pub(super) struct Mender {
    settings: Arc<CassandraSettings>,
    standing: Arc<Standing>,
    connector: Connector,
    backoff: Backoff,
}

/// Why tables or statements are not right yet.
struct Unready {
    why: Down,
    /// Whether that passes by itself at once.
    soon: bool,
}

impl From<Down> for Unready {
    fn from(why: Down) -> Self {
        Self { why, soon: false }
    }
}

/// Why a session is no longer watched.
enum Ended {
    /// Its tables must be looked at again.
    Doubted,
    /// It has no connection left.
    Lost,
    /// There is a newer one, made with other certificates.
    Renewed(Connected),
}

impl Mender {
    pub(super) fn new(settings: Arc<CassandraSettings>, standing: Arc<Standing>) -> Self {
        let connector = Connector::new(Arc::clone(&settings));
        let waits = RetrySettings {
            wait_first: WAIT_FIRST,
            wait_max: WAIT_MAX,
            ..RetrySettings::default()
        };
        Self { settings, standing, connector, backoff: Backoff::new(&waits) }
    }

    /// Mends for ever.
    pub(super) async fn run(self) {
        let mut connected = self.connect().await;
        loop {
            let ended = match self.prepare(&connected).await {
                Some(round) => self.watch(&connected, round).await,
                None => Ended::Lost,
            };
            match ended {
                Ended::Doubted => {}
                Ended::Renewed(newer) => connected = newer,
                Ended::Lost => {
                    // Its tasks end with it: first, so that two never fill the same nodes.
                    drop(connected);
                    connected = self.connect().await;
                }
            }
        }
    }

    /// Connects, however often that takes.
    async fn connect(&self) -> Connected {
        loop {
            let round = self.backoff.wait().await;
            match self.connector.connect().await {
                Ok(connected) => return connected,
                Err(why) => self.failed(round, why),
            }
        }
    }

    /// Makes tables and statements right, however often that takes; `None`: the session has
    /// lost its connections meanwhile.
    async fn prepare(&self, connected: &Connected) -> Option<Round> {
        loop {
            let round = self.backoff.wait().await;
            match self.try_to_prepare(connected).await {
                Ok(live) => {
                    self.standing.up(live);
                    let (datacenter, nodes) = (&*connected.datacenter, connected.nodes());
                    tracing::info!(datacenter, nodes, "the database can be used");
                    return Some(round);
                }
                // Others who start at the same time hold the tables: that passes at once.
                Err(Unready { why, soon: true }) => {
                    self.standing.down(why);
                    tokio::time::sleep(WAIT_SOON).await;
                }
                Err(Unready { why, soon: false }) => self.failed(round, why),
            }
            if !connected.is_connected() {
                return None;
            }
        }
    }

    async fn try_to_prepare(&self, connected: &Connected) -> Result<Live, Unready> {
        let keyspace = &self.settings.keyspace;
        let session = &connected.session;
        let late = |what| Down(format!("{what} of keyspace `{keyspace}` took too long")).into();
        let tables = schema::prepare(session, &self.settings, connected.nodes());
        match timeout(TABLES_TIMEOUT, Box::pin(tables)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let soon = error.again() == Again::Soon;
                return Err(Unready { why: Down(chain(&error)), soon });
            }
            Err(_elapsed) => return Err(late("bringing the tables to their newest version")),
        }
        let statements = async {
            let used = session.use_keyspace(keyspace, false).await;
            used.map_err(|error| Down(format!("use of keyspace `{keyspace}` failed: {error}")))?;
            self.prepare_statements(session).await.map_err(|error| {
                let error = reason::cut(&error.to_string());
                Down(format!("preparing the statements failed: {error}"))
            })
        };
        match timeout(STATEMENTS_TIMEOUT, Box::pin(statements)).await {
            Ok(live) => Ok(live?),
            Err(_elapsed) => Err(late("preparing the statements")),
        }
    }

    async fn prepare_statements(&self, session: &Arc<Session>) -> Result<Live, PrepareError> {
        let consistency = self.settings.consistency;
        let statements = Statements::prepare(session, consistency).await?;
        let mut classes = Vec::new();
        for class in self.settings.classes.iter() {
            let statements = statements.of_class(session, consistency, &class.name).await?;
            let (session, classes_of_it) = (Arc::clone(session), Vec::new());
            classes.push(Arc::new(Live { session, statements, classes: classes_of_it }));
        }
        Ok(Live { session: Arc::clone(session), statements, classes })
    }

    fn failed(&self, round: Round, why: Down) {
        self.backoff.failed(round);
        self.standing.down(why);
    }

    async fn watch(&self, connected: &Connected, round: Round) -> Ended {
        let since = Instant::now();
        let mut looks = interval(LOOK_INTERVAL);
        let mut without = 0;
        let mut files_at = Instant::now() + FILES_INTERVAL;
        loop {
            tokio::select! {
                () = self.standing.doubted() => {}
                _ = looks.tick() => {}
            }
            let is_well = since.elapsed() >= WELL_AFTER;
            if is_well {
                self.backoff.succeeded();
            }
            if !self.standing.is_live() {
                if !is_well {
                    self.backoff.failed(round);
                }
                return Ended::Doubted;
            }
            without = if connected.is_connected() { 0 } else { without + 1 };
            if without >= LOOKS_MAX {
                let nodes = self.settings.nodes.join(", ");
                self.standing.down(Down(format!("every connection was lost; nodes are {nodes}")));
                return Ended::Lost;
            }
            if Instant::now() >= files_at {
                files_at = Instant::now() + FILES_INTERVAL;
                if let Some(newer) = self.renew(connected).await {
                    return Ended::Renewed(newer);
                }
            }
        }
    }

    /// A session with the certificates that the files hold now, if they are others and it can
    /// be made; the older one serves on until then.
    async fn renew(&self, connected: &Connected) -> Option<Connected> {
        if !self.connector.is_outdated(connected).await {
            return None;
        }
        match self.connector.connect().await {
            Ok(newer) => Some(newer),
            Err(why) => {
                tracing::warn!(%why, "changed TLS files can't be used; the former serve on");
                None
            }
        }
    }
}

/// An error with its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
