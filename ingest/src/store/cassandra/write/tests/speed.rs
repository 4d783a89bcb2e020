//! How long planning and binding take. Not a test of a bound: machines differ.
//! `cargo test --release -p pulsemesh-ingest --lib write::tests::speed -- --ignored --nocapture`

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use scylla::frame::response::result::{ColumnSpec, ColumnType, NativeType, TableSpec};
use scylla::serialize::batch::{BatchValues, BatchValuesIterator};
use scylla::serialize::row::RowSerializationContext;
use scylla::serialize::writers::RowWriter;

use crate::store::cassandra::layout::Layout;

use crate::store::bars::Bars;

use super::super::plan::{Plan, PlanSettings};
use super::super::row::Table;
use super::planning::{Sample, batch};

const NOW_US: i64 = 1_700_049_600_000_000;
const RAW: &str = concat!(
    r#"{"service_name":"checkout","event_time":"2023-11-15T12:00:00.123Z","latency_ms":12.5,"#,
    r#""status":"ok","value":3,"user":"user-4711","metadata":{"region":"eu-west-1","version":"#,
    r#""1.42.0"},"payload":{"cart":[1,2,3],"currency":"EUR"}}"#
);

/// 5,000 rows of so many services, as they lie in the log: each service's in a frame.
fn samples(services: u64, layout: Layout) -> Vec<Sample> {
    let sample = |number| {
        let mut sample = Sample::new(number, NOW_US + (number / 100) as i64 * 4_000);
        sample.service = format!("service-{}", number % services);
        sample.raw = RAW.into();
        sample.layout = layout;
        sample
    };
    (0..5_000).map(sample).collect()
}

/// The best of several rounds, in nanoseconds for each row.
fn ns_per_row(mut work: impl FnMut()) -> f64 {
    let round = || {
        let start = Instant::now();
        work();
        start.elapsed().as_nanos() as f64 / 5_000.0
    };
    std::iter::repeat_with(round).take(50).fold(f64::INFINITY, f64::min)
}

/// Binds all requests of a table as the driver does.
fn bind(plan: &Plan<'_>, table: Table, values: usize) {
    let column = ColumnSpec::borrowed(
        "c",
        ColumnType::Native(NativeType::Text),
        TableSpec::borrowed("k", "t"),
    );
    let columns = vec![column; values];
    let context = RowSerializationContext::from_specs(&columns);
    for range in &plan.requests(table).ranges {
        let mut buffer = Vec::new();
        let values = plan.values(table, range.clone());
        let mut rows = values.batch_values_iter();
        while let Some(bound) = rows.serialize_next(&context, &mut RowWriter::new(&mut buffer)) {
            bound.expect("values");
        }
        black_box(&buffer);
    }
}

#[test]
#[ignore = "measures; prints"]
fn a_row_takes_so_long_to_plan() {
    let settings = PlanSettings { now_us: NOW_US, retention_us: 3_600_000_000, id_index: true };
    for (name, services, layout) in [
        ("one service", 1, Layout::ONE),
        ("one service, 8 shards", 1, Layout::new(0, 3)),
        ("50 services", 50, Layout::ONE),
        ("5,000 services", 5_000, Layout::ONE),
    ] {
        let batch = batch(&samples(services, layout));
        let mut requests = (0, 0);
        let plan = ns_per_row(|| {
            let plan = Plan::new(black_box(&batch), &settings, &Bars::default(), |_, _| 8);
            requests = (plan.events.ranges.len(), plan.ids.ranges.len());
        });
        let read = ns_per_row(|| {
            for index in 0..batch.len() {
                black_box(batch.row(index));
            }
        });
        let planned = Plan::new(&batch, &settings, &Bars::default(), |_, _| 8);
        let events_bound = ns_per_row(|| bind(&planned, Table::Events, 19));
        let ids_bound = ns_per_row(|| bind(&planned, Table::Ids, 9));
        let (events, ids) = requests;
        writeln!(
            std::io::stderr(),
            "{name}: {} bytes a pulse, {events} + {ids} requests; ns/row: plan {plan:.0} (of it \
             reading the frames {read:.0}), decode and bind events {events_bound:.0}, bind ids \
             {ids_bound:.0}",
            RAW.len(),
        )
        .expect("write to stderr");
    }
}
