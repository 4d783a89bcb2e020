//! What is fixed of a pulse before the log: its id, and the names under which it counts once.

use std::cell::RefCell;

use rand::Rng;
use rand::rngs::SmallRng;
use uuid::{Builder, Uuid};

use crate::pulse::{Pulse, id_from_key, id_from_text};

thread_local! {
    // Seeded from the operating system once a thread: an id needs no secret, only bits that no
    // other thread, process or pod has, and 256 bits of state hold more than enough.
    static RANDOM: RefCell<SmallRng> = RefCell::new(rand::make_rng());
}

/// A new UUIDv7 (RFC 9562) for a pulse received at `received_at_us`, microseconds since 1970.
pub(super) fn new_id(received_at_us: i64) -> Uuid {
    let milliseconds = u64::try_from(received_at_us / 1000).unwrap_or(0);
    let mut random = [0; 10];
    RANDOM.with_borrow_mut(|generator| generator.fill_bytes(&mut random));
    Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
}

/// The names that a client gave an event, so that a repeat is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// The id that follows from them.
    pub id: Uuid,
    /// Whether the client named the id itself.
    pub own_id: bool,
    /// The idempotency key, from the event or the request.
    pub key: Option<String>,
}

impl Names {
    /// The names of `pulse`; `None` where its client gave none. `header_key` is the request's
    /// key, which counts where the event has none of its own; `place` tells the events of a
    /// batch apart that share it.
    pub(super) fn of(
        tenant: &str,
        pulse: &Pulse<'_>,
        header_key: Option<&str>,
        place: Option<usize>,
    ) -> Option<Self> {
        if pulse.event_id.is_none() && pulse.idempotency_key.is_none() && header_key.is_none() {
            return None;
        }
        let key = pulse.idempotency_key.as_deref().map(str::to_owned).or_else(|| {
            header_key.map(|key| place.map_or_else(|| key.to_owned(), |at| format!("{key}#{at}")))
        });
        let own_id = pulse.event_id.is_some();
        let id = match (&pulse.event_id, &key) {
            (Some(text), _) => id_from_text(tenant, text),
            (None, Some(key)) => id_from_key(tenant, key),
            (None, None) => return None,
        };
        Some(Self { id, own_id, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_carry_their_time_and_never_meet() {
        let time_us = 1_790_000_000_123_456;
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| new_id(time_us)).collect();
        assert_eq!(ids.len(), 10_000);
        for id in ids {
            assert_eq!(id.get_version_num(), 7);
            let (seconds, nanos) = id.get_timestamp().expect("version 7 has a time").to_unix();
            assert_eq!((seconds, nanos), (1_790_000_000, 123_000_000));
        }
    }

    #[test]
    fn an_own_id_wins_over_a_key_and_a_batch_tells_its_events_apart() {
        let plain = Pulse::new("s", "k");
        assert_eq!(Names::of("t", &plain, None, Some(1)), None);
        let first = Names::of("t", &plain, Some("order"), Some(0)).expect("named by the header");
        let second = Names::of("t", &plain, Some("order"), Some(1)).expect("named by the header");
        let alone = Names::of("t", &plain, Some("order"), None).expect("named by the header");
        assert_ne!(first.id, second.id);
        assert_eq!(alone.id, id_from_key("t", "order"));
        let named = Pulse { event_id: Some("e-1".into()), ..plain };
        let named = Names::of("t", &named, Some("order"), None).expect("named twice");
        assert_eq!((named.id, named.key.as_deref()), (id_from_text("t", "e-1"), Some("order")));
    }
}
