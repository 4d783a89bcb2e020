//! Where the ids are that tell no time: those that clients chose, and those that were made of
//! their keys. In a keyspace of each window, written and read in pieces, since an entry for each
//! id costs a tenth of a server's work.
//!
//! **A tree of buffers.** A batch adds one piece of sorted hashes to the root. Once the root has
//! enough, its pieces are merged and cut by the next four bits of the hash into a piece for each
//! of its sixteen children; a node further down passes on what sixteen visits to its parent have
//! brought. So an id is written once for each sixteenfold growth, some bytes at a time, and a
//! lookup reads the pieces of one node at each depth. All of it happens in the commit of a batch,
//! at most one node each, so there is no state between two commits that a crash could leave.
//!
//! ```text
//! u8 depth, 6 bytes the bits that the node's hashes begin with, u64 batch that wrote it: a piece
//! 0xFF: varints visits of the root, next depth to visit, first batch, pieces and ids in the root
//! ```

mod piece;
#[cfg(test)]
mod tests;

use fjall::{Iter, Keyspace, OwnedWriteBatch, Readable, Snapshot};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::codec::{put_varint, take_varint};
use super::database::DatabaseError;

use piece::{HASH_BITS, Piece};

/// Each node has two to the power of this many children.
const FANOUT_BITS: u32 = 4;
/// Enough for 10^17 ids.
const DEPTH_MAX: u32 = 10;
const STATE: [u8; 1] = [0xFF];
const KEY_BYTES: usize = 15;

/// When the pieces of the root go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RootLimits {
    /// Ids in it: 64 Ki are merged in 2 ms and 2 MiB of memory.
    pub(crate) ids: u64,
    /// Pieces in it, which a lookup reads all, each of a batch that was small.
    pub(crate) pieces: u64,
}

impl Default for RootLimits {
    fn default() -> Self {
        Self { ids: 64 * 1024, pieces: 256 }
    }
}

/// Makes hashes of one tenant's ids. The seed is the store's own and told to nobody, so that no
/// client can choose ids whose hashes are those of others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hasher(u64);

impl Hasher {
    pub(super) fn new(store: Uuid, tenant: &str) -> Self {
        Self(xxh3_64_with_seed(tenant.as_bytes(), store.as_u128() as u64))
    }

    pub(super) fn hash(self, id: Uuid) -> u64 {
        xxh3_64_with_seed(id.as_bytes(), self.0) >> (u64::BITS - HASH_BITS)
    }
}

/// A node: the hashes that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    depth: u32,
    /// The bits, with zeros behind them.
    prefix: u64,
}

impl Node {
    const ROOT: Self = Self { depth: 0, prefix: 0 };

    fn of_hash(depth: u32, hash: u64) -> Self {
        let below = HASH_BITS - FANOUT_BITS * depth;
        Self { depth, prefix: hash >> below << below }
    }

    /// The nodes of a depth take turns.
    fn in_turn(depth: u32, turn: u64) -> Self {
        let bits = FANOUT_BITS * depth;
        Self { depth, prefix: (turn & ((1 << bits) - 1)) << (HASH_BITS - bits) }
    }

    fn key(self, batch: u64) -> [u8; KEY_BYTES] {
        let mut key = [self.depth as u8; KEY_BYTES];
        key[1..7].copy_from_slice(&self.prefix.to_be_bytes()[2..]);
        key[7..].copy_from_slice(&batch.to_be_bytes());
        key
    }
}

/// How far the tree of a window has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    /// How often the root's pieces went down.
    visits: u64,
    /// The next depth at which a node is visited since then.
    next_depth: u32,
    /// The batch of the oldest piece in the root: what is before it was removed, and is not
    /// looked through.
    first: u64,
    pieces: u64,
    ids: u64,
}

