//! One setting's value: its text, where it came from, and what it means.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pulsemesh_runtime::telemetry::check_level;

use super::definition::{Definition, Fallback, Kind};
use super::error::{Problem, nearest};
use super::nodes;
use super::redis_url::{self, RedisUrl};
use crate::retention::RetentionClasses;
use pulsemesh_runtime::units;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line.
    Flag,
    /// An environment variable.
    Environment,
    /// A line of the file.
    File {
        /// The file as it was named.
        path: String,
        /// From 1.
        line: usize,
    },
    /// Nobody set it.
    Default,
}

/// The value of one setting.
#[derive(Debug, Clone)]
pub struct Value {
    /// Which setting.
    pub definition: &'static Definition,
    /// As it was written.
    pub text: String,
    /// Who wrote it.
    pub source: Source,
}

impl fmt::Display for Value {
    /// Where it was set, as a person would look for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Definition { name, env, .. } = self.definition;
        match &self.source {
            Source::Flag => write!(f, "--{name}"),
            Source::Environment => f.write_str(env),
            Source::File { path, line } => write!(f, "{path}:{line}: {name}"),
            Source::Default => write!(f, "the default of --{name}"),
        }
    }
}

impl Value {
    /// Whether somebody set it.
    pub fn is_set(&self) -> bool {
        self.source != Source::Default && !self.is_nothing()
    }

    /// Whether it is a setting that may have no value, and has none.
    fn is_nothing(&self) -> bool {
        self.text.is_empty() && matches!(self.definition.default, Fallback::Nothing(_))
    }

