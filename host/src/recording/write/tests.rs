//! Tests of writing with slow, full and hanging disks.

use std::fs;

use super::*;
use crate::recording::{Archive, Chunks};

/// Far longer than any test needs; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const RETENTION: Retention = Retention { file_bytes_max: 1 << 20, days: 7, bytes_max: 1 << 30 };

fn message(now: Millis) -> Message {
    let body = format!("{{\"eventCode\":\"X\",\"n\":{now}}}").into();
    Message {
        body,
        was_repaired: false,
        message_id: None,
        routing_key: None,
        now,
        redelivered: false,
    }
}

fn shared(health: &Health) -> Arc<Shared> {
    Arc::new(Shared {
        waiting_bytes: AtomicUsize::new(0),
        missing: AtomicU64::new(0),
        health: health.clone(),
    })
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "the condition never becomes true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lines_in(path: &Path) -> usize {
    Archive::open(&[path.to_owned()], 1 << 16).map_or(0, |archive| {
        Chunks::of(archive, 1000, 1 << 20).map(|chunk| chunk.unwrap().entries.len()).sum()
    })
}

#[test]
fn flushed_events_of_a_killed_engine_can_be_read() {
    let directory = crate::recording::tests::private_directory();
    let recording =
        Recording::into_directory(directory.path(), RETENTION, &Health::default()).unwrap();
    (0..100).for_each(|now| recording.recorder().hand_in(message(now)));
    // A copy of the file at some moment is what a kill at that moment would leave.
    wait_for(|| lines_in(directory.path()) == 100);
    let entry = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap();
    let left = tempfile::tempdir().unwrap();
    fs::copy(entry.path(), left.path().join("left")).unwrap();
    assert_eq!(lines_in(&left.path().join("left")), 100);
    assert_eq!(recording.end(), 0);
}

#[test]
fn a_thread_that_hangs_in_its_disk_blocks_no_sender() {
    let health = Health::default();
    let (messages, _taken_by_nobody) = sync_channel(2);
    let recorder = Recorder { messages, shared: shared(&health) };
    (0..10).for_each(|now| recorder.hand_in(message(now)));
    assert_eq!(recorder.shared.missing.load(Ordering::Relaxed), 8);
    assert!(health.problems().is_empty(), "the engine is ready nevertheless");
    assert!(health.complaints()["recording"].contains("record.dir"), "{:?}", health.complaints());
    // The bytes that wait are bounded, too.
    let (messages, _taken_by_nobody) = sync_channel(100);
    let recorder = Recorder { messages, shared: shared(&health) };
    let large = Message { body: vec![b' '; WAITING_BYTES_MAX].into(), ..message(1) };
    recorder.hand_in(large.clone());
    recorder.hand_in(large);
    assert_eq!(recorder.shared.missing.load(Ordering::Relaxed), 1);
}

#[test]
fn a_full_disk_costs_events_until_there_is_room_again() {
    let directory = tempfile::tempdir().unwrap();
    let health = Health::default();
    let shared = shared(&health);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let encoder = Encoder::new(Counted { file: full, bytes: 0 }, LEVEL).unwrap();
    let day = clock::now_ms().div_euclid(DAY_MS);
    let path = directory.path().join("full");
    let mut writer = Writer {
        directory: directory.path().to_owned(),
        retention: RETENTION,
        shared: Arc::clone(&shared),
        open: Some(Open { path, encoder, day, dirty_since: None, unflushed: 0, is_empty: true }),
        line: Vec::new(),
        failed_at: None,
        swept_at: None,
        missing_before: 0,
    };
    let missing = || shared.missing.load(Ordering::Relaxed);
    (0..5).for_each(|now| writer.take(&message(now)));
    assert_eq!(missing(), 0, "they are not written yet");
    writer.open.as_mut().unwrap().dirty_since = Instant::now().checked_sub(FLUSH_EVERY);
    writer.keep_up();
    assert_eq!(missing(), 5);
    assert!(health.complaints().contains_key("recording"));
    writer.take(&message(6));
    assert_eq!(missing(), 6, "a new file is not tried at once");
    writer.failed_at = Instant::now().checked_sub(TRY_AGAIN_AFTER);
    writer.take(&message(7));
    assert_eq!(missing(), 6);
    for now in [8, 9] {
        writer.take(&message(now));
        writer.open.as_mut().unwrap().dirty_since = Instant::now().checked_sub(FLUSH_EVERY);
        writer.keep_up();
    }
    assert!(health.complaints().is_empty(), "it records again");
    writer.close().unwrap();
    assert_eq!(lines_in(directory.path()), 3);
}
