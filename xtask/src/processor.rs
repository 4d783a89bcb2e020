//! How much processor time a process has used, as the kernel counts it.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;

/// Time of all threads of a process since its start, in user mode and in the kernel.
///
/// # Errors
///
/// When there is no such process.
pub fn time_used(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let ticks = ticks(&text).with_context(|| format!("read the times in {path}"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second().max(1) as f64))
}

/// `utime` and `stime`, the fields 14 and 15 (proc_pid_stat(5)).
fn ticks(stat: &str) -> Option<u64> {
    // The second field is the program's name, which may hold spaces and brackets.
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut times = behind_name.split_ascii_whitespace().skip(11);
    Some(times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 90 0 0 0 250 50 9 9 20 0 3 0 100 0 0";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn work_is_counted() {
        let own = std::process::id();
        let used = || time_used(own).expect("this process runs");
        let before = used();
        let mut sum = 0_u64;
        while used() < before + Duration::from_millis(20) {
            sum = (0..100_000).fold(sum, |sum, number| std::hint::black_box(sum ^ number));
        }
    }
}
