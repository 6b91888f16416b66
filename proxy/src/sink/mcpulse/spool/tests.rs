use std::fs::OpenOptions;

use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

use super::*;

const LIMIT: u64 = 1 << 20;

fn open(root: &TempDir) -> (Spool, Found) {
    Spool::open(root.path(), LIMIT).unwrap()
}

fn calls(range: std::ops::Range<u32>) -> Vec<Bytes> {
    range.map(|n| Bytes::from(format!("call {n}"))).collect()
}

fn append(spool: &mut Spool, calls: &[Bytes]) -> u64 {
    let appended = spool.append(calls);
    assert!(appended.error.is_none(), "{:?}", appended.error);
    assert_eq!(appended.kept, calls.len());
    appended.evicted
}

/// Takes up to `count` calls.
fn take(spool: &mut Spool, count: usize) -> (Vec<Bytes>, Vec<Place>) {
    let taken = spool.take(count, usize::MAX);
    assert_eq!(taken.unreadable, 0);
    taken.calls.into_iter().unzip()
}

/// Ends a process as SIGKILL does: nothing is tidied, the lock is gone.
fn kill(spool: Spool) {
    let Spool { folders, .. } = &spool;
    for folder in folders {
        folder.lock.unlock().unwrap();
    }
    std::mem::forget(spool);
}

/// Every file below the root.
fn files(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn segments(root: &TempDir) -> Vec<PathBuf> {
    let mut files = files(root.path());
    files.retain(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX));
    files.sort();
    files
}

