//! The retention class of a pulse is decided once, with its id.

use super::*;
use crate::clock::now_us;

#[tokio::test]
async fn a_class_is_fixed_with_the_pulse_and_a_repeat_keeps_it_whatever_its_tenant_has_by_then() {
    const HOUR_MS: i64 = 3_600_000;
    let directory = tempfile::tempdir().expect("a directory");
    let classes = RetentionClasses::parse("short=1h,audit=365d").expect("sound classes");
    let [short, audit] = ["short", "audit"].map(ClassNumber::of);
    let limits = MemoryStoreLimits { rows_max: 1_000, bytes_max: 1 << 20 };
    let (inner, shards) = (MemoryStore::new(limits), AtomicU16::new(7));
    let store = Scripted { inner, mode: AtomicU8::new(STUCK), shards };
    let ingestor = Ingestor::builder(directory.path())
        .store(Arc::new(store))
        .log_bounds(LogBounds { budget_bytes: 64 << 20, segment_bytes: 1 << 20, free_bytes_min: 0 })
        .retention_classes(classes)
        .build()
        .expect("starts on an empty directory");
    let of_class = |class: &str| Tenant { retention_class: class.into(), ..TENANT.clone() };
    let send = async |tenant: &Tenant, body: &str| {
        let submission = Submission { tenant, ..submission(body, None, Ack::Durable) };
        ingestor.submit(submission).await
    };
    let aged = |hours: i64| {
        let time = now_us() / 1000 - hours * HOUR_MS;
        format!("{{\"service\":\"s\",\"event_time\":{time}}}")
    };
    for (class, hours, fits) in [
        ("audit", 8_000, true),
        ("audit", 9_000, false),
        ("short", 2, false),
        ("short", 0, true),
        ("default", 100, true),
        ("default", 8_000, false),
        // One that this process does not have is as the default one.
        ("gone", 100, true),
    ] {
        let receipt = send(&of_class(class), &aged(hours)).await;
        let accepted = receipt.is_ok_and(|receipt| receipt.accepted == 1);
        assert_eq!(accepted, fits, "{class} {hours}");
    }
    let named = r#"{"service":"s","event_id":"a"}"#;
    let first = send(&of_class("short"), named).await.expect("logged");
    let again = send(&of_class("audit"), named).await.expect("known");
    assert_eq!((first.accepted, again.accepted, again.duplicates), (1, 0, 1));
    let logged = logged(&ingestor);
    let found: Vec<_> = logged.iter().map(|(_, shard, _)| ClassNumber::of_shard(*shard)).collect();
    let default = ClassNumber::DEFAULT;
    assert_eq!(found, [audit, short, default, default, short]);
    assert!(logged.iter().all(|(_, shard, _)| (7..20).contains(&(shard & 0xFF))), "{logged:?}");
    let key =
        ingestor.parts.reservations.keys().of_id(DEFAULT_TENANT, first.ids[0].expect("an id"));
    let fixed = ingestor.parts.reservations.find(key).await.expect("reserved");
    assert_eq!(ClassNumber::of_shard(fixed.shard), short);
    ingestor.close().await.expect("closes with a stuck store");
}
