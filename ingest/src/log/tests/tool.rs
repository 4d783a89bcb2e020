//! What the command line shows of a log.

use std::path::Path;

use crate::fs::fault::SimFs;

use super::super::segment::HEADER_BYTES;
use super::super::tool::{DumpFilter, dump, verify};
use super::{DIRECTORY, fill, open, path, segments};

#[test]
fn a_sound_log_is_called_so_while_it_is_written_and_after() {
    let fs = SimFs::new(1);
    let (chain, mut writer) = open(&fs, 1024);
    for end in [0, 1, 40] {
        fill(&mut writer, chain.end_seq()..end);
        let report = verify(&fs, Path::new(DIRECTORY)).expect("readable");
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.pulses, end);
        assert_eq!(report.log, Some(chain.id.to_string()));
        let torn: u64 = report.segments.iter().map(|segment| segment.torn_bytes).sum();
        assert_eq!(torn, 0);
    }
}

#[test]
fn damage_is_named_by_segment_and_counted_by_number() {
    let fs = SimFs::new(1);
    let (_, mut writer) = open(&fs, 1024);
    fill(&mut writer, 0..40);
    let victim = segments(&fs)[2];
    fs.damage(&path(victim), HEADER_BYTES + 40, b"??");
    let report = verify(&fs, Path::new(DIRECTORY)).expect("readable");
    assert!(!report.is_sound());
    assert_eq!((report.pulses, report.missing), (39, 1));
    let damaged: Vec<_> =
        report.segments.iter().filter(|segment| segment.damaged_bytes > 0).collect();
    assert_eq!(damaged.len(), 1);
    assert_eq!(damaged[0].name, victim.to_string());
    fs.lose_file(&path(segments(&fs)[1]));
    let report = verify(&fs, Path::new(DIRECTORY)).expect("readable");
    assert!(!report.is_sound() && report.missing > 1, "{report:?}");
}

#[test]
fn a_dump_has_a_line_for_each_pulse_that_is_asked_for() {
    let fs = SimFs::new(1);
    let (_, mut writer) = open(&fs, 1024);
    fill(&mut writer, 0..30);
    let lines = |filter: DumpFilter| {
        let mut output = Vec::new();
        dump(&fs, Path::new(DIRECTORY), &filter, &mut output).expect("readable");
        let text = String::from_utf8(output).expect("text");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        lines.collect::<Vec<serde_json::Value>>()
    };
    let all = lines(DumpFilter::default());
    assert_eq!(all.len(), 30);
    assert_eq!(all[7]["seq"], 7);
    assert_eq!(all[7]["service"], "checkout");
    assert_eq!(all[7]["raw"], r#"{"service":"checkout"}"#);
    let some = DumpFilter { from_seq: 10, to_seq: Some(20), ..DumpFilter::default() };
    assert_eq!(lines(some).len(), 10);
    let none = DumpFilter { tenant: Some("other".into()), ..DumpFilter::default() };
    assert_eq!(lines(none).len(), 0);
}
