//! From settings to running parts. The one place that knows them all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use prometheus_client::registry::Registry;

use crate::clock::system_clock;
use crate::fs::{OsFs, read_file, replace_file};
use crate::ingestor::{Ingestor, IngestorBuilder, LogBounds, Overflow};
use crate::limits::{Lender, Limiter};
use crate::log::DataDirLock;
use crate::metrics::{Metrics, ReloadMetrics};
use crate::reload::Reload;
use crate::retention::RetentionClasses;
use crate::server::ServerSettings;
use crate::server::tls::{PEM_BYTES_MAX, Tls, TlsFiles};
use crate::settings::{self, Settings, ShareChoice, Storage, StoreChoice};
use crate::sharing::Shared;
use crate::store::Store;
use crate::store::cassandra::metrics::CassandraMetrics;
use crate::store::cassandra::settings::CassandraSettings;
use crate::store::cassandra::{CassandraStore, SharedLink};
use crate::store::embedded::{EmbeddedSettings, EmbeddedStore};
use crate::store::memory::{MemoryStore, MemoryStoreLimits};
use crate::tenant::{Table, Tenants, file};

/// Beyond what a `stored` request may wait: the answer itself.
const HANDLER_SLACK: Duration = Duration::from_secs(5);

/// The store as the settings say.
pub(super) fn as_it_is(store: Arc<dyn Store>) -> Arc<dyn Store> {
    store
}

/// Takes the data directory, opens the store in it, and starts an ingestor on both. `registry`
/// gets the metrics of that store; `wrap` may put another before it.
pub(super) fn ingestor(
    settings: &Settings,
    (limiter, metrics): (Arc<Limiter>, Arc<Metrics>),
    tenants: Option<Arc<Tenants>>,
    registry: &mut Registry,
    wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
) -> anyhow::Result<Ingestor> {
    let directory = &settings.storage.data_dir;
    let lock = DataDirLock::acquire(directory)?;
    let (store, link) = store(&settings.storage, directory, registry)?;
    let shared = shared(settings, link)?;
    let mut builder = configured(settings).limiter(limiter).metrics(metrics);
    if let Some(tenants) = tenants {
        builder = builder.tenants(tenants);
    }
    Ok(builder.lock(lock).shared(shared).store(wrap(store)).build()?)
}

/// What counts the limits of tenants, and who keeps it shared where it is.
pub(super) fn limiter(
    settings: &settings::Counting,
    metrics: &Metrics,
) -> (Arc<Limiter>, Option<Lender>) {
    let settings::Counting { redis, without_redis, divide_by } = settings.clone();
    let metrics = metrics.limits.clone();
    match redis {
        None => (Limiter::new(divide_by, metrics), None),
        Some(redis) => {
            let (limiter, lender) = Limiter::shared(divide_by, redis, without_redis, metrics);
            (limiter, Some(lender))
        }
    }
}

/// Who knows of ids and keys beside this process.
fn shared(settings: &Settings, link: Option<SharedLink>) -> anyhow::Result<Shared> {
    let on_failure = settings.repeats.on_failure;
    Ok(match settings.repeats.shared {
        ShareChoice::Local => Shared::Local,
        ShareChoice::Redis => {
            let redis = settings.counting.redis.clone();
            Shared::Redis(redis.context("--idempotency redis needs --redis-url")?, on_failure)
        }
        ShareChoice::Cassandra => {
            let link = link.context("--idempotency cassandra needs --store cassandra")?;
            Shared::Cassandra(link, on_failure)
        }
    })
}

/// The file that says which store a data directory began with.
const STORE_FILE: &str = "store.kind";

