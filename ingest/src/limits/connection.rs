//! One connection to Redis: made with what lies in files at that moment, asked with a time-out.
//! Tells no password, in no error and no log.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, TlsCertificates,
};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::fs::{OsFs, read_file};

use super::script::{LEND, Loan};

/// Longest time until a connection is made, with the login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for an answer: what a slice lasts at the whole limit's rate, so that a tenant
/// meets a Redis that hangs for little longer than what is at hand lasts.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);
/// A limit that nobody has, to see whether Redis lends.
const PROBE_KEY: &str = "pulsemesh:limit:probe";
/// Longest password, and longest file of certificates.
const PASSWORD_BYTES_MAX: usize = 4 * 1024;
const CERTIFICATES_BYTES_MAX: usize = 1024 * 1024;

/// How Redis is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The number of its database.
    pub database: u16,
    /// Who logs in; `None`: the default user.
    pub username: Option<String>,
    /// The file of the password, read for each connection; `None`: no login.
    pub password: Option<PathBuf>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The PEM file of those who may sign its certificate; `None`: those whom the system trusts.
    pub tls_ca: Option<PathBuf>,
}

/// Why Redis can't be asked.
#[derive(Debug, Error)]
pub(crate) enum RedisFault {
    #[error("read {what} failed")]
    File { what: &'static str, source: io::Error },
    #[error("{what} is empty or is not text")]
    NotText { what: &'static str },
    #[error("ask Redis failed")]
    Asked(#[source] RedisError),
    #[error("Redis did not answer in time")]
    Late,
    #[error("Redis answered something else than was asked")]
    Strange,
}

/// A connection that has answered.
pub(super) struct Connection(MultiplexedConnection);

impl Connection {
    /// Connects, and sees that it is answered: a Redis that hangs is connected to as well.
    pub(super) async fn open(settings: &RedisSettings) -> Result<Self, RedisFault> {
        let client = redis_client(settings).await?;
        // Bounds of ours are around all of it.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT));
        let connect = async {
            let inner = client.get_multiplexed_async_connection_with_config(&config).await?;
            let mut connection = Self(inner);
            // A replica, or one that is full, would answer a PING.
            let nothing = Loan { key: PROBE_KEY.to_owned(), units_us: 0, burst_us: 0 };
            connection.lend_now(&[nothing]).await?;
            Ok(connection)
        };
        within(CONNECT_TIMEOUT, connect).await
    }

    /// Asks for loans; gives the microseconds until each may be used.
    pub(super) async fn lend(&mut self, loans: &[Loan]) -> Result<Vec<u64>, RedisFault> {
        within(ANSWER_TIMEOUT, self.lend_now(loans)).await
    }

    async fn lend_now(&mut self, loans: &[Loan]) -> Result<Vec<u64>, RedisError> {
        let mut questions = ::redis::pipe();
        for Loan { key, units_us, burst_us } in loans {
            questions.cmd("EVAL").arg(LEND).arg(1).arg(key).arg(units_us).arg(burst_us);
        }
        questions.query_async(&mut self.0).await
    }

    /// Sees whether it is there.
    pub(super) async fn ping(&mut self) -> Result<(), RedisFault> {
        let ping = ::redis::cmd("PING");
        within(ANSWER_TIMEOUT, async { ping.query_async::<()>(&mut self.0).await }).await
    }
}

/// An answer of Redis, within a time.
pub(crate) async fn within<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisFault> {
    match timeout(time, answer).await {
        Ok(answer) => answer.map_err(RedisFault::Asked),
        Err(_elapsed) => Err(RedisFault::Late),
    }
}

/// What connects to Redis, with what lies in the files now.
pub(crate) async fn redis_client(settings: &RedisSettings) -> Result<Client, RedisFault> {
    let own = settings.clone();
    let read = spawn_blocking(move || client(&own)).await;
    read.map_err(|source| RedisFault::File {
        what: "the files of the connection",
        source: io::Error::other(source),
    })?
}

fn client(settings: &RedisSettings) -> Result<Client, RedisFault> {
    let (host, port) = (settings.host.clone(), settings.port);
    let mut login =
        RedisConnectionInfo::default().set_db(i64::from(settings.database)).set_skip_set_lib_name();
    if let Some(username) = &settings.username {
        login = login.set_username(username);
    }
    if let Some(path) = &settings.password {
        login = login.set_password(secret(path)?);
    }
    let address = if settings.tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let info: ConnectionInfo = address.into_connection_info().map_err(RedisFault::Asked)?;
    let info = info.set_redis_settings(login);
    let Some(path) = settings.tls_ca.as_ref().filter(|_| settings.tls) else {
        return Client::open(info).map_err(RedisFault::Asked);
    };
    let what = "--redis-tls-ca-file";
    let root_cert = read_file(&OsFs, path, CERTIFICATES_BYTES_MAX)
        .map_err(|source| RedisFault::File { what, source })?;
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(root_cert) };
    Client::build_with_tls(info, certificates).map_err(RedisFault::Asked)
}

/// A file's text without the newline that editors put at its end.
fn secret(path: &Path) -> Result<String, RedisFault> {
    let what = "--redis-password-file";
    let bytes = read_file(&OsFs, path, PASSWORD_BYTES_MAX)
        .map_err(|source| RedisFault::File { what, source })?;
    let text = String::from_utf8(bytes).map_err(|_| RedisFault::NotText { what })?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(RedisFault::NotText { what }),
        password => Ok(password.to_owned()),
    }
}
