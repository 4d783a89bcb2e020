//! The rendered settings file, as the ingest itself reads it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pulsemesh_ingest::limits::WithoutRedis;
use pulsemesh_ingest::settings::{Cassandra, Overflow, Settings, StoreChoice, from_toml};
use pulsemesh_ingest::submission::Ack;

use crate::mesh::fixtures::{defaults, examples, plan, planned, settings_file, with_spec};
use crate::mesh::observed::Observed;
use crate::mesh::plan::Plan;
use crate::mesh::validate::validate;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

#[track_caller]
fn read(plan: &Plan, observed: &Observed) -> Settings {
    let text = settings_file(plan, observed);
    match from_toml(Path::new("ingest.toml"), &text) {
        Ok(settings) => settings,
        Err(error) => unreachable!("{error}\n{text}"),
    }
}

#[track_caller]
fn of_spec(spec: &str) -> Settings {
    read(&plan(spec), &Observed::default())
}

#[track_caller]
fn cassandra(settings: &Settings) -> &Cassandra {
    match &settings.storage.store {
        StoreChoice::Cassandra(cassandra) => cassandra,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn every_example_is_read_by_the_ingest() {
    for (name, mesh) in examples() {
        let settings = read(&planned(&mesh), &Observed::default());
        // That a password crosses the cluster's network in the clear is said by the documents.
        let unexpected =
            settings.warnings.iter().filter(|warning| !warning.contains("in the clear")).count();
        assert_eq!(unexpected, 0, "{name}: {:?}", settings.warnings);
        assert_eq!(settings.listen.clients.to_string(), "0.0.0.0:8080", "{name}");
        assert_eq!(settings.listen.admin.to_string(), "0.0.0.0:8081", "{name}");
        assert_eq!(settings.storage.data_dir, PathBuf::from("/var/lib/pulsemesh"), "{name}");
    }
}

#[test]
fn a_managed_store_is_reached_by_a_name_that_stays() {
    let settings = of_spec(
        "{store: {cassandra: {nodes: 3, racks: [a, b], storage: {size: 1Gi}, retention: 30d}}}",
    );
    let cassandra = cassandra(&settings);
    assert_eq!(cassandra.nodes, ["demo-store.shop.svc.cluster.local:9042"]);
    assert_eq!(cassandra.keyspace, "pulsemesh");
    assert_eq!(cassandra.datacenter.as_deref(), Some("datacenter1"));
    assert_eq!(cassandra.replication_factor, Some(3));
    let login = cassandra.credentials.as_ref().expect("a login");
    assert_eq!(login.username, PathBuf::from("/run/pulsemesh/login/username"));
    assert_eq!(login.password, PathBuf::from("/run/pulsemesh/login/password"));
    assert_eq!(settings.storage.retention, Duration::from_secs(30 * 86_400));
}

#[test]
fn another_s_store_is_reached_as_the_spec_says() {
    let spec = "{store: {external: {cassandra: {nodes: ['a:9042', '[::1]:9142'], keyspace: k, \
                credentialsSecret: {name: login}, \
                tls: {secret: {name: tls}, verifyName: false}}}}}";
    let mut observed = Observed::default();
    let settings = read(&plan(spec), &observed);
    let tls = cassandra(&settings).tls.as_ref().expect("TLS");
    assert_eq!(cassandra(&settings).nodes, ["a:9042", "[::1]:9142"]);
    assert_eq!(cassandra(&settings).keyspace, "k");
    assert_eq!(tls.ca, PathBuf::from("/run/pulsemesh/tls/ca.crt"));
    assert_eq!((tls.client.is_some(), tls.verify_name), (false, false));

    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
    observed.secrets.insert("tls".to_owned(), Some(keys(&["ca.crt", "tls.crt", "tls.key"])));
    let settings = read(&plan(spec), &observed);
    let client = cassandra(&settings).tls.as_ref().and_then(|tls| tls.client.clone());
    let files = ["/run/pulsemesh/tls/tls.crt", "/run/pulsemesh/tls/tls.key"].map(PathBuf::from);
    assert_eq!(client, Some(files.into()), "a Secret with a certificate of the client");
}

#[test]
fn the_fields_of_ingest_and_its_settings_are_in_effect() {
    let settings = of_spec(
        "{ingest: {ack: Memory, buffer: {pulses: 7000, size: 32Mi, overflow: Drop}, \
         batch: {size: 900, interval: 250ms, workers: 3}, log: {budget: 2Gi}, \
         settings: {ack-max: durable, threads: '3', window-bytes: 8Mi, log-format: text, \
         cassandra-id-index: 'false', idempotency-window: 1h30m, log-level: debug}}, \
         store: {cassandra: {nodes: 1, storage: {size: 1Gi}}}}",
    );
    assert_eq!((settings.ack.default, settings.ack.max), (Ack::Memory, Ack::Durable));
    let buffer = &settings.ack.buffer;
    assert_eq!((buffer.pulses_max, buffer.bytes_max), (7_000, 32 << 20));
    assert_eq!(buffer.overflow, Overflow::Drop);
    let drain = &settings.drain;
    assert_eq!((drain.batch_rows, drain.workers, drain.window_bytes), (900, 3, 8 << 20));
    assert_eq!(drain.flush_interval, Duration::from_millis(250));
    assert_eq!(settings.log.budget_bytes, 2 * GIB);
    assert_eq!(settings.listen.threads, 3);
    assert_eq!(settings.repeats.window, Duration::from_secs(5_400));
    assert!(!cassandra(&settings).id_index);
}

#[test]
fn who_may_use_a_mesh_and_how_that_is_counted_is_as_the_spec_says() {
    let spec = "{ingest: {tenants: {required: true}, tls: {secretName: server}, \
                redis: {url: 'rediss://mesh@cache:6380/2', passwordSecret: {name: login}, \
                caSecret: {name: ca}, whileAway: Refuse}}, store: {embedded: {}}}";
    let plan = plan(spec);
    let settings = read(&plan, &Observed::default());
    let tenants = PathBuf::from("/run/pulsemesh/tenants/tenants.yaml");
    assert_eq!(settings.access.tenants, Some(tenants));
    let tls = settings.access.tls.as_ref().expect("TLS");
    assert_eq!(tls.certificate, PathBuf::from("/run/pulsemesh/server-tls/tls.crt"));
    assert_eq!(tls.key, PathBuf::from("/run/pulsemesh/server-tls/tls.key"));
    let redis = settings.counting.redis.as_ref().expect("Redis");
    assert_eq!((redis.host.as_str(), redis.port, redis.database), ("cache", 6380, 2));
    assert_eq!((redis.username.as_deref(), redis.tls), (Some("mesh"), true));
    assert_eq!(redis.password, Some(PathBuf::from("/run/pulsemesh/redis/password")));
    assert_eq!(redis.tls_ca, Some(PathBuf::from("/run/pulsemesh/redis-ca/ca.crt")));
    assert_eq!(settings.counting.without_redis, WithoutRedis::Refuse);
    let secrets: Vec<_> = plan.ingest.mounts.iter().map(|mount| mount.secret.as_str()).collect();
    assert_eq!(secrets, ["demo-tenants", "server", "login", "ca"]);
    let open = of_spec("{store: {embedded: {}}}");
    assert!(open.access.tenants.is_none() && open.counting.redis.is_none());
}

/// What one refuses the other does too, so that no pod starts only to refuse its file.
#[test]
fn an_address_of_redis_is_refused_where_the_ingest_would_refuse_it() {
    for url in [
        "redis://cache",
        "redis://cache:6380/",
        "rediss://mesh@redis.db.svc:1/15",
        "redis://[::1]:6379",
        "redis://[::1]/2",
        "http://cache",
        "redis://",
        "redis://:6379",
        "redis://cache:0",
        "redis://cache:port",
        "redis://cache/db",
        "redis://cache/70000",
        "redis://:s3cret@cache",
        "redis://mesh:s3c/r@t@cache",
        "redis://@cache",
        "redis://a b",
    ] {
        let spec = format!("{{ingest: {{redis: {{url: '{url}'}}}}, store: {{embedded: {{}}}}}}");
        let planned = validate(&with_spec(&spec), &defaults());
        let file = format!("redis-url = \"{url}\"\n");
        let taken = from_toml(Path::new("ingest.toml"), &file);
        assert_eq!(planned.is_ok(), taken.is_ok(), "{url}: {planned:?}");
        assert!(!format!("{planned:?}").contains("s3c"), "{planned:?}");
    }
}

#[test]
fn a_pod_that_stops_drains_for_most_of_its_grace() {
    let (embedded, managed) = ("embedded: {}", "cassandra: {storage: {size: 1Gi}}");
    for (store, grace, notice, drain) in [
        (managed, None, 5, 560),
        (embedded, None, 3, 9),
        (embedded, Some(60), 5, 20),
        (managed, Some(10), 1, 3),
    ] {
        let pod = grace.map_or(String::new(), |grace| {
            format!("pod: {{terminationGracePeriodSeconds: {grace}}}")
        });
        let plan = plan(&format!("{{ingest: {{{pod}}}, store: {{{store}}}}}"));
        let settings = read(&plan, &Observed::default());
        let seconds = Duration::from_secs;
        assert_eq!(settings.stop.delay, seconds(notice), "{grace:?}");
        assert_eq!(settings.stop.drain_within, Some(seconds(drain)), "{grace:?}");
        assert_eq!(plan.ingest.pre_stop, seconds(notice), "{grace:?}");
        let all = plan.ingest.pre_stop + settings.stop.delay + seconds(drain);
        assert!(all < plan.ingest.grace, "{grace:?}: {all:?}");
    }
}

#[test]
fn what_is_kept_on_a_claim_fits_it_and_what_is_kept_in_a_pod_has_room() {
    let spec = |log: &str| {
        format!("{{ingest: {{log: {{{log}}}}}, store: {{cassandra: {{storage: {{size: 1Gi}}}}}}}}")
    };
    let kept = |settings: &Settings| {
        settings.log.budget_bytes
            + settings.drain.dead_letter_bytes_max
            + settings.log.free_bytes_min
            + 212 * settings.repeats.keys_max as u64
    };
    for (budget, size) in [(64, 128), (256, 512), (1024, 2048), (1024, 10_240), (65_536, 131_072)] {
        let settings = of_spec(&spec(&format!("budget: {budget}Mi, storage: {{size: {size}Mi}}")));
        assert!(kept(&settings) < size * MIB, "{budget}Mi in {size}Mi: {}", kept(&settings) / MIB);
    }
    let plan = plan(&spec("budget: 3Gi"));
    let settings = read(&plan, &Observed::default());
    let budgets = settings.log.budget_bytes + settings.drain.dead_letter_bytes_max;
    assert!(plan.ingest.scratch_bytes >= budgets + budgets / 4 + 212 * 2_000_000);
}