/// Another store would lack what this directory's log has handed out already.
fn keep_to_one_store(storage: &Storage, directory: &Path) -> anyhow::Result<()> {
    let kind = match storage.store {
        StoreChoice::Memory { .. } => "memory",
        StoreChoice::Embedded => "embedded",
        StoreChoice::Cassandra(_) => "cassandra",
    };
    let path = directory.join(STORE_FILE);
    match read_file(&OsFs, &path, 64) {
        Ok(found) if found == kind.as_bytes() => Ok(()),
        Ok(found) => bail!(
            "the pulses in {} went to the store `{found}`: start with --store {found}, \
             or with another --data-dir",
            directory.display(),
            found = String::from_utf8_lossy(&found)
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            replace_file(&OsFs, &path, kind.as_bytes())
                .with_context(|| format!("write {} failed", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("read {} failed", path.display())),
    }
}

/// The store, and its connection where it has one that others may use.
fn store(
    storage: &Storage,
    directory: &Path,
    registry: &mut Registry,
) -> anyhow::Result<(Arc<dyn Store>, Option<SharedLink>)> {
    keep_to_one_store(storage, directory)?;
    Ok(match &storage.store {
        &StoreChoice::Memory { rows_max, bytes_max } => {
            (Arc::new(MemoryStore::new(MemoryStoreLimits { rows_max, bytes_max })), None)
        }
        StoreChoice::Embedded => {
            let classes = storage.retention_classes.clone();
            let settings = EmbeddedSettings { classes, ..EmbeddedSettings::new(storage.retention) };
            let store = EmbeddedStore::open(&directory.join("store"), settings)
                .context("open the embedded store failed")?;
            (store, None)
        }
        StoreChoice::Cassandra(choice) => {
            let settings = cassandra(choice, storage, directory.join("store"));
            let metrics = CassandraMetrics::register(registry);
            let store = CassandraStore::open(settings, metrics)
                .context("open the Cassandra store failed")?;
            let link = store.shared_link();
            (store, Some(link))
        }
    })
}

fn cassandra(
    choice: &settings::Cassandra,
    storage: &Storage,
    directory: PathBuf,
) -> CassandraSettings {
    let settings::Cassandra {
        nodes,
        keyspace,
        datacenter,
        replication_factor,
        consistency,
        credentials,
        tls,
        id_index,
        compression,
        request_timeout,
        requests_max,
    } = choice.clone();
    CassandraSettings {
        nodes,
        keyspace,
        datacenter,
        replication_factor,
        consistency,
        credentials,
        tls,
        retention: storage.retention,
        classes: storage.retention_classes.clone(),
        id_index,
        compression,
        request_timeout,
        requests_max,
        directory,
        clock: system_clock(),
    }
}

fn configured(settings: &Settings) -> IngestorBuilder {
    // Every part is named, so that a setting that is forgotten here does not compile.
    let Settings {
        listen: _,
        storage,
        ack,
        log,
        drain,
        repeats,
        limits: _,
        counting: _,
        access: _,
        stop: _,
        telemetry: _,
        warnings: _,
    } = settings;
    let settings::Acks { default, max, stored_timeout, buffer } = ack;
    let settings::Buffer { pulses_max, bytes_max, overflow } = buffer;
    let settings::Log { budget_bytes, segment_bytes, free_bytes_min } = *log;
    let settings::Drain {
        batch_rows,
        flush_interval,
        workers,
        window_bytes,
        dead_letter_bytes_max,
    } = *drain;
    let settings::Repeats { window, keys_max, shared: _, on_failure: _ } = *repeats;
    Ingestor::builder(&storage.data_dir)
        .ack(*default)
        .ack_highest(*max)
        .stored_timeout(*stored_timeout)
        .buffer_size(*pulses_max)
        .buffer_bytes(*bytes_max)
        .overflow(match overflow {
            settings::Overflow::Refuse => Overflow::Refuse,
            settings::Overflow::Drop => Overflow::Drop,
        })
        .log_bounds(LogBounds { budget_bytes, segment_bytes, free_bytes_min })
        .batch_size(batch_rows)
        .flush_interval(flush_interval)
        .workers(workers)
        .window_bytes(window_bytes)
        .dead_letter_bytes(dead_letter_bytes_max)
        .retention(storage.retention)
        .retention_classes(storage.retention_classes.clone())
        .idempotency_window(window)
        .idempotency_keys(keys_max)
}

/// Who may use the process, and what connections are encrypted with.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) tenants: Arc<Tenants>,
    pub(super) tls: Option<Arc<Tls>>,
    /// The files of both, to be followed.
    pub(super) reloads: Vec<(&'static str, Reload)>,
}

/// Reads the files of tenants and of encryption for the first time.
pub(super) fn access(
    settings: &Settings,
    limiter: &Arc<Limiter>,
    metrics: &ReloadMetrics,
) -> anyhow::Result<Access> {
    let mut reloads = Vec::new();
    let tenants = match &settings.access.tenants {
        None => Arc::new(Tenants::open().limited_by(Arc::clone(limiter))),
        Some(path) => {
            let tenants = Tenants::of(Table::default()).limited_by(Arc::clone(limiter));
            let tenants = Arc::new(tenants);
            let classes = settings.storage.retention_classes.clone();
            let reload = tenants_of(path, classes, Arc::clone(&tenants), metrics.clone())?;
            reloads.push(("reload-tenants", reload));
            tenants
        }
    };
    let tls = match &settings.access.tls {
        None => None,
        Some(files) => {
            let (tls, reload) = tls_of(files, metrics.clone())?;
            reloads.push(("reload-tls", reload));
            Some(tls)
        }
    };
    Ok(Access { tenants, tls, reloads })
}

fn tenants_of(
    path: &Path,
    classes: RetentionClasses,
    tenants: Arc<Tenants>,
    metrics: ReloadMetrics,
) -> anyhow::Result<Reload> {
    let (name, count) = (path.display().to_string(), metrics.tenants.clone());
    let files = (vec![path.to_owned()], file::FILE_BYTES_MAX);
    let mut reload = Reload::new("tenants", files, metrics, move |contents| {
        let text = contents.first().map(Vec::as_slice).unwrap_or_default();
        let table = file::parse_for(&name, text, &classes)?;
        count.set(i64::try_from(table.tenants().len()).unwrap_or(i64::MAX));
        tenants.replace(table);
        Ok(())
    });
    reload.begin()?;
    Ok(reload)
}

fn tls_of(files: &TlsFiles, metrics: ReloadMetrics) -> anyhow::Result<(Arc<Tls>, Reload)> {
    let tls = Arc::new(Tls::default());
    let (own, kept) = (files.clone(), Arc::clone(&tls));
    let paths = (files.paths(), PEM_BYTES_MAX);
    let mut reload =
        Reload::new("tls", paths, metrics, move |contents| Ok(kept.replace(&own, contents)?));
    reload.begin()?;
    Ok((tls, reload))
}

/// The server's part of the settings.
pub(super) fn server(settings: &Settings) -> ServerSettings {
    let settings::Limits {
        connections_max,
        streams_max,
        body_bytes_max,
        decompressed_bytes_max,
        bytes_in_flight_max,
        header_timeout,
        body_timeout,
        idle_timeout,
    } = settings.limits;
    ServerSettings {
        threads: settings.listen.threads,
        connections_max,
        streams_max,
        bytes_in_flight_max: bytes_in_flight_max as u64,
        body_bytes_max: body_bytes_max as u64,
        decompressed_bytes_max,
        header_timeout,
        body_timeout,
        idle_timeout,
        handler_timeout: settings.ack.stored_timeout + HANDLER_SLACK,
        ..ServerSettings::default()
    }
}
