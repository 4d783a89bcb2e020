//! A file of any size, batch by batch. What is refused costs no other line; what stops the run
//! says how to go on.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::Context;

use crate::client::Client;
use crate::output::Output;
use crate::retry::Retry;
use crate::target::Target;
use crate::{EXIT_OK, EXIT_PARTLY};

use super::SendArguments;
use super::batch::{self, Refused};
use super::report::{self, Report};
use super::source::{Event, Item, Source};

/// Most bytes of one request: an eighth of what a server takes, and many events.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// What is read at once.
const READ_BYTES: usize = 256 << 10;

/// Sends the file and prints the sums.
///
/// # Errors
/// When the server refuses a request itself, is away for too long, or a file can't be used.
pub(super) fn send(
    client: &Client,
    arguments: &SendArguments,
    (path, key): (&Path, &str),
    out: &mut Output,
) -> anyhow::Result<u8> {
    let (input, bytes) = open(path).with_context(|| format!("read {}", path.display()))?;
    let source = Source::new(input).with_context(|| format!("read {}", path.display()))?;
    let rejected = arguments.rejected.as_deref();
    let report = Report::new(key, bytes, rejected, out.json)?;
    report::tell_key(out.json, key);
    let mut run = Run { client, arguments, key, source, report, json: out.json, seen: 0 };
    run.all()?;
    let totals = run.report.end(out)?;
    Ok(if totals.refused > 0 { EXIT_PARTLY } else { EXIT_OK })
}

/// What there is to read, and how many bytes, where that is known.
fn open(path: &Path) -> io::Result<(Box<dyn BufRead>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(BufReader::with_capacity(READ_BYTES, io::stdin())), None));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(BufReader::with_capacity(READ_BYTES, file)), bytes))
}

struct Run<'a> {
    client: &'a Client,
    arguments: &'a SendArguments,
    key: &'a str,
    source: Source<Box<dyn BufRead>>,
    report: Report,
    json: bool,
    /// Events of the file that were read, those that were skipped or can't be sent among them.
    seen: u64,
}

/// Events of one request, and how many stand in front of the first.
type Batch = (Vec<Event>, u64);

impl Run<'_> {
    fn all(&mut self) -> anyhow::Result<()> {
        let mut batch = Vec::new();
        let (mut bytes, mut first) = (0, self.arguments.skip);
        while let Some(item) = self.source.next().context("read the events")? {
            self.seen += 1;
            if self.seen <= self.arguments.skip {
                continue;
            }
            match item {
                Item::Event(event) => {
                    // Where batches are cut follows from the file alone: another run with the
                    // same key has the same.
                    if bytes + event.text.len() > BATCH_BYTES_MAX && !batch.is_empty() {
                        self.send((std::mem::take(&mut batch), first))?;
                        bytes = 0;
                    }
                    if batch.is_empty() {
                        first = self.seen - 1;
                    }
                    bytes += event.text.len() + 1;
                    batch.push(event);
                }
                Item::Broken { event, code, message } => {
                    self.report.refuse(&Refused { event, code: code.to_owned(), message })?;
                }
            }
            if batch.len() >= self.arguments.batch as usize {
                self.send((std::mem::take(&mut batch), first))?;
                bytes = 0;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.send((batch, first)) }
    }

    fn send(&mut self, (events, before): Batch) -> anyhow::Result<()> {
        let target = Target::new(self.arguments.shape.path())
            .with_some("ack", self.arguments.ack.as_ref())
            .with("ids", true);
        let key = format!("{}.{before}", self.key);
        let line = events.first().map_or(0, |event| event.line);
        let (bar, json) = (self.report.bar.clone(), self.json);
        let mut notice = |why: &str| bar.suspend(|| report::notice(json, why));
        let mut retry = Retry::new(self.arguments.retry_for, &mut notice);
        let sent = batch::send(self.client, &target, (events, &key), &mut retry);
        self.report.totals.retries += retry.retries;
        let outcome = sent.with_context(|| {
            format!(
                "{before} events, those in front of line {line}, are done; go on with the same \
                 file, --skip {before} and --idempotency-key {}",
                self.key
            )
        })?;
        Ok(self.report.take(outcome, self.source.bytes)?)
    }
}