impl State {
    fn encode(self) -> Vec<u8> {
        let Self { visits, next_depth, first, pieces, ids } = self;
        let mut out = Vec::new();
        for number in [visits, u64::from(next_depth), first, pieces, ids] {
            put_varint(&mut out, number);
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        Some(Self {
            visits: take_varint(bytes)?,
            next_depth: u32::try_from(take_varint(bytes)?).ok()?,
            first: take_varint(bytes)?,
            pieces: take_varint(bytes)?,
            ids: take_varint(bytes)?,
        })
    }

    /// The deepest nodes that pass on what they have. A visit of a node follows sixteen of its
    /// parent, and the first comes when it has as much.
    fn depth_visited(self) -> u32 {
        self.visits.max(1).ilog2().div_euclid(FANOUT_BITS).min(DEPTH_MAX - 1)
    }

    /// The deepest nodes that have pieces.
    fn depth(self) -> u32 {
        if self.visits == 0 { 0 } else { self.depth_visited() + 1 }
    }

    /// Which node passes on its pieces now, if one does. Each visit of the root is followed by
    /// one at each depth, a commit later each, so that no commit takes long.
    fn next_node(&mut self, limits: RootLimits) -> Option<Node> {
        if self.visits > 0 && self.next_depth <= self.depth_visited() {
            let node = Node::in_turn(self.next_depth, self.visits);
            self.next_depth += 1;
            return Some(node);
        }
        let is_full = self.pieces >= limits.pieces || self.ids >= limits.ids;
        is_full.then(|| {
            *self = Self { visits: self.visits + 1, next_depth: 1, ..Self::default() };
            Node::ROOT
        })
    }

    fn add(&mut self, batch: u64, ids: usize) {
        if self.pieces == 0 {
            self.first = batch;
        }
        self.pieces += 1;
        self.ids += ids as u64;
    }
}

/// Adds the ids of a batch, as sorted hashes, to what the batch writes to `keyspace`.
pub(super) fn add(
    writes: &mut OwnedWriteBatch,
    keyspace: &Keyspace,
    (batch, hashes): (u64, &[u64]),
    limits: RootLimits,
) -> Result<(), DatabaseError> {
    if hashes.is_empty() {
        return Ok(());
    }
    let mut state = read_state(keyspace.get(STATE)?.as_deref())?;
    let first = state.first;
    if let Some(node) = state.next_node(limits) {
        let from = if node == Node::ROOT { first } else { 0 };
        pass_on(writes, keyspace, node, from..=batch)?;
    }
    state.add(batch, hashes.len());
    writes.insert(keyspace, Node::ROOT.key(batch), piece::of_batch(batch, hashes));
    writes.insert(keyspace, STATE, state.encode());
    Ok(())
}

/// Merges the pieces of a node and gives each child its part. `batches` are those that may have
/// written to the node; the last of them is the one that writes now.
fn pass_on(
    writes: &mut OwnedWriteBatch,
    keyspace: &Keyspace,
    node: Node,
    batches: std::ops::RangeInclusive<u64>,
) -> Result<(), DatabaseError> {
    let batch = *batches.end();
    let mut places = Vec::new();
    each(keyspace.range(node.key(*batches.start())..=node.key(batch)), |key, piece| {
        places.extend(piece.places());
        writes.remove(keyspace, key);
    })?;
    // Stable: it sees that there are sorted stretches, and only merges them.
    places.sort();
    let depth = node.depth + 1;
    for part in places.chunk_by(|a, b| Node::of_hash(depth, a.hash) == Node::of_hash(depth, b.hash))
    {
        let child = part.first().map_or(Node::ROOT, |place| Node::of_hash(depth, place.hash));
        writes.insert(keyspace, child.key(batch), piece::of_places(part));
    }
    Ok(())
}

/// The batches that may hold an id of this hash, the latest first.
pub(super) fn batches_of(
    snapshot: &Snapshot,
    keyspace: &Keyspace,
    hash: u64,
) -> Result<Vec<u64>, DatabaseError> {
    let state = read_state(snapshot.get(keyspace, STATE)?.as_deref())?;
    let mut found = Vec::new();
    for depth in 0..=state.depth() {
        let node = Node::of_hash(depth, hash);
        let first = if node == Node::ROOT { state.first } else { 0 };
        let pieces = snapshot.range(keyspace, node.key(first)..=node.key(u64::MAX));
        each(pieces, |_, piece| found.extend(piece.find(hash)))?;
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.dedup();
    Ok(found)
}

fn each(
    pieces: Iter,
    mut then: impl FnMut(fjall::UserKey, &Piece<'_>),
) -> Result<(), DatabaseError> {
    for guard in pieces {
        let (key, value) = guard.into_inner()?;
        let piece = Piece::read(&value).ok_or(DatabaseError::Damaged("a piece of ids"))?;
        then(key, &piece);
    }
    Ok(())
}

fn read_state(value: Option<&[u8]>) -> Result<State, DatabaseError> {
    let Some(value) = value else { return Ok(State::default()) };
    State::decode(value).ok_or(DatabaseError::Damaged("the state of ids"))
}
