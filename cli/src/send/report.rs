//! What is told of a sending: progress, what was refused, and the end.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use crate::output::{Output, number, plain};

use super::batch::{Outcome, Refused};
use super::source::Event;

/// Refused lines that are shown; all of them are counted, and written where they are wanted.
const SHOWN_MAX: u64 = 20;
const STYLE: &str = "{spinner} {bytes}/{total_bytes} {wide_bar} {msg} {eta}";
const STYLE_ENDLESS: &str = "{spinner} {bytes} {msg}";

/// The sums of a run, as they are printed with `--json`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Totals {
    pub(super) accepted: u64,
    pub(super) repeats: u64,
    pub(super) refused: u64,
    pub(super) batches: u64,
    pub(super) retries: u64,
    pub(super) ack: String,
    pub(super) idempotency_key: String,
}

/// What is told while it is sent.
pub(super) struct Report {
    pub(super) totals: Totals,
    pub(super) bar: ProgressBar,
    rejected: Option<BufWriter<File>>,
    json: bool,
}

impl Report {
    /// `bytes`: how much there is to send, where that is known.
    ///
    /// # Errors
    /// When the file for what is refused can't be made.
    pub(super) fn new(
        key: &str,
        bytes: Option<u64>,
        rejected: Option<&Path>,
        json: bool,
    ) -> anyhow::Result<Self> {
        let make = |path: &Path| {
            let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
            anyhow::Ok(BufWriter::new(file))
        };
        let rejected = rejected.map(make).transpose()?;
        let bar = bytes.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let style = if bytes.is_some() { STYLE } else { STYLE_ENDLESS };
        bar.set_style(ProgressStyle::with_template(style)?);
        let totals = Totals { idempotency_key: key.to_owned(), ..Totals::default() };
        Ok(Self { totals, bar, rejected, json })
    }

    /// Takes the end of a batch; `bytes` of the file have been read.
    ///
    /// # Errors
    /// When what was refused can't be written.
    pub(super) fn take(&mut self, outcome: Outcome, bytes: u64) -> io::Result<()> {
        self.totals.batches += 1;
        self.totals.accepted += outcome.accepted;
        self.totals.repeats += outcome.repeats;
        self.totals.ack = outcome.ack;
        for refused in &outcome.refused {
            self.refuse(refused)?;
        }
        self.bar.set_position(bytes);
        self.bar.set_message(format!("{} accepted", number(self.totals.accepted)));
        Ok(())
    }

    /// Takes what was never sent.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn refuse(&mut self, refused: &Refused) -> io::Result<()> {
        let Refused { event: Event { line, text }, code, message } = refused;
        self.totals.refused += 1;
        if let Some(file) = &mut self.rejected {
            let text = String::from_utf8_lossy(text);
            let line = json!({"line": line, "code": code, "message": message, "text": text});
            serde_json::to_writer(&mut *file, &line)?;
            writeln!(file)?;
        }
        if !self.json && self.totals.refused <= SHOWN_MAX {
            self.bar.suspend(|| {
                // With nobody to read, the sums still tell.
                let _ = writeln!(io::stderr(), "line {line}: {code}: {}", plain(message));
            });
        }
        Ok(())
    }

    /// Prints how it ended.
    ///
    /// # Errors
    /// When that, or what was refused, can't be written.
    pub(super) fn end(mut self, out: &mut Output) -> io::Result<Totals> {
        self.bar.finish_and_clear();
        if let Some(file) = &mut self.rejected {
            file.flush()?;
        }
        let Totals { accepted, repeats, refused, batches, retries, .. } = &self.totals;
        if out.json {
            out.json(&self.totals)?;
            return Ok(self.totals);
        }
        if *refused > SHOWN_MAX {
            let more = number(refused - SHOWN_MAX);
            // As above.
            let _ = writeln!(io::stderr(), "… and {more} lines more; --rejected FILE keeps all");
        }
        out.line(&format!(
            "{} accepted, {} repeats, {} refused; {} batches, {} tries more",
            number(*accepted),
            number(*repeats),
            number(*refused),
            number(*batches),
            number(*retries),
        ))?;
        Ok(self.totals)
    }
}

/// Says why it waits; programs are told by the sums, and on standard error of nothing but a
/// failure.
pub(crate) fn notice(json: bool, why: &str) {
    if json {
        return;
    }
    // Whoever does not read it sees how it ends.
    let _ = writeln!(io::stderr(), "pulsemesh: {}; trying again", plain(why));
}

/// Says with which key an interrupted run goes on, where somebody may interrupt it.
pub(super) fn tell_key(json: bool, key: &str) {
    if !json && io::stderr().is_terminal() {
        // As above.
        let _ = writeln!(io::stderr(), "if it is interrupted, go on with --idempotency-key {key}");
    }
}
