//! Whether files have changed since they were read last. Looks at what a path leads to, so that
//! the links of a mounted Secret or ConfigMap are seen to turn. Reads; decides nothing.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use super::{OsFs, read_file};

/// A file that was changed so lately may be changed again without another time: it is read again.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// A file could not be read.
#[derive(Debug, Error)]
#[error("read {} failed", path.display())]
pub struct ReadError {
    /// As it was named.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Files that are read together.
#[derive(Debug)]
pub struct Watch {
    paths: Vec<PathBuf>,
    bytes_max: usize,
    looked_like: Option<Vec<Look>>,
    seen: Seen,
}

/// What tells a file from the one that was there before, without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    device: u64,
    number: u64,
    bytes: u64,
    changed: (i64, i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Nothing,
    Contents(u128),
    Error(String),
}

impl Watch {
    /// Of files of at most `bytes_max` each, which are not read yet.
    pub fn new(paths: Vec<PathBuf>, bytes_max: usize) -> Self {
        Self { paths, bytes_max, looked_like: None, seen: Seen::Nothing }
    }

    /// The files.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Their contents, or why they can't be read, if that is another than it was. Blocking.
    pub fn changed(&mut self) -> Option<Result<Vec<Vec<u8>>, ReadError>> {
        // Before the contents: what changes meanwhile looks different the next time.
        let looks = self.looks();
        if looks.is_some() && looks == self.looked_like {
            return None;
        }
        self.looked_like = looks;
        let read = self.read();
        let seen = match &read {
            Ok(contents) => Seen::Contents(hash(contents)),
            Err(error) => Seen::Error(format!("{error}: {}", error.source)),
        };
        (std::mem::replace(&mut self.seen, seen.clone()) != seen).then_some(read)
    }

    /// How the files look; `None` while that says nothing.
    fn looks(&self) -> Option<Vec<Look>> {
        let now = SystemTime::now();
        let look = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            is_settled(&metadata, now).then(|| Look::of(&metadata))
        };
        self.paths.iter().map(look).collect()
    }

    fn read(&self) -> Result<Vec<Vec<u8>>, ReadError> {
        let read = |path: &PathBuf| {
            read_file(&OsFs, path, self.bytes_max)
                .map_err(|source| ReadError { path: path.clone(), source })
        };
        self.paths.iter().map(read).collect()
    }
}

impl Look {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            number: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn is_settled(metadata: &Metadata, now: SystemTime) -> bool {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    now.duration_since(changed).is_ok_and(|age| age > SETTLED_AFTER)
}

fn hash(contents: &[Vec<u8>]) -> u128 {
    let mut hash = Xxh3::new();
    for content in contents {
        hash.update(&(content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn text(watch: &mut Watch) -> Option<String> {
        let read = watch.changed()?.map_err(|error| error.to_string());
        let contents = read.map(|contents| contents.concat());
        Some(contents.map_or_else(|error| error, |bytes| String::from_utf8(bytes).expect("text")))
    }

    #[test]
    fn contents_are_given_when_they_differ_and_only_then() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = ["a", "b"].map(|name| directory.path().join(name));
        let mut watch = Watch::new(paths.to_vec(), 100);
        assert!(text(&mut watch).is_some_and(|text| text.contains("a failed")));
        assert_eq!(text(&mut watch), None, "the same error");
        fs::write(&paths[0], "one").expect("written");
        assert!(text(&mut watch).is_some_and(|text| text.contains("b failed")));
        fs::write(&paths[1], "two").expect("written");
        assert_eq!(text(&mut watch).as_deref(), Some("onetwo"));
        assert_eq!(text(&mut watch), None);
        // The same length, within the same tick of the clock of the file system.
        for content in ["six", "ten", "six"] {
            fs::write(&paths[1], content).expect("written");
            assert_eq!(text(&mut watch), Some(format!("one{content}")));
        }
        fs::write(&paths[1], "six").expect("written");
        assert_eq!(text(&mut watch), None, "other file, same contents");
        fs::write(&paths[1], "x".repeat(101)).expect("written");
        assert!(text(&mut watch).is_some_and(|text| text.contains("b failed")));
    }

    #[test]
    fn links_that_turn_as_those_of_a_mounted_secret_are_read_through() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for version in ["1", "2"] {
            fs::create_dir(at(version)).expect("made");
            fs::write(at(version).join("file"), version).expect("written");
        }
        symlink("1", at("data")).expect("linked");
        symlink("data/file", at("file")).expect("linked");
        let mut watch = Watch::new(vec![at("file")], 100);
        assert_eq!(text(&mut watch).as_deref(), Some("1"));
        symlink("2", at("next")).expect("linked");
        fs::rename(at("next"), at("data")).expect("turned");
        fs::remove_dir_all(at("1")).expect("removed");
        assert_eq!(text(&mut watch).as_deref(), Some("2"));
    }
}
