//! Metrics of the process itself, read when they are asked for, by the names that every
//! Prometheus client uses. What the system does not tell is left out.

use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::version::Version;

/// Registers `process_…` and `pulsemesh_build_info`. `registry` must have no prefix.
pub fn register(registry: &mut Registry, version: &Version) {
    registry.register_collector(Box::new(ProcessCollector));
    // A gauge, not an info: the plain text format knows no info, and its readers refuse one.
    let build = Family::<BuildLabels, Gauge>::default();
    build
        .get_or_create(&BuildLabels { version: version.version, revision: version.revision })
        .set(1);
    registry.register("pulsemesh_build_info", "Which build this is; always 1", build);
}

/// Raises the limit of open files to the most that this process may have; returns it,
/// `u64::MAX` where there is none. A connection is an open file, and the usual first limit of
/// 1024 is below the usual bound on connections.
///
/// # Errors
/// When the system refuses.
pub fn raise_open_files_limit() -> io::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    revision: &'static str,
}

/// Reads `/proc/self`.
#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(stat) = Stat::read() {
            stat.encode(&mut encoder)?;
        }
        if let Ok(open) = open_files() {
            put(&mut encoder, ("process_open_fds", "Open files", None), &ConstGauge::new(open))?;
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let about = ("process_max_fds", "Most open files", None);
            put(&mut encoder, about, &ConstGauge::new(most))?;
        }
        Ok(())
    }
}

type About = (&'static str, &'static str, Option<Unit>);

fn put(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): About,
    metric: &impl EncodeMetric,
) -> fmt::Result {
    let metric_type = metric.metric_type();
    metric.encode(encoder.encode_descriptor(name, help, unit.as_ref(), metric_type)?)
}

/// What `/proc/self/stat` tells, see proc_pid_stat(5).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: i64,
    start_ticks: u64,
    virtual_bytes: i64,
    resident_pages: i64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    /// The second field is the command's name in parentheses and may hold anything, so fields
    /// are counted from the last parenthesis on; the first behind it has number 3.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
        Some(Self {
            cpu_ticks: field::<u64>(&fields, 14)? + field::<u64>(&fields, 15)?,
            threads: field(&fields, 20)?,
            start_ticks: field(&fields, 22)?,
            virtual_bytes: field(&fields, 23)?,
            resident_pages: field(&fields, 24)?,
        })
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        let page_bytes = i64::try_from(rustix::param::page_size()).unwrap_or(i64::MAX);
        let cpu_seconds = self.cpu_ticks as f64 / ticks_per_second;
        let about = ("process_cpu", "User and system CPU time", Some(Unit::Seconds));
        put(encoder, about, &ConstCounter::new(cpu_seconds))?;
        let resident = self.resident_pages.saturating_mul(page_bytes);
        let about = ("process_resident_memory", "Memory in RAM", Some(Unit::Bytes));
        put(encoder, about, &ConstGauge::new(resident))?;
        let about = ("process_virtual_memory", "Address space", Some(Unit::Bytes));
        put(encoder, about, &ConstGauge::new(self.virtual_bytes))?;
        put(encoder, ("process_threads", "Threads", None), &ConstGauge::new(self.threads))?;
        if let Some(boot_seconds) = boot_seconds() {
            let start = boot_seconds + self.start_ticks as f64 / ticks_per_second;
            let about = ("process_start_time", "Start, since 1970 in UTC", Some(Unit::Seconds));
            put(encoder, about, &ConstGauge::new(start))?;
        }
        Ok(())
    }
}

fn field<T: FromStr>(fields: &[&str], number: usize) -> Option<T> {
    fields.get(number - 3)?.parse().ok()
}

fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_files() -> io::Result<i64> {
    let entries = fs::read_dir("/proc/self/fd")?.count();
    // The directory that is being read is one of them.
    Ok(i64::try_from(entries).unwrap_or(i64::MAX).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use super::*;

    fn scrape() -> String {
        let mut registry = Registry::default();
        register(&mut registry, &Version::of_build("1.2.3"));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        text
    }

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        let line = line.expect("the metric is there");
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    #[test]
    fn stat_is_read_behind_any_command_name() {
        let text = "42 (a) R (b) 9) S 1 2 3 4 5 6 7 8 9 10 70 30 0 0 20 0 8 0 500 4096 17 1 2";
        let expected = Stat {
            cpu_ticks: 100,
            threads: 8,
            start_ticks: 500,
            virtual_bytes: 4096,
            resident_pages: 17,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("42 (a) S 1 2"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn the_process_is_measured_when_it_is_asked() {
        let text = scrape();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let start = value(&text, "process_start_time_seconds");
        assert!((now - 3600.0..now + 5.0).contains(&start), "{start} is not near {now}");
        let resident = value(&text, "process_resident_memory_bytes");
        assert!(resident > 500_000.0 && resident < value(&text, "process_virtual_memory_bytes"));
        assert!(value(&text, "process_threads") >= 1.0);
        assert!(value(&text, "process_max_fds") >= value(&text, "process_open_fds"));
        assert!(text.contains("pulsemesh_build_info{version=\"1.2.3\",revision=\""), "{text}");
    }

    #[test]
    fn cpu_time_and_open_files_grow_with_use() {
        let before = scrape();
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").expect("opens")).collect();
        let deadline = Instant::now() + Duration::from_secs(30);
        let name = "process_cpu_seconds_total";
        while value(&scrape(), name) <= value(&before, name) {
            assert!(Instant::now() < deadline, "CPU time never grows");
        }
        assert!(value(&scrape(), "process_open_fds") >= value(&before, "process_open_fds") + 25.0);
        drop(files);
    }

    #[test]
    fn the_limit_of_open_files_is_raised_to_its_maximum() {
        let limit = raise_open_files_limit().expect("allowed");
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), limit);
    }
}
