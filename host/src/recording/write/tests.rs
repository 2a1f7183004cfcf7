//! Writing while the disk does what disks do.

use std::fs;

use super::*;
use crate::recording::{Archive, Chunks};

/// Far longer than anything here takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const RETENTION: Retention = Retention { file_bytes_max: 1 << 20, days: 7, bytes_max: 1 << 30 };

fn message(now: Millis) -> Message {
    let body = format!("{{\"eventCode\":\"X\",\"n\":{now}}}").into();
    Message { body, was_repaired: false, message_id: None, routing_key: None, now, redelivered: false }
}

fn shared(health: &Health) -> Arc<Shared> {
    Arc::new(Shared { waiting_bytes: AtomicUsize::new(0), missing: AtomicU64::new(0), health: health.clone() })
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "it never comes to pass");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lines_in(path: &Path) -> usize {
    Archive::open(&[path.to_owned()], 1 << 16)
        .map_or(0, |archive| Chunks::of(archive, 1000, 1 << 20).map(|chunk| chunk.unwrap().entries.len()).sum())
}

#[test]
fn what_an_engine_that_is_killed_has_flushed_can_be_read() {
    let directory = crate::recording::tests::private_directory();
    let recording = Recording::into_directory(directory.path(), RETENTION, &Health::default()).unwrap();
    (0..100).for_each(|now| recording.recorder().hand_in(message(now)));
    // The file as it is at some moment is what a kill would leave at that moment.
    wait_for(|| lines_in(directory.path()) == 100);
    let entry = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap();
    let left = tempfile::tempdir().unwrap();
    fs::copy(entry.path(), left.path().join("left")).unwrap();
    assert_eq!(lines_in(&left.path().join("left")), 100);
    assert_eq!(recording.end(), 0);
}

#[test]
fn a_thread_that_hangs_in_its_disk_holds_nobody_up() {
    let health = Health::default();
    let (messages, _taken_by_nobody) = sync_channel(2);
    let recorder = Recorder { messages, shared: shared(&health) };
    (0..10).for_each(|now| recorder.hand_in(message(now)));
    assert_eq!(recorder.shared.missing.load(Ordering::Relaxed), 8);
    assert!(health.problems().is_empty(), "the engine is ready all the same");
    assert!(health.complaints()["recording"].contains("record.dir"), "{:?}", health.complaints());
    // What waits is bounded in bytes, too.
    let (messages, _taken_by_nobody) = sync_channel(100);
    let recorder = Recorder { messages, shared: shared(&health) };
    let large = Message { body: vec![b' '; WAITING_BYTES_MAX].into(), ..message(1) };
    recorder.hand_in(large.clone());
    recorder.hand_in(large);
    assert_eq!(recorder.shared.missing.load(Ordering::Relaxed), 1);
}

#[test]
fn a_full_disk_costs_the_recording_its_events_until_there_is_room_again() {
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
    assert_eq!(missing(), 6, "it is not tried again at once");
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