#[test]
fn calls_come_back_in_order_and_leave_nothing_behind() {
    let root = tempdir().unwrap();
    let (mut spool, found) = open(&root);
    assert_eq!(found, Found::default());
    append(&mut spool, &calls(0..5));
    append(&mut spool, &calls(5..10));
    assert_eq!(spool.waiting(), 10);
    let (taken, places) = take(&mut spool, 7);
    assert_eq!(taken, calls(0..7));
    assert_eq!(spool.waiting(), 3);
    spool.settle(&places);
    let (taken, places) = take(&mut spool, 100);
    assert_eq!(taken, calls(7..10));
    spool.settle(&places);
    assert!(segments(&root).is_empty());
    append(&mut spool, &calls(10..11));
    let (_, places) = take(&mut spool, 1);
    spool.settle(&places);
    drop(spool);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn what_a_killed_process_left_is_taken_over() {
    let root = tempdir().unwrap();
    let (mut spool, _) = open(&root);
    append(&mut spool, &calls(0..10));
    let (_, places) = take(&mut spool, 6);
    spool.settle(&places[..4]);
    kill(spool);
    let (mut spool, found) = open(&root);
    assert_eq!(found, Found { restored: 6, ..Found::default() });
    append(&mut spool, &calls(10..12));
    assert_eq!(take(&mut spool, 100).0, calls(4..12));
    // Nor does an orderly end lose anything.
    drop(spool);
    assert_eq!(open(&root).1.restored, 8);
}

#[test]
fn the_folder_of_a_living_process_is_left_alone() {
    let root = tempdir().unwrap();
    let (mut first, _) = open(&root);
    append(&mut first, &calls(0..3));
    let (mut second, found) = open(&root);
    assert_eq!(found.restored, 0);
    append(&mut second, &calls(3..4));
    assert_eq!(take(&mut first, 10).0, calls(0..3));
    assert_eq!(take(&mut second, 10).0, calls(3..4));
    kill(first);
    kill(second);
    assert_eq!(open(&root).1.restored, 4);
}

#[test]
fn foreign_files_are_left_alone() {
    let root = tempdir().unwrap();
    fs::create_dir(root.path().join("proxy-of-mine")).unwrap();
    fs::create_dir(root.path().join("other")).unwrap();
    fs::write(root.path().join("other").join(LOCK), "x").unwrap();
    fs::write(root.path().join("proxy-file"), "x").unwrap();
    let before = files(root.path());
    drop(open(&root));
    assert_eq!(files(root.path()), before);
}

#[cfg(unix)]
#[test]
fn others_cannot_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempdir().unwrap();
    let (spool, _) = open(&root);
    let mode = fs::metadata(&spool.folders[0].path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_torn_or_spoilt_end_is_cut() {
    for (cut, spoil, left) in
        [(1, None, 9), (0, Some(3), 9), (17, None, 9), (18, None, 9), (19, None, 8)]
    {
        let root = tempdir().unwrap();
        let (mut spool, _) = open(&root);
        append(&mut spool, &calls(0..10));
        kill(spool);
        let [segment] = &segments(&root)[..] else { panic!("several segments") };
        let mut bytes = fs::read(segment).unwrap();
        bytes.truncate(bytes.len() - cut);
        if let Some(from_end) = spoil {
            let at = bytes.len() - from_end;
            bytes[at] ^= 1;
        }
        fs::write(segment, bytes).unwrap();
        let (mut spool, found) = open(&root);
        assert_eq!(found.restored, left, "cut {cut} bytes");
        append(&mut spool, &calls(20..21));
        let (taken, _) = take(&mut spool, 100);
        assert_eq!(taken.len() as u64, left + 1);
        assert_eq!(taken.last(), calls(20..21).last());
    }
}

#[test]
fn what_is_settled_before_its_turn_does_not_come_again() {
    let root = tempdir().unwrap();
    let (mut spool, _) = open(&root);
    append(&mut spool, &calls(0..10));
    let (_, places) = take(&mut spool, 8);
    // All but the first, the fourth and the last.
    spool.settle(&[&places[1..3], &places[4..7]].concat());
    assert_eq!(spool.unsettled(), 5);
    let left: Vec<_> = [calls(0..1), calls(3..4), calls(7..10)].concat();
    for _ in 0..2 {
        kill(spool);
        let found;
        (spool, found) = open(&root);
        assert_eq!(found, Found { restored: 5, ..Found::default() });
        assert_eq!(take(&mut spool, 10).0, left);
    }
}

/// A hundred calls, of which `spoil` damages the file.
fn spoilt(spoil: impl FnOnce(&mut Vec<u8>)) -> (TempDir, Spool, Found) {
    let root = tempdir().unwrap();
    let (mut spool, _) = open(&root);
    append(&mut spool, &calls(100..200));
    kill(spool);
    let mut bytes = fs::read(&segments(&root)[0]).unwrap();
    spoil(&mut bytes);
    fs::write(&segments(&root)[0], bytes).unwrap();
    let (spool, found) = open(&root);
    (root, spool, found)
}

/// Bytes of one of these calls on disk.
const RECORD: usize = 20;

#[test]
fn a_damaged_call_costs_no_other() {
    // Every byte of one record: its length, its checksum, its text.
    for at in 0..RECORD {
        let (root, mut spool, found) =
            spoilt(|bytes| bytes[segment::HEADER + 20 * RECORD + at] ^= 4);
        assert_eq!(found, Found { restored: 99, damaged: 1, evicted: 0 }, "byte {at}");
        append(&mut spool, &calls(200..201));
        let expected: Vec<_> = [calls(100..120), calls(121..201)].concat();
        let (taken, places) = take(&mut spool, 30);
        assert_eq!(taken, &expected[..30]);
        spool.settle(&places[..20]);
        kill(spool);
        // The settled end is the beginning of the damage: nothing is sent twice.
        let (mut spool, found) = open(&root);
        assert_eq!(found.restored, 80);
        let (taken, places) = take(&mut spool, 100);
        assert_eq!(taken, &expected[20..]);
        spool.settle(&places);
        assert!(segments(&root).is_empty());
    }
}

#[test]
fn what_damage_took_is_counted() {
    let record = |n: usize| segment::HEADER + n * RECORD;
    let found = |spoil: &dyn Fn(&mut Vec<u8>)| {
        let (_root, _, Found { restored, damaged, .. }) = spoilt(|bytes| spoil(bytes));
        (restored, damaged)
    };
    // Three in a row, and a stretch of nothing: the numbers around it tell.
    assert_eq!(found(&|bytes| (3..6).for_each(|n| bytes[record(n) + 13] ^= 1)), (97, 3));
    assert_eq!(found(&|bytes| bytes[record(3)..record(6)].fill(0)), (97, 3));
    assert_eq!(found(&|bytes| bytes[segment::HEADER..=record(40)].fill(0)), (59, 41));
    assert_eq!(found(&|bytes| drop(bytes.drain(record(3) + 5..record(6) + 5))), (96, 4));
    // The last ones are damaged, which is not the same as torn.
    assert_eq!(found(&|bytes| (97..100).for_each(|n| bytes[record(n) + 13] ^= 1)), (97, 3));
    assert_eq!(found(&|bytes| bytes[record(97)..].fill(0)), (97, 1));
    assert_eq!(found(&|bytes| bytes.truncate(record(99) + 9)), (99, 0));
    // The header is damaged, alone or with what follows.
    for at in 0..segment::HEADER {
        assert_eq!(found(&|bytes| bytes[at] ^= 4), (100, 0), "byte {at}");
    }
    assert_eq!(found(&|bytes| bytes[..=record(2)].fill(0)), (97, 3));
    // Everything is: nobody knows how many they were.
    assert_eq!(found(&|bytes| bytes.fill(0)), (0, 1));
    assert_eq!(found(&|bytes| bytes.fill(7)), (0, 1));
    // A file that was never written.
    assert_eq!(found(&|bytes| bytes.truncate(5)), (0, 0));
}

#[test]
fn a_file_that_cannot_be_read_is_left_to_a_later_start() {
    let unreadable: [&dyn Fn(&Path); 3] = [
        &|path| fs::write(path, [&b"MCPULSE\x03"[..], &[1; 100]].concat()).unwrap(),
        &|path| fs::create_dir(path).unwrap(),
        #[cfg(unix)]
        &|path| std::os::unix::fs::symlink("nowhere", path).unwrap(),
    ];
    for replace in unreadable {
        let root = tempdir().unwrap();
        let (mut spool, _) = open(&root);
        append(&mut spool, &calls(0..10));
        kill(spool);
        let segment = &segments(&root)[0];
        let aside = root.path().join("aside");
        fs::rename(segment, &aside).unwrap();
        replace(segment);
        // Starts that do nothing, and one that has calls of its own.
        for more in [0, 0, 3] {
            let (mut spool, found) = open(&root);
            assert_eq!(found, Found::default());
            append(&mut spool, &calls(10..10 + more));
            let (taken, places) = take(&mut spool, 10);
            assert_eq!(taken, calls(10..10 + more));
            spool.settle(&places);
        }
        if fs::remove_file(segment).is_err() {
            fs::remove_dir(segment).unwrap();
        }
        fs::rename(&aside, segment).unwrap();
        let (mut spool, found) = open(&root);
        assert_eq!(found, Found { restored: 10, ..Found::default() });
        let (taken, places) = take(&mut spool, 10);
        assert_eq!(taken, calls(0..10));
        spool.settle(&places);
        drop(spool);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_name_that_none_can_follow_spoils_nothing() {
    let root = tempdir().unwrap();
    let (mut spool, _) = open(&root);
    append(&mut spool, &calls(0..10));
    kill(spool);
    let segment = &segments(&root)[0];
    let last = segment.with_file_name(format!("{}.{SUFFIX}", u64::MAX));
    fs::write(&last, "x").unwrap();
    let (mut spool, found) = open(&root);
    assert_eq!(found, Found { restored: 10, ..Found::default() });
    append(&mut spool, &calls(10..12));
    assert_eq!(take(&mut spool, 100).0, calls(0..12));
    kill(spool);
    // One that could be followed only by that.
    fs::rename(segment, last.with_file_name(format!("{}.{SUFFIX}", u64::MAX - 1))).unwrap();
    let (mut spool, found) = open(&root);
    assert_eq!(found, Found { restored: 12, ..Found::default() });
    let appended = spool.append(&calls(12..13));
    assert!(appended.kept == 0 && appended.error.is_some());
    let (taken, places) = take(&mut spool, 100);
    assert_eq!(taken.len(), 12);
    spool.settle(&places);
    drop(spool);
    assert_eq!(segments(&root), [last]);
    append(&mut open(&root).0, &calls(0..1));
    assert_eq!(open(&root).1.restored, 1);
}

#[test]
fn a_segment_that_becomes_unreadable_is_given_up_and_counted() {
    let root = tempdir().unwrap();
    let (mut spool, _) = open(&root);
    append(&mut spool, &calls(0..10));
    let file = OpenOptions::new().write(true).open(&segments(&root)[0]).unwrap();
    file.set_len(50).unwrap();
    let taken = spool.take(100, usize::MAX);
    assert_eq!(taken.calls.len() as u64 + taken.unreadable, 10);
    assert!(taken.unreadable > 0);
    assert_eq!(spool.waiting(), 0);
    spool.settle(&taken.calls.iter().map(|(_, place)| *place).collect::<Vec<_>>());
    assert!(segments(&root).is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_keeps_none_and_says_why() {
    let root = tempdir().unwrap();
    let (mut spool, _) = open(&root);
    fs::remove_dir_all(root.path()).unwrap();
    let appended = spool.append(&calls(0..3));
    assert_eq!((appended.kept, spool.waiting()), (0, 0));
    assert!(appended.error.is_some());
    assert!(Spool::open(Path::new("/dev/null/spool"), LIMIT).is_err());
}

#[test]
fn the_limit_costs_the_oldest_and_each_is_counted() {
    let root = tempdir().unwrap();
    let (mut spool, _) = Spool::open(root.path(), 4096).unwrap();
    append(&mut spool, &calls(0..5));
    let (_, batch) = take(&mut spool, 3);
    let mut evicted = 0;
    for n in 5..2000 {
        evicted += append(&mut spool, &calls(n..n + 1));
        let used: u64 = segments(&root).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert!(used <= 4096, "{used}");
    }
    // The three in flight are still answered for, although their segment is gone.
    assert!(batch.iter().all(|&place| !spool.holds(place)));
    assert_eq!(spool.waiting() + evicted + batch.len() as u64, 2000);
    spool.settle(&batch);
    let (rest, places) = take(&mut spool, usize::MAX);
    assert_eq!(rest.last(), calls(1999..2000).last());
    assert!(places.iter().all(|&place| spool.holds(place)));
    assert!(spool.append(&[Bytes::from(vec![0; 5000])]).error.is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize, usize),
    Take(usize),
    /// Each call whose turn modulo the first number is the second.
    Settle(usize, usize),
    Kill,
    End,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1usize..30, 1usize..300).prop_map(|(calls, size)| Step::Append(calls, size)),
        3 => (1usize..40).prop_map(Step::Take),
        3 => (1usize..4, 0usize..4).prop_map(|(step, first)| Step::Settle(step, first)),
        1 => Just(Step::Kill),
        1 => Just(Step::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens, every call is waiting, in flight, settled or counted as evicted; and
    /// a restart brings back exactly those that were not settled and not evicted.
    #[test]
    fn no_call_is_lost_or_counted_twice(steps in prop::collection::vec(step(), 1..60)) {
        let root = tempdir().unwrap();
        let limit = 16 << 10;
        let mut spool = Spool::open(root.path(), limit).unwrap().0;
        let (mut known, mut in_flight) = (0u64, Vec::new());
        for step in steps {
            match step {
                Step::Append(count, size) => {
                    let calls = vec![Bytes::from(vec![7; size]); count];
                    let appended = spool.append(&calls);
                    prop_assert!(appended.error.is_none());
                    known = known + count as u64 - appended.evicted;
                }
                Step::Take(count) => {
                    let taken = spool.take(count, usize::MAX);
                    prop_assert_eq!(taken.unreadable, 0);
                    in_flight.extend(taken.calls.into_iter().map(|(_, place)| place));
                }
                Step::Settle(step, first) => {
                    let settled: Vec<_> =
                        in_flight.iter().copied().skip(first).step_by(step).collect();
                    spool.settle(&settled);
                    in_flight.retain(|place| !settled.contains(place));
                    known -= settled.len() as u64;
                }
                Step::Kill | Step::End => {
                    let orphans = in_flight.drain(..).filter(|&place| !spool.holds(place));
                    known -= orphans.count() as u64;
                    if matches!(step, Step::Kill) { kill(spool) } else { drop(spool) }
                    let (again, found) = Spool::open(root.path(), limit).unwrap();
                    prop_assert_eq!(found, Found { restored: known, ..Found::default() });
                    spool = again;
                }
            }
            prop_assert_eq!(spool.waiting() + in_flight.len() as u64, known);
        }
    }
}
