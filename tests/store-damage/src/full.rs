//! A full disk. In each case another write is the first that fails. Then there is space again, and
//! the store is read. If this process may mount file systems, some stores are also written to a
//! file system that is really full.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::children::{self, Outcome, Verdict, Writer, Writing};
use crate::files;
use crate::report::{Case, Report};
use crate::rows::{Workload, mix};
use crate::run::Settings;

const COMMITS: u64 = 150;
/// The most changes of files before the first failure. A run has about that many, so a later
/// failure would not happen.
const CHANGES: u64 = 1_500;
/// The sizes of the file systems that get full, in KiB.
const SIZES: [u64; 8] = [600, 1_500, 3_000, 6_000, 9_000, 18_000, 20_000, 22_000];

pub(crate) fn run(contender: &str, settings: &Settings, report: &Report) -> io::Result<()> {
    let mut state = mix(settings.seed ^ 0xf011);
    let points: Vec<u64> = (0..settings.full_disks)
        .map(|_| {
            state = mix(state);
            2 + state % CHANGES
        })
        .collect();
    let root = settings.directory.join(format!("{}-full", contender.replace('+', "-")));
    let add = |place: String, outcome: io::Result<Outcome>| {
        let outcome = outcome.unwrap_or_else(|error| Outcome::broken(&error));
        let (contender, file_kind) = (contender.to_owned(), "a running store");
        report.add(Case { contender, damage: "disk full", file_kind, place, outcome });
    };
    settings.in_parallel(points, |thread, point| {
        let directory = root.join(thread.to_string());
        let environment = vec![
            ("LD_PRELOAD", settings.recorder.display().to_string()),
            ("RECORD_ROOT", directory.display().to_string()),
            ("RECORD_FULL_AT", point.to_string()),
        ];
        let outcome = fs::create_dir_all(&directory)
            .and_then(|()| attempt(contender, &directory, &directory, settings.seed, environment))
            .and_then(|outcome| fs::remove_dir_all(&directory).map(|()| outcome));
        add(format!("from change {point} on"), outcome);
    });
    let sizes = if settings.is_quick { &SIZES[..2] } else { &SIZES[..] };
    for size in sizes {
        let mounted = root.join("mounted");
        fs::create_dir_all(&mounted)?;
        let option = format!("size={size}k");
        let is_mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &option, "tmpfs"])
            .arg(&mounted)
            .output();
        if !is_mounted.is_ok_and(|output| output.status.success()) {
            println!("{contender}: cannot mount a file system, so only failing writes are tested");
            break;
        }
        let room = root.join("room");
        let outcome = attempt(contender, &mounted, &room, settings.seed, Vec::new());
        Command::new("umount").arg(&mounted).status()?;
        if room.exists() {
            fs::remove_dir_all(&room)?;
        }
        add(format!("a file system of {size} KiB"), outcome);
    }
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    Ok(())
}

/// Writes until the disk is full, and reads the store from a place with space.
fn attempt(
    contender: &str,
    directory: &Path,
    room: &Path,
    seed: u64,
    environment: Vec<(&'static str, String)>,
) -> io::Result<Outcome> {
    let workload = Workload { seed, filler_bytes: 0 };
    let writing = Writing { from: 1, to: COMMITS, pause: 0, closes: true, environment };
    let mut writer = Writer::start(contender, directory, workload, &writing)?;
    let ended = writer.wait_for(u64::MAX);
    writer.kill();
    if ended.is_none() {
        let text =
            format!("the writer hangs after commit {}: {:?}", writer.acknowledged, writer.errors);
        return Ok(Outcome::of(Verdict::Hung, text));
    }
    if room != directory {
        files::copy(directory, room)?;
    }
    let mut outcome = children::read(contender, room, workload, writer.acknowledged, writer.tried);
    if writer.acknowledged == 0 && matches!(outcome.verdict, Verdict::Refused) {
        // No commit was acknowledged, so a missing store is correct.
        outcome = Outcome::of(Verdict::Intact, "0");
    }
    outcome.text = format!(
        "{} (acknowledged {}, errors {:?})",
        outcome.text,
        writer.acknowledged,
        writer.errors.first()
    );
    Ok(outcome)
}