    /// What `read` makes of it, or `None` where it has no value.
    pub(super) fn optional<T>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        if self.is_nothing() { Ok(None) } else { read(self).map(Some) }
    }

    /// Something that is wrong with it.
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.to_string(), message)
    }

    /// Whether it is of its kind and within its bounds.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.is_nothing() {
            return Ok(());
        }
        match self.definition.kind {
            Kind::Address => self.address().map(drop),
            Kind::Nodes => self.nodes().map(drop),
            Kind::Keyspace => self.keyspace().map(drop),
            Kind::Datacenter => self.datacenter().map(drop),
            Kind::Redis => self.redis().map(drop),
            Kind::Classes => self.classes().map(drop),
            Kind::Path => self.path().map(drop),
            Kind::Level => check_level(&self.text).map_err(|error| self.problem(error.to_string())),
            Kind::Switch => self.switch().map(drop),
            Kind::Word(_) => self.word().map(drop),
            Kind::Count { .. } => self.count().map(drop),
            Kind::Size { .. } => self.size().map(drop),
            Kind::Time { .. } => self.time().map(drop),
        }
    }

    pub(super) fn address(&self) -> Result<SocketAddr, Problem> {
        self.text.parse().map_err(|_| {
            let right = match self.text.strip_prefix("localhost:") {
                Some(port) => format!("write 127.0.0.1:{port}"),
                None => match self.text.strip_prefix(':') {
                    Some(port) => format!("write 0.0.0.0:{port} for every interface"),
                    None => "write an IP address and a port, such as 127.0.0.1:8080".to_owned(),
                },
            };
            self.problem(format!("`{}` is no IP address with a port; {right}", self.text))
        })
    }

    /// `host:port` each, without spaces.
    pub(super) fn nodes(&self) -> Result<Vec<String>, Problem> {
        let node = |text: &str| nodes::node(text).map_err(|wrong| self.problem(wrong));
        self.text.split(',').map(node).collect()
    }

    pub(super) fn keyspace(&self) -> Result<String, Problem> {
        let text = self.text.as_str();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins = text.starts_with(|first: char| first.is_ascii_lowercase());
        // The most that Cassandra takes.
        if begins && text.len() <= 48 && text.bytes().all(plain) {
            return Ok(text.to_owned());
        }
        Err(self.problem(format!(
            "`{text}` is no name of a keyspace; write at most 48 of a-z, 0-9 and _, a letter first"
        )))
    }

    pub(super) fn datacenter(&self) -> Result<String, Problem> {
        let text = self.text.as_str();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if !text.is_empty() && text.len() <= 128 && text.bytes().all(plain) {
            return Ok(text.to_owned());
        }
        Err(self.problem(format!(
            "`{text}` is no name of a datacenter; write at most 128 letters, digits, _, - and ."
        )))
    }

    pub(super) fn redis(&self) -> Result<RedisUrl, Problem> {
        redis_url::parse(&self.text).map_err(|wrong| self.problem(wrong))
    }

    pub(super) fn classes(&self) -> Result<RetentionClasses, Problem> {
        RetentionClasses::parse(&self.text).map_err(|wrong| self.problem(wrong.to_string()))
    }

    pub(super) fn path(&self) -> Result<PathBuf, Problem> {
        if self.text.is_empty() {
            return Err(self.problem("the path is empty; name a directory"));
        }
        Ok(PathBuf::from(&self.text))
    }

    pub(super) fn switch(&self) -> Result<bool, Problem> {
        self.text
            .parse()
            .map_err(|_| self.problem(format!("`{}` is neither `true` nor `false`", self.text)))
    }

    /// Its place in the list of words.
    pub(super) fn word(&self) -> Result<&'static str, Problem> {
        let Kind::Word(words) = self.definition.kind else { return Err(self.defect()) };
        words.iter().copied().find(|word| *word == self.text).ok_or_else(|| {
            let hint = nearest(&self.text, words.iter().copied())
                .map(|word| format!("; did you mean `{word}`?"))
                .unwrap_or_default();
            let kind = self.definition.kind;
            self.problem(format!("`{}` is not known; write {kind}{hint}", self.text))
        })
    }

    pub(super) fn count(&self) -> Result<u64, Problem> {
        let Kind::Count { min, max } = self.definition.kind else { return Err(self.defect()) };
        let number = units::count(&self.text).ok_or_else(|| self.malformed("a whole number"))?;
        self.within(number, min, max, |number| number.to_string())
    }

    /// [`Value::count`] as another type of number, which its bounds must fit.
    pub(super) fn count_as<T: TryFrom<u64>>(&self) -> Result<T, Problem> {
        self.count().and_then(|number| T::try_from(number).map_err(|_| self.defect()))
    }

    /// In bytes.
    pub(super) fn size(&self) -> Result<u64, Problem> {
        let Kind::Size { min, max } = self.definition.kind else { return Err(self.defect()) };
        let bytes = units::size(&self.text)
            .ok_or_else(|| self.malformed("a whole number with B, KiB, MiB, GiB or TiB"))?;
        self.within(bytes, min, max, units::size_text)
    }

    /// [`Value::size`] of something that memory holds.
    pub(super) fn size_in_memory(&self) -> Result<usize, Problem> {
        let bytes = self.size()?;
        usize::try_from(bytes)
            .map_err(|_| self.problem("is more than this machine's memory can ever hold"))
    }

    pub(super) fn time(&self) -> Result<Duration, Problem> {
        let Kind::Time { min, max } = self.definition.kind else { return Err(self.defect()) };
        let time = units::time(&self.text)
            .ok_or_else(|| self.malformed("a whole number with ms, s, m, h or d"))?;
        self.within(time, min, max, units::time_text)
    }

    fn within<T: PartialOrd + Copy>(
        &self,
        value: T,
        min: T,
        max: T,
        text: impl Fn(T) -> String,
    ) -> Result<T, Problem> {
        if value < min {
            return Err(self.problem(format!("`{}` is below {}", self.text, text(min))));
        }
        if value > max {
            return Err(self.problem(format!("`{}` is above {}", self.text, text(max))));
        }
        Ok(value)
    }

    fn malformed(&self, what: &str) -> Problem {
        let example = match self.definition.default {
            Fallback::Value(value) => format!(", such as {value}"),
            Fallback::Computed(_) | Fallback::Nothing(_) => String::new(),
        };
        self.problem(format!("`{}` is not {what}{example}", self.text))
    }

    /// A setting is asked for as what it is not: a defect here, which every test would meet.
    fn defect(&self) -> Problem {
        self.problem("is read as another kind than it is defined as; this is a defect")
    }
}
