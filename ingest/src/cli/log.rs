//! Commands on a log: prove it, print it, empty it into a store.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use prometheus_client::registry::Registry;
use pulsemesh_runtime::stop::Stop;
use pulsemesh_runtime::telemetry;

use crate::fs::OsFs;
use crate::ingestor::Ingestor;
use crate::limits::Limiter;
use crate::log::tool::{self, DumpFilter, Report};
use crate::metrics;
use crate::settings::{Settings, StoreChoice};

use super::{EXIT_AT_ONCE, EXIT_FAILED, EXIT_OK, assemble, serve};

/// Between two looks at what is left.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Reads the whole log under `directory` and tells what is in it and what is damaged; exits
/// with 1 when anything is.
///
/// # Errors
/// When there is no log, or it can't be read.
pub(super) fn verify(directory: &Path, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let report = tool::verify(&OsFs, &log_in(directory)?)?;
    write_report(&report, out)?;
    Ok(ExitCode::from(if report.is_sound() { EXIT_OK } else { EXIT_FAILED }))
}

fn write_report(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    for segment in &report.segments {
        let (numbers, pulses) = (segment.first_seq..segment.end_seq, segment.pulses);
        write!(out, "{}: numbers {}..{}, ", segment.name, numbers.start, numbers.end)?;
        write!(out, "{pulses} pulses in {} frames", segment.frames)?;
        if segment.version.is_none() {
            write!(out, ", damaged header")?;
        }
        for (bytes, what) in [(segment.damaged_bytes, "damaged"), (segment.torn_bytes, "torn")] {
            if bytes > 0 {
                write!(out, ", {bytes} bytes {what}")?;
            }
        }
        writeln!(out, "{}", if segment.void { ", written again in the next" } else { "" })?;
    }
    for name in &report.set_aside {
        writeln!(out, "{name}: set aside earlier, no longer part of the log")?;
    }
    let verdict = if report.is_sound() { "sound" } else { "damaged" };
    writeln!(out, "{verdict}: {} pulses, {} missing", report.pulses, report.missing)?;
    out.flush()
}

/// Writes every pulse of the log under `directory` as one JSON object a line.
///
/// # Errors
/// When there is no log, or it can't be read.
pub(super) fn dump(directory: &Path, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(out);
    tool::dump(&OsFs, &log_in(directory)?, &DumpFilter::default(), &mut out)?;
    out.flush()?;
    Ok(ExitCode::from(EXIT_OK))
}

/// Writes what a log left behind still holds to the store that the settings name. A signal ends
/// it in order; what is left stays in the log.
///
/// # Errors
/// When there is no log, it is in use, or the store can't take it.
pub(super) fn drain(settings: Settings, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    log_in(&settings.storage.data_dir)?;
    if matches!(settings.storage.store, StoreChoice::Memory { .. }) {
        bail!("a memory store ends with this command: name another with --store");
    }
    let runtime = serve::runtime()?;
    let telemetry = {
        let _entered = runtime.enter();
        telemetry::start(&serve::telemetry(&settings))?
    };
    let outcome = runtime.block_on(empty(&settings));
    telemetry.stop(serve::TELEMETRY_TIMEOUT);
    runtime.shutdown_background();
    let (drained, left, letters) = outcome?;
    writeln!(out, "drained {drained} pulses, {left} left, {letters} dead letters")?;
    Ok(ExitCode::from(if left == 0 { EXIT_OK } else { EXIT_AT_ONCE }))
}

/// Drains; returns how many pulses were, how many are left and how many dead letters there are.
async fn empty(settings: &Settings) -> anyhow::Result<(u64, u64, u64)> {
    let stop = Stop::new();
    let _signals = stop.follow_signals(&tokio::runtime::Handle::current())?;
    let (metrics, mut registry) = (metrics::unregistered(), Registry::default());
    let counted = (Limiter::unlimited(), metrics);
    let ingestor = assemble::ingestor(settings, counted, None, &mut registry, assemble::as_it_is)?;
    let before = ingestor.backlog_pulses();
    ingestor.seal();
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} pulses, {per_sec}")?;
    let progress = ProgressBar::new(before).with_style(style);
    tokio::select! {
        () = watch(&ingestor, before, &progress) => {}
        () = stop.requested() => {}
        part = ingestor.died() => bail!("drain the log failed: {part}"),
    }
    progress.finish_and_clear();
    ingestor.close().await?;
    let left = ingestor.backlog_pulses();
    Ok((before.saturating_sub(left), left, ingestor.dead_letters()))
}

async fn watch(ingestor: &Ingestor, before: u64, progress: &ProgressBar) {
    loop {
        let left = ingestor.backlog_pulses();
        progress.set_position(before.saturating_sub(left));
        if left == 0 {
            return;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The log's directory in a data directory.
fn log_in(directory: &Path) -> anyhow::Result<PathBuf> {
    let log = directory.join("log");
    match log.try_exists().with_context(|| format!("look for {} failed", log.display()))? {
        true => Ok(log),
        false => bail!(
            "there is no log in {}: give the data directory, which holds a directory `log`",
            directory.display()
        ),
    }
}
