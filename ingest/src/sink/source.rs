//! What a drain reads from: the log and the memory buffer look the same to it.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::bell::Bell;
use super::progress::LogId;

/// Which of the two sequences a number belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The log on disk.
    Log,
    /// The memory buffer.
    Memory,
}

impl Source {
    /// Its place in a pair of one thing for each source.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Log => 0,
            Self::Memory => 1,
        }
    }
}

/// Whole frames whose checksums are proven, and the numbers that they hold.
#[derive(Debug, Clone)]
pub(crate) struct SourceChunk {
    /// The frames; empty where all numbers up to `first_seq` are lost.
    pub(crate) bytes: Bytes,
    /// Number of the first pulse. What lies between the last chunk and this is lost.
    pub(crate) first_seq: u64,
    /// Number behind the last pulse.
    pub(crate) end_seq: u64,
}

/// Frames under numbers that are never used twice.
pub(crate) trait FrameSource: Send + Sync + Debug {
    /// Its identity: numbers of two sources are never confused.
    fn id(&self) -> LogId;
    /// The lowest number that may still be read.
    fn start_seq(&self) -> u64;
    /// Pulses that were accepted and dropped before they got a number.
    fn overflowed(&self) -> u64 {
        0
    }
    /// The number that the next pulse gets; all below it can be read.
    fn end_seq(&self) -> u64;
    /// About how many bytes the pulses from `seq` on are.
    fn bytes_from(&self, seq: u64) -> u64;
    /// Reads from the frame that holds `seq` on.
    fn reader(&self, seq: u64) -> Box<dyn FrameReader>;
    /// Rings these from now on, each time after `end_seq` has grown. Called once.
    fn tell(&self, bells: Box<[Arc<Bell>]>);
    /// The sink of this index has finished these ranges, each number once.
    fn finished(&self, sink: usize, ranges: &[(u64, u64)]);
    /// Every required sink has finished all below `seq`: it no longer counts against a budget.
    fn set_low(&self, seq: u64);
    /// Numbers below `seq` are never given out from now on.
    fn skip_to(&self, seq: u64);
    /// Nobody will ask for what lies below `seq` again, not even after a crash.
    fn forget(&self, seq: u64) -> io::Result<()>;
}

/// One reader's place in a source.
pub(crate) trait FrameReader: Send + Debug {
    /// The next frames, about `bytes_max` of them and at least one; `None`: nothing now.
    fn read(&mut self, bytes_max: usize) -> io::Result<Option<SourceChunk>>;
}
