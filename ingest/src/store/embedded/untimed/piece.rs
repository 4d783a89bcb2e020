//! Pieces: ids that tell no time, as sorted hashes beside the batches that their rows are in.
//! Pure.
//!
//! ```text
//! varint lowest batch, u8 bytes of an offset (none where all are of one batch)
//! n × 6 bytes: hashes, big endian, ascending
//! n × as many bytes: batch less the lowest, little endian
//! ```
//! A hash of 48 bits is wrong once in 280,000 lookups among a billion ids, and what it finds is
//! compared with the whole id.

use super::super::codec::{put_varint, take_varint};

/// Bits of a hash.
pub(in super::super) const HASH_BITS: u32 = 48;
const HASH_BYTES: usize = 6;

/// An id's hash, and the batch that its row is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) hash: u64,
    pub(super) batch: u64,
}

/// A piece of hashes, sorted, that are all of one batch.
pub(super) fn of_batch(batch: u64, hashes: &[u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(11 + hashes.len() * HASH_BYTES);
    put_varint(&mut out, batch);
    out.push(0);
    hashes.iter().for_each(|hash| out.extend_from_slice(&hash_bytes(*hash)));
    out
}

/// A piece of sorted places.
pub(super) fn of_places(places: &[Place]) -> Vec<u8> {
    let batches = || places.iter().map(|place| place.batch);
    let (lowest, highest) = (batches().min().unwrap_or(0), batches().max().unwrap_or(0));
    let width = (u64::BITS - (highest - lowest).leading_zeros()).div_ceil(8) as usize;
    let mut out = Vec::with_capacity(11 + places.len() * (HASH_BYTES + width));
    put_varint(&mut out, lowest);
    out.push(width as u8);
    places.iter().for_each(|place| out.extend_from_slice(&hash_bytes(place.hash)));
    for batch in batches() {
        out.extend_from_slice(&(batch - lowest).to_le_bytes()[..width]);
    }
    out
}

/// A piece as it is read.
#[derive(Debug)]
pub(super) struct Piece<'p> {
    lowest: u64,
    width: usize,
    hashes: &'p [[u8; HASH_BYTES]],
    offsets: &'p [u8],
}

impl<'p> Piece<'p> {
    /// Reads a piece; `None` where the bytes are none.
    pub(super) fn read(mut bytes: &'p [u8]) -> Option<Self> {
        let lowest = take_varint(&mut bytes)?;
        let (&width, rest) = bytes.split_first()?;
        let width = usize::from(width);
        let count = rest.len() / (HASH_BYTES + width);
        let (hashes, offsets) = rest.split_at_checked(count * HASH_BYTES)?;
        let sound = width <= size_of::<u64>() && offsets.len() == count * width;
        let (hashes, _) = hashes.as_chunks();
        sound.then_some(Self { lowest, width, hashes, offsets })
    }

    /// All places, in their order.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let hashes = self.hashes.iter().zip(0..);
        hashes.map(|(hash, index)| Place { hash: hash_of(*hash), batch: self.batch(index) })
    }

    /// The batches beside a hash.
    pub(super) fn find(&self, hash: u64) -> impl Iterator<Item = u64> + '_ {
        let wanted = hash_bytes(hash);
        let first = self.hashes.partition_point(|found| *found < wanted);
        let same = self.hashes[first..].iter().take_while(move |found| **found == wanted);
        same.zip(first..).map(|(_, index)| self.batch(index))
    }

    fn batch(&self, index: usize) -> u64 {
        let mut offset = [0; 8];
        let at = index * self.width;
        if let Some(bytes) = self.offsets.get(at..at + self.width) {
            offset[..self.width].copy_from_slice(bytes);
        }
        self.lowest.saturating_add(u64::from_le_bytes(offset))
    }
}

fn hash_bytes(hash: u64) -> [u8; HASH_BYTES] {
    let [_, _, bytes @ ..] = hash.to_be_bytes();
    bytes
}

fn hash_of([a, b, c, d, e, f]: [u8; HASH_BYTES]) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places() -> impl Strategy<Value = Vec<Place>> {
        let hash = prop_oneof![0..4u64, 0..1u64 << HASH_BITS];
        let batch = prop_oneof![0..3u64, 500..900u64, any::<u64>()];
        let place = (hash, batch).prop_map(|(hash, batch)| Place { hash, batch });
        prop::collection::vec(place, 0..60).prop_map(|mut places| {
            places.sort_unstable();
            places
        })
    }

    proptest! {
        #[test]
        fn a_piece_gives_back_its_places_and_no_damage_panics(
            places in places(),
            cut in any::<prop::sample::Index>(),
            flip in any::<prop::sample::Index>(),
        ) {
            let bytes = of_places(&places);
            let piece = Piece::read(&bytes).expect("a piece");
            prop_assert_eq!(piece.places().collect::<Vec<_>>(), places.as_slice());
            for hash in places.iter().map(|place| place.hash).chain([2, 1 << 40]) {
                let of_hash = places.iter().filter(|place| place.hash == hash);
                let wanted: Vec<_> = of_hash.map(|place| place.batch).collect();
                prop_assert_eq!(piece.find(hash).collect::<Vec<_>>(), wanted);
            }
            let mut damaged = bytes.clone();
            damaged[flip.index(bytes.len())] ^= 0x41;
            for bytes in [&bytes[..cut.index(bytes.len())], &damaged] {
                if let Some(piece) = Piece::read(bytes) {
                    let _ = (piece.places().count(), piece.find(2).count());
                }
            }
        }

        #[test]
        fn a_piece_of_one_batch_needs_no_offsets(
            hashes in prop::collection::vec(0u64..1 << HASH_BITS, 1..60),
            batch: u64,
        ) {
            let mut hashes = hashes;
            hashes.sort_unstable();
            let places: Vec<_> = hashes.iter().map(|hash| Place { hash: *hash, batch }).collect();
            prop_assert_eq!(of_batch(batch, &hashes), of_places(&places));
            prop_assert!(of_batch(batch, &hashes).len() <= 11 + hashes.len() * HASH_BYTES);
        }
    }
}
