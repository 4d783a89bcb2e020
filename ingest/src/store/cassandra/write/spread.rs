//! Over how many shards a tenant's ids that tell no time are spread: by how many there are in an
//! hour. Approximate and of fixed size: a tenant that loses its place starts again at the least.

use std::sync::{Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_64;

use super::super::layout::ID_HOUR_MS;

/// Fewest and most shards, powers of two; readers go by what `pulse_id_hours` says.
const SHARDS_MIN: u32 = 8;
const SHARDS_MAX: u32 = 1024;
/// Ids of one shard at which they are spread wider: a few MiB.
const SHARD_IDS: u64 = 50_000;
/// Tenants measured at once, 128 KiB in all; only those with over 400,000 such ids in an hour
/// need a place.
const PLACES: usize = 4096;

/// The measurement.
#[derive(Debug)]
pub(super) struct Spread {
    places: Mutex<Box<[Place]>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    tenant: u64,
    hour_ms: i64,
    ids: u64,
    /// Ids of the hour before, where it was measured.
    before: u64,
}

impl Spread {
    pub(super) fn new() -> Self {
        Self { places: Mutex::new(vec![Place::default(); PLACES].into()) }
    }

    /// Over how many shards ids of a tenant that were received in that hour are to be spread.
    pub(super) fn shards(&self, tenant: &str, hour_ms: i64) -> u32 {
        let tenant = xxh3_64(tenant.as_bytes());
        let places = self.lock();
        let Some(place) = slots(tenant).map(|slot| places[slot]).into_iter().find(held_by(tenant))
        else {
            return SHARDS_MIN;
        };
        let ids = if place.hour_ms == hour_ms {
            place.ids.max(place.before)
        } else if place.hour_ms < hour_ms {
            // A new hour begins as wide as the last one ended.
            place.ids
        } else {
            0
        };
        shards_of(ids)
    }

    /// `ids` more were written.
    pub(super) fn add(&self, tenant: &str, hour_ms: i64, ids: u64) {
        let tenant = xxh3_64(tenant.as_bytes());
        let mut places = self.lock();
        let slots = slots(tenant);
        let held = slots.into_iter().find(|slot| held_by(tenant)(&places[*slot]));
        let [first, second] = slots;
        let lesser = if weight(&places[second]) < weight(&places[first]) { second } else { first };
        let place = &mut places[held.unwrap_or(lesser)];
        if held.is_none() {
            *place = Place { tenant, hour_ms, ids, before: 0 };
        } else if place.hour_ms == hour_ms {
            place.ids += ids;
        } else if place.hour_ms < hour_ms {
            let before = if place.hour_ms + ID_HOUR_MS == hour_ms { place.ids } else { 0 };
            *place = Place { tenant, hour_ms, ids, before };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Box<[Place]>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shards_of(ids: u64) -> u32 {
    let shards = ids.div_ceil(SHARD_IDS).next_power_of_two();
    u32::try_from(shards).unwrap_or(SHARDS_MAX).clamp(SHARDS_MIN, SHARDS_MAX)
}

fn slots(tenant: u64) -> [usize; 2] {
    [tenant as usize % PLACES, (tenant >> 32) as usize % PLACES]
}

fn held_by(tenant: u64) -> impl Fn(&Place) -> bool {
    move |place| place.tenant == tenant
}

/// Who gives way: the older hour, then the fewer ids.
fn weight(place: &Place) -> (i64, u64) {
    (place.hour_ms, place.ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_grow_with_the_ids_of_an_hour_and_stay_for_the_next() {
        let spread = Spread::new();
        assert_eq!(spread.shards("a", 0), SHARDS_MIN);
        let check = |ids: u64, expected: u32| {
            spread.add("a", 0, ids);
            assert_eq!(spread.shards("a", 0), expected);
        };
        check(400_000, 8);
        check(1, 16);
        check(1_000_000, 32);
        assert_eq!(spread.shards("a", ID_HOUR_MS), 32, "the next hour begins as wide");
        spread.add("a", ID_HOUR_MS, 1);
        assert_eq!(spread.shards("a", ID_HOUR_MS), 32);
        assert_eq!(spread.shards("a", 0), SHARDS_MIN, "a replayed hour is not measured again");
        spread.add("a", 9 * ID_HOUR_MS, 1);
        assert_eq!(spread.shards("a", 9 * ID_HOUR_MS), SHARDS_MIN, "after a pause");
        spread.add("a", 9 * ID_HOUR_MS, u64::MAX / 2);
        assert_eq!(spread.shards("a", 9 * ID_HOUR_MS), SHARDS_MAX);
    }

    #[test]
    fn a_tenant_with_many_ids_keeps_its_place_among_many_with_few() {
        let spread = Spread::new();
        spread.add("hot", 0, 2_000_000);
        for number in 0..10 * PLACES {
            spread.add(&format!("tenant {number}"), 0, 3);
        }
        assert_eq!(spread.shards("hot", 0), 64);
    }
}
