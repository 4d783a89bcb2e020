//! Gauges that are read when they are asked for: they are as new as the answer, and all values
//! of one gauge are of one moment. Keeps no value itself.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeGaugeValue, EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

type Read<T> = dyn Fn() -> T + Send + Sync;

/// A gauge that is read when it is asked for. Cloning shares it.
pub struct Probe<T> {
    read: Arc<Mutex<Option<Arc<Read<T>>>>>,
}

/// A gauge with labels: each of its values has others.
pub type ProbeFamily<L, N> = Probe<Vec<(L, N)>>;

impl<T> Probe<T> {
    /// From now on its value comes from `read`, which must not block for long. Whoever was read
    /// before is let go of.
    pub fn set(&self, read: impl Fn() -> T + Send + Sync + 'static) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(read));
    }

    /// Its value now; `None` while there is nobody to ask.
    pub fn get(&self) -> Option<T> {
        // Let go of the lock: a slow answer to one must not hold up another.
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        read.map(|read| read())
    }
}

impl<T> Clone for Probe<T> {
    fn clone(&self) -> Self {
        Self { read: Arc::clone(&self.read) }
    }
}

impl<T> Default for Probe<T> {
    fn default() -> Self {
        Self { read: Arc::default() }
    }
}

impl<T> fmt::Debug for Probe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl EncodeMetric for Probe<u64> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.get().unwrap_or_default())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

impl<L: EncodeLabelSet, N: EncodeGaugeValue> EncodeMetric for ProbeFamily<L, N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, value) in self.get().unwrap_or_default() {
            encoder.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::metrics::SinkLabels;

    #[test]
    fn each_answer_has_the_values_of_its_moment() {
        let (level, family) = (Probe::<u64>::default(), ProbeFamily::<SinkLabels, f64>::default());
        let mut registry = Registry::default();
        registry.register("level", "Level", level.clone());
        registry.register("age", "Age", family.clone());
        let told = || {
            let mut text = String::new();
            text::encode(&mut text, &registry).expect("a string takes all");
            text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(told(), "level 0");
        let count = Arc::new(AtomicU64::new(6));
        let counted = Arc::clone(&count);
        level.set(move || counted.fetch_add(1, Ordering::SeqCst));
        family.set(|| vec![(SinkLabels { sink: "main".to_owned() }, 0.5)]);
        assert_eq!(told(), "level 6 age{sink=\"main\"} 0.5");
        level.set(|| 1);
        family.set(Vec::new);
        assert_eq!((told().as_str(), count.load(Ordering::SeqCst)), ("level 1", 7));
    }
}
