//! The file of tenants as it lies on disk: read, proven with the server's own reader, and replaced
//! as one step.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use pulsemesh_ingest::fs::{OsFs, read_file, replace_file};
use pulsemesh_ingest::tenant::file::{self, FILE_BYTES_MAX};
use serde_json::Value;

use super::edit;

/// A file and what is in it.
#[derive(Debug)]
pub(super) struct Book {
    /// As it was named, for errors.
    name: PathBuf,
    /// The file itself, where the name is a link.
    path: PathBuf,
    /// `None`: there is no file yet.
    text: Option<String>,
}

impl Book {
    /// Opens a file that must be sound.
    ///
    /// # Errors
    /// When it can't be read, or the server would refuse it.
    pub(super) fn open(name: &Path) -> anyhow::Result<Self> {
        let book = Self::open_or_new(name)?;
        ensure!(book.text.is_some(), "read {}: there is no such file", name.display());
        Ok(book)
    }

    /// As [`Book::open`]; a file that is not there is empty.
    ///
    /// # Errors
    /// As [`Book::open`].
    pub(super) fn open_or_new(name: &Path) -> anyhow::Result<Self> {
        let path = match name.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                let folder = folder.canonicalize();
                let folder = folder.with_context(|| format!("find {}", name.display()))?;
                folder.join(name.file_name().context("the file has no name")?)
            }
            Err(error) => return Err(error).with_context(|| format!("find {}", name.display())),
        };
        let text = read(&path).with_context(|| format!("read {}", name.display()))?;
        if let Some(text) = &text {
            file::parse(&name.display().to_string(), text.as_bytes())?;
        }
        Ok(Self { name: name.to_owned(), path, text })
    }

    /// What is in it.
    pub(super) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Its tenants, in order.
    pub(super) fn tenants(&self) -> Vec<Value> {
        edit::tenants(self.text()).unwrap_or_default()
    }

    /// The names and kinds of the keys of a tenant.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub(super) fn keys(&self, tenant: &str) -> anyhow::Result<Vec<(String, String)>> {
        let tenants = self.tenants();
        let found = tenants.iter().find(|one| one["name"] == *tenant);
        let found = found.with_context(|| format!("there is no tenant `{tenant}`"))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let keys = found["keys"].as_array().into_iter().flatten();
        Ok(keys.map(|key| (text(&key["name"]), text(&key["kind"]))).collect())
    }

    /// Puts other text in its place, which the server must be able to read.
    ///
    /// # Errors
    /// When it could not, somebody else has changed the file meanwhile, or it can't be written.
    pub(super) fn save(&self, text: &str) -> anyhow::Result<()> {
        file::parse(&self.name.display().to_string(), text.as_bytes())
            .context("nothing is written: the file would not be read any more")?;
        let name = self.name.display();
        let now = read(&self.path).with_context(|| format!("read {name}"))?;
        ensure!(now == self.text, "somebody has changed {name} meanwhile: try again");
        let permissions = fs::metadata(&self.path).map(|metadata| metadata.permissions()).ok();
        let replace = || {
            replace_file(&OsFs, &self.path, text.as_bytes())?;
            permissions.map_or(Ok(()), |permissions| fs::set_permissions(&self.path, permissions))
        };
        replace().with_context(|| format!("write {name}"))
    }
}

/// The whole file; `None` when there is none.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match read_file(&OsFs, path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(String::from_utf8(bytes).context("it is not UTF-8 text")?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
