//! Recorded events are read back unchanged, and unreadable parts are reported with their place and
//! what to do.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::line::Message;
use super::*;
use crate::health::Health;

const LINE_BYTES_MAX: usize = 1 << 16;
const RETENTION: Retention = Retention { file_bytes_max: 1 << 20, days: 7, bytes_max: 1 << 30 };

fn message(body: &str, was_repaired: bool, now: i64) -> Message {
    Message {
        body: body.to_owned().into(),
        was_repaired,
        message_id: Some(format!("m-{now}").into()),
        routing_key: Some("\u{441}ustomer.card.changeCategory".into()),
        now,
        redelivered: false,
    }
}

pub(super) fn private_directory() -> tempfile::TempDir {
    let only_us = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(only_us).tempdir().unwrap()
}

/// All events of an archive, and its unreadable parts.
fn read(paths: &[PathBuf]) -> (Vec<Recorded>, Vec<UnreadableEntry>) {
    let archive = Archive::open(paths, LINE_BYTES_MAX).unwrap();
    let (mut events, mut broken) = (Vec::new(), Vec::new());
    for chunk in Chunks::of(archive, 7, 1 << 20) {
        let chunk = chunk.unwrap();
        assert!(chunk.entries.len() <= 7);
        broken.extend(chunk.broken);
        for (place, line) in chunk.entries {
            match Recorded::read(&line, LINE_BYTES_MAX) {
                Ok(event) => events.push(event),
                Err(reason) => broken.push(UnreadableEntry {
                    place: format!("{place}:{}", line.number()),
                    reason,
                    next_step: String::new(),
                }),
            }
        }
    }
    (events, broken)
}

fn lines(count: usize) -> String {
    (1..=count).map(|number| format!("{{\"eventCode\":\"X\",\"n\":{number}}}\n")).collect()
}

fn file(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_recording_is_read_back_unchanged_and_only_its_owner_can_read_it() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("recording");
    let bodies = [
        (r#"{"eventCode":"X","amount":135.0000,"name":"Ж \u0416"}"#, false),
        ("{\n  \"eventCode\": \"X\",\r\n  \"n\": 1\n}", false),
        (r#"{"eventCode":"X","list":[1,],}"#, true),
        (" {\"eventCode\":\"X\"} ", false),
    ];
    let recording = Recording::into_directory(&directory, RETENTION, &Health::default()).unwrap();
    for (number, (body, was_repaired)) in bodies.into_iter().enumerate() {
        recording.recorder().hand_in(message(
            body,
            was_repaired,
            1_767_225_600_123 + number as i64,
        ));
    }
    assert_eq!(recording.end(), 0);

    let (events, broken) = read(std::slice::from_ref(&directory));
    assert_eq!(broken, []);
    for (number, (recorded, (body, _))) in events.iter().zip(bodies).enumerate() {
        assert_eq!(&**recorded.event.raw(), body.as_bytes());
        let now = 1_767_225_600_123 + number as i64;
        assert_eq!(
            (recorded.timestamp_ms, recorded.message_id.as_deref()),
            (Some(now), Some(&*format!("m-{now}")))
        );
        assert_eq!(recorded.routing_key.as_deref(), Some("\u{441}ustomer.card.changeCategory"));
    }
    assert_eq!(events.len(), bodies.len());
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&directory).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_directory_that_others_can_access_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o750)).unwrap();
    let error =
        Recording::into_directory(directory.path(), RETENTION, &Health::default()).unwrap_err();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[test]
fn a_recording_without_events_leaves_no_file() {
    let directory = private_directory();
    assert_eq!(
        Recording::into_directory(directory.path(), RETENTION, &Health::default()).unwrap().end(),
        0
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    assert!(matches!(
        Archive::open(&[directory.path().to_owned()], 1),
        Err(ArchiveError::Empty { .. })
    ));
}

#[test]
fn full_files_are_closed_and_the_oldest_are_deleted() {
    let directory = private_directory();
    let retention = Retention { file_bytes_max: 1, days: 7, bytes_max: 64 << 10 };
    for run in 0..20 {
        let recording =
            Recording::into_directory(directory.path(), retention, &Health::default()).unwrap();
        // Incompressible text.
        let noise: String = (0..400)
            .map(|n| blake3::hash(format!("{run} {n}").as_bytes()).to_hex().to_string())
            .collect();
        recording.recorder().hand_in(message(
            &format!("{{\"eventCode\":\"{run}\",\"noise\":\"{noise}\"}}"),
            false,
            run,
        ));
        assert_eq!(recording.end(), 0);
    }
    // The last run starts by deleting files beyond the limit.
    Recording::into_directory(directory.path(), retention, &Health::default()).unwrap().end();
    let bytes: u64 = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(bytes <= 64 << 10, "{bytes}");
    let (events, broken) = read(&[directory.path().to_owned()]);
    let codes: Vec<usize> =
        events.iter().map(|recorded| recorded.event.code().parse().unwrap()).collect();
    assert_eq!((broken.len(), codes.last()), (0, Some(&19)));
    assert!(codes.is_sorted() && codes.len() > 1, "{codes:?}");
}

#[test]
fn files_that_are_too_old_are_deleted_whatever_their_size() {
    let directory = tempfile::tempdir().unwrap();
    let names = [
        "events-20260101T000000.000Z.jsonl.zst",
        "events-20260102T000000.000Z.jsonl.zst",
        "notes.txt",
    ];
    for (days, name) in [(8, names[0]), (6, names[1]), (100, names[2])] {
        let path = file(directory.path(), name, b"");
        let written = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400);
        fs::File::options().write(true).open(path).unwrap().set_modified(written).unwrap();
    }
    assert_eq!(
        files::sweep(directory.path(), None, crate::clock::now_ms(), 7, u64::MAX).unwrap(),
        1
    );
    let mut left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [names[1], names[2]]);
}

