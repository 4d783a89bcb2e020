//! The simulated file system loses what a real one may lose, and nothing else.

use super::*;
use crate::fs::{read_file, replace_file};

fn written(fs: &SimFs, name: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = fs.open(Path::new(name), Open::CreateNew).expect("a new file");
    file.write_at(bytes, 0).expect("no faults");
    file
}

#[test]
fn what_is_synced_survives_and_what_is_not_is_lost_sometimes() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..100 {
        let fs = SimFs::new(seed);
        let file = written(&fs, "/a", &[1; 2000]);
        file.sync().expect("no faults");
        fs.sync_dir(Path::new("/")).expect("no faults");
        file.write_at(&[2; 2000], 2000).expect("no faults");
        written(&fs, "/b", b"never named on disk");
        fs.power_loss();
        assert!(file.sync().is_err(), "the handle died with its process");
        let content = fs.content(Path::new("/a")).expect("its name was synced");
        assert_eq!(content[..2000], [1; 2000]);
        let whole = content.len() == 4000 && content[2000..].iter().all(|byte| *byte == 2);
        *(if whole { &mut kept } else { &mut lost }) += 1;
    }
    assert!(lost > 10 && kept > 10, "lost {lost}, kept {kept}");
}

#[test]
fn after_a_failed_sync_a_good_one_proves_nothing() {
    let mut lost = 0;
    for seed in 0..50 {
        let fs = SimFs::new(seed);
        let file = written(&fs, "/a", &[7; 4096]);
        fs.sync_dir(Path::new("/")).expect("no faults");
        fs.set_faults(Faults { sync: 1000, ..Faults::default() });
        assert!(file.sync().is_err());
        fs.set_faults(Faults::default());
        file.sync().expect("no faults any more");
        fs.power_loss();
        lost += u32::from(fs.content(Path::new("/a")) != Some(vec![7; 4096]));
    }
    assert!(lost > 25, "lost {lost}");
}

#[test]
fn a_replaced_file_is_the_old_or_the_new_wherever_it_stops() {
    let path = Path::new("/dir/file");
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let fs = SimFs::new(seed);
        fs.create_dir_all(Path::new("/dir")).expect("no faults");
        fs.sync_dir(Path::new("/")).expect("no faults");
        replace_file(&fs, path, b"old").expect("no faults");
        fs.stop_after(seed % 8);
        let done = replace_file(&fs, path, b"new").is_ok();
        fs.power_loss();
        let content = read_file(&fs, path, 10).expect("one of the two");
        assert!(content == b"new" || (content == b"old" && !done), "seed {seed}");
        seen.insert(content);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_full_disk_takes_what_fits_and_more_when_there_is_room() {
    let fs = SimFs::new(1);
    fs.set_capacity(1000);
    let file = written(&fs, "/a", &[1; 900]);
    let full = file.write_at(&[2; 200], 900).expect_err("no room");
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs.free_bytes(Path::new("/")).expect("no faults"), 0);
    assert_eq!(file.allocate(2000).expect_err("no room").kind(), io::ErrorKind::StorageFull);
    fs.set_capacity(5000);
    file.allocate(2000).expect("room");
    assert_eq!((file.len().expect("open"), fs.used_bytes()), (2000, 2000));
}
