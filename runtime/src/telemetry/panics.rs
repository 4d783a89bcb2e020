//! Panics as log lines: one that only prints would be lost between lines of JSON.

use std::backtrace::{Backtrace, BacktraceStatus};

use tracing::error;

use crate::tasks::panic_text;

/// Logs every panic from now on, with a backtrace where `RUST_BACKTRACE` asks for one.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured)
            .then(|| tracing::field::display(backtrace));
        let location = panic.location().map(tracing::field::display);
        let thread = std::thread::current();
        error!(
            location,
            thread = thread.name(),
            backtrace,
            "panicked: {}",
            panic_text(panic.payload())
        );
    }));
}
