//! How much disk and memory a pod of ingest needs with its settings. Pure.

use super::settings::Settings;

const MIB: u64 = 1 << 20;

/// Disk of one id or key: 73 bytes, twice that while files are merged, 66 in the journal while it
/// is new (docs/exactly-once.md).
const KEY_BYTES: u64 = 212;
/// Segments beside the budget: the newest has its full size from the start, the next is made
/// before it is needed, and as many wait to be deleted.
const SPARE_SEGMENTS: u64 = 4;
/// Cursors, registry, the file of sums (250,000 of them at most, written anew beside the old).
const STATE_BYTES: u64 = 64 * MIB;
/// The process with its threads, tables of services and fragmentation; generous.
const PROCESS_BYTES: u64 = 96 * MIB;
/// A connection with its buffers.
const CONNECTION_BYTES: u64 = 16 << 10;
/// A batch, once as read and twice on its way to the store (8 MiB each at most).
const BATCH_BYTES: u64 = 24 * MIB;
/// Two groups of the log that are being written.
const GROUPS_BYTES: u64 = 16 * MIB;
/// Answers of queries that nobody has taken yet.
const QUERIES_BYTES: u64 = 64 * MIB;
/// The newest keys, which lie in memory (docs/exactly-once.md).
const NEW_KEYS_BYTES: u64 = 48 * MIB;
/// The cache and the tables in memory of the embedded store.
const EMBEDDED_BYTES: u64 = 128 * MIB;

/// Disk that is needed beside the log's and the dead letters' budgets.
fn beside(settings: &Settings) -> u64 {
    SPARE_SEGMENTS
        .saturating_mul(segment_bytes(settings))
        .saturating_add(KEY_BYTES.saturating_mul(settings.count("idempotency-keys-max")))
        .saturating_add(STATE_BYTES)
}

/// As the ingest chooses it: a sixteenth of the budget, 1 MiB to 64 MiB.
fn segment_bytes(settings: &Settings) -> u64 {
    match settings.size("log-segment-size") {
        0 => (settings.size("log-budget") / 16).clamp(MIB, 64 * MIB),
        bytes => bytes,
    }
}

fn budgets(settings: &Settings) -> u64 {
    settings.size("log-budget").saturating_add(settings.size("dead-letter-budget"))
}

/// The size limit of a pod's own volume. Over it the kubelet deletes the pod with acknowledged
/// pulses, so a quarter of the budgets is added to what they say.
pub(super) fn scratch_bytes(settings: &Settings) -> u64 {
    let budgets = budgets(settings);
    let bytes = budgets.saturating_add(budgets / 4).saturating_add(beside(settings));
    bytes.div_ceil(MIB).saturating_mul(MIB)
}

/// The least that a claim must hold.
pub(super) fn claim_bytes_min(settings: &Settings) -> u64 {
    budgets(settings)
        .saturating_add(segment_bytes(settings))
        .saturating_add(KEY_BYTES.saturating_mul(settings.count("idempotency-keys-max")))
        .saturating_add(settings.size("disk-free-min"))
}

/// Fills in what depends on the size of a claim: dead letters a quarter of the log at most, a
/// twentieth of the claim kept free, and as many ids and keys as the rest has room for. A claim
/// of twice the log's budget, which the definition demands, is always enough.
pub(super) fn suit_to_claim(settings: &mut Settings, claim_bytes: u64, log_bytes: u64) {
    let letters = (log_bytes / 4).clamp(MIB, 256 * MIB);
    settings.suit("dead-letter-budget", pulsemesh_runtime::units::size_text(letters / MIB * MIB));
    let free = (claim_bytes / 20).clamp(16 * MIB, 1024 * MIB) / MIB * MIB;
    settings.suit("disk-free-min", pulsemesh_runtime::units::size_text(free));
    if !settings.is_set("idempotency-keys-max") {
        let taken = budgets(settings)
            .saturating_add(SPARE_SEGMENTS.saturating_mul(segment_bytes(settings)))
            .saturating_add(settings.size("disk-free-min"));
        // Half of the rest: file systems of small claims keep some for themselves.
        let keys = claim_bytes.saturating_sub(taken) / 2 / KEY_BYTES / 1000 * 1000;
        let keys = i64::try_from(keys.clamp(1_000, 2_000_000)).unwrap_or(2_000_000);
        settings.put("idempotency-keys-max", keys);
    }
}

/// The memory that every bound reached at once would take.
pub(super) fn memory_bytes(settings: &Settings, is_embedded: bool) -> u64 {
    let held = ["buffer-bytes", "bytes-in-flight", "window-bytes"]
        .iter()
        .fold(0u64, |sum, name| sum.saturating_add(settings.size(name)));
    let keys = NEW_KEYS_BYTES.saturating_add(settings.count("idempotency-keys-max") * 33 / 10);
    let bytes = [
        PROCESS_BYTES,
        held,
        keys,
        CONNECTION_BYTES.saturating_mul(settings.count("connections-max")),
        BATCH_BYTES.saturating_mul(settings.count("workers")),
        GROUPS_BYTES,
        QUERIES_BYTES,
        if is_embedded { EMBEDDED_BYTES } else { 0 },
    ]
    .into_iter()
    .fold(0u64, u64::saturating_add);
    // Whole steps of 64 MiB: a small change of a setting is no other pod.
    bytes.div_ceil(64 * MIB).saturating_mul(64 * MIB)
}