#[test]
fn a_clock_that_was_set_back_sorts_no_file_before_an_earlier_one() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = files::create(directory.path(), 1_767_225_600_500).unwrap();
    let (second, _) = files::create(directory.path(), 1_767_225_600_000).unwrap();
    assert!(first < second, "{first:?} {second:?}");
    let error = files::create(directory.path(), 1_767_225_000_000).unwrap_err();
    assert!(error.to_string().contains("the clock is behind"), "{error}");
}

#[test]
fn plain_gzip_and_zstd_files_are_recognised_by_their_contents() {
    let directory = tempfile::tempdir().unwrap();
    let text = lines(20);
    let halves = text.split_at(text.len() / 2);
    let gzip_in_two_members = [gzip(halves.0), gzip(halves.1)].concat();
    let zstd_in_two_frames =
        [zstd::encode_all(halves.0.as_bytes(), 1), zstd::encode_all(halves.1.as_bytes(), 1)];
    let files = [
        file(directory.path(), "a.gz", text.as_bytes()),
        file(directory.path(), "b.jsonl", &gzip_in_two_members),
        file(directory.path(), "c", &zstd_in_two_frames.map(Result::unwrap).concat()),
    ];
    for path in files {
        let (events, broken) = read(&[path]);
        assert_eq!((events.len(), broken.len()), (20, 0));
    }
}

#[test]
fn a_truncated_archive_is_read_up_to_there_and_reported_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let text = lines(20_000);
    // With a checksum, as recordings have; without one, some damage is invisible.
    let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    zstd.include_checksum(true).unwrap();
    zstd.write_all(text.as_bytes()).unwrap();
    for (name, whole) in [("a.jsonl.gz", gzip(&text)), ("a.jsonl.zst", zstd.finish().unwrap())] {
        let cut = file(directory.path(), name, &whole[..whole.len() / 2]);
        let next = file(directory.path(), "next.jsonl", lines(1).as_bytes());
        let (events, broken) = read(&[cut.clone(), next]);
        let [broken] = &broken[..] else { panic!("{broken:?}") };
        let expected =
            format!("{}:{}: the archive ends in the middle", cut.display(), events.len());
        assert!(broken.to_string().starts_with(&expected), "{broken}");
        assert!(broken.to_string().contains("copy it again"), "{broken}");
        assert!((100..20_000).contains(&events.len()));

        let mut damaged = whole.clone();
        damaged[whole.len() / 2..][..64].fill(0x55);
        let (_, broken) = read(&[file(directory.path(), name, &damaged)]);
        assert!(broken.iter().any(|broken| broken.reason.contains("damaged")), "{broken:?}");
    }
}

#[test]
fn the_newest_file_of_a_recording_may_be_unfinished() {
    let directory = tempfile::tempdir().unwrap();
    let whole = zstd::encode_all(lines(20_000).as_bytes(), 1).unwrap();
    file(directory.path(), "events-2.jsonl.zst", &whole[..whole.len() / 2]);
    let (events, broken) = read(&[directory.path().to_owned()]);
    assert!(events.len() > 100 && broken.is_empty(), "{broken:?}");
    file(directory.path(), "events-3.jsonl.zst", &whole);
    let (_, broken) = read(&[directory.path().to_owned()]);
    assert_eq!(broken.len(), 1, "an older file must be complete");
}

#[test]
fn other_archives_are_refused_by_name_and_missing_files_too() {
    let directory = tempfile::tempdir().unwrap();
    let zip = file(directory.path(), "a.zip", b"PK\x03\x04rest");
    let refusal = |path: &Path| match Archive::open(&[path.to_owned()], 1) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{} is opened", path.display()),
    };
    assert!(refusal(&zip).contains("a zip archive: unpack it"), "{}", refusal(&zip));
    assert!(refusal(&directory.path().join("missing")).contains("missing"));
}

#[test]
fn a_strict_reading_ends_with_the_first_problem_and_others_count_all() {
    let broken = |number: usize| UnreadableEntry {
        place: format!("f:{number}"),
        reason: "no event".into(),
        next_step: "mend it".into(),
    };
    assert_eq!(UnreadableEntries::new(true).add(broken(1)), Err(broken(1)));
    let mut unreadable = UnreadableEntries::new(false);
    (0..1000).for_each(|number| unreadable.add(broken(number)).unwrap());
    assert_eq!((unreadable.count, unreadable.shown.len()), (1000, 20));
    assert!(
        unreadable.to_string().ends_with("not read: f:19: no event; mend it\nnot read: 980 more\n"),
        "{unreadable}"
    );
}
