//! Who has done what with dead letters: a line of JSON for each, synced, in a file that is
//! bounded. Never read by this program. Blocks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use uuid::Uuid;

use crate::fs::{Fs, Open};
use crate::sink::dead_letter::{Filter, uuid_text};

use super::job::Counts;

const FILE: &str = "audit.jsonl";
const EARLIER: &str = "audit.1.jsonl";
/// Size at which the file is kept as the earlier one, some thousands of lines: twice this at
/// most is on disk.
const BYTES_MAX: u64 = 1024 * 1024;

/// One line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) at_us: i64,
    /// `replay_created`, `replay_completed`, `replay_cancelled`, `discarded` or `edited`;
    /// `erasure_created`, `erasure_completed` or `erasure_cancelled`.
    pub(crate) action: &'static str,
    pub(crate) tenant: &'a str,
    /// The tenant's and the key's name, where keys are needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) asked_by: Option<&'a str>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "uuid_text::option::serialize"
    )]
    pub(crate) replay: Option<Uuid>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "uuid_text::option::serialize"
    )]
    pub(crate) letter: Option<Uuid>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "uuid_text::option::serialize"
    )]
    pub(crate) erasure: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<&'a Filter>,
    pub(crate) dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) counts: Option<Counts>,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Audit {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    writing: Mutex<()>,
}

impl Audit {
    pub(crate) fn new(fs: Arc<dyn Fs>, dir: &Path) -> Self {
        Self { fs, dir: dir.to_owned(), writing: Mutex::default() }
    }

    /// Adds a line, here and to the log.
    pub(crate) fn add(&self, line: &Line<'_>) -> io::Result<()> {
        let text = serde_json::to_string(line)?;
        tracing::info!(action = line.action, tenant = line.tenant, audit = %text, "dead letters");
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.dir.join(FILE);
        let (file, length) = match self.fs.open(&path, Open::Write) {
            Ok(file) => {
                let length = file.len()?;
                if length < BYTES_MAX {
                    (file, length)
                } else {
                    self.fs.rename(&path, &self.dir.join(EARLIER))?;
                    (self.fs.open(&path, Open::CreateNew)?, 0)
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (self.fs.open(&path, Open::CreateNew)?, 0)
            }
            Err(error) => return Err(error),
        };
        // A line that a crash has cut stays alone.
        let mut last = [b'\n'];
        if length > 0 {
            file.read_at(&mut last, length - 1)?;
        }
        let before = if last == [b'\n'] { "" } else { "\n" };
        file.write_at(format!("{before}{text}\n").as_bytes(), length)?;
        file.sync()?;
        if length == 0 { self.fs.sync_dir(&self.dir) } else { Ok(()) }
    }
}
