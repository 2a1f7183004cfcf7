//! Loss of power: the recorded changes of a run are replayed up to a random point. The changes that
//! were not synced by then are lost, in several ways.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::children::{self, Writer, Writing};
use crate::disk::{Change, Disk, Loss};
use crate::report::{Case, Report};
use crate::rows::{Workload, mix};
use crate::run::Settings;

const COMMITS: u64 = 220;
const POINTS_AT_A_TIME: usize = 8;

pub(crate) fn run(contender: &str, settings: &Settings, report: &Report) -> io::Result<()> {
    let root = settings.directory.join(format!("{}-power", contender.replace('+', "-")));
    let (directory, trace) = (root.join("store"), root.join("trace"));
    fs::create_dir_all(&directory)?;
    let workload = Workload { seed: settings.seed ^ 0x2222, filler_bytes: 0 };
    let environment = vec![
        ("LD_PRELOAD", settings.recorder.display().to_string()),
        ("RECORD_ROOT", directory.display().to_string()),
        ("RECORD_TRACE", trace.display().to_string()),
    ];
    let writing = Writing { from: 1, to: COMMITS, pause: 0, closes: true, environment };
    let mut writer = Writer::start(contender, &directory, workload, &writing)?;
    writer.wait_for(u64::MAX);
    if writer.acknowledged != COMMITS {
        return Err(io::Error::other(format!(
            "{contender} cannot be recorded: {:?}",
            writer.errors
        )));
    }
    drop(writer);
    let changes = read_trace(&fs::read(&trace)?)
        .ok_or_else(|| io::Error::other("the trace cannot be read"))?;
    let first =
        changes.iter().position(|change| matches!(change, Change::Acknowledged(1))).unwrap_or(0);
    let mut state = mix(workload.seed);
    let mut points: Vec<usize> = (0..settings.power_losses)
        .map(|_| {
            state = mix(state);
            first + 1 + (state % (changes.len() - first - 1) as u64) as usize
        })
        .collect();
    points.sort_unstable();
    let (mut disk, mut done, mut acknowledged, mut tried) = (Disk::default(), 0, 0, 0);
    // Only a few at a time, because each needs as much space as the store.
    for (chunk, points) in points.chunks(POINTS_AT_A_TIME).enumerate() {
        let mut cases = Vec::new();
        for (number, point) in points.iter().enumerate() {
            for change in &changes[done..*point] {
                match change {
                    Change::Acknowledged(number) => acknowledged = *number,
                    Change::Tried(number) => tried = *number,
                    change => disk.apply(change),
                }
            }
            done = *point;
            for loss in [Loss::Unsynced, Loss::RandomPages, Loss::NamesOnly] {
                let target = root.join(format!("{chunk}-{number}-{loss:?}"));
                disk.lose(&target, loss, mix(settings.seed ^ done as u64))?;
                let place = format!(
                    "after change {done} of {}, commit {acknowledged}, {loss:?}",
                    changes.len()
                );
                cases.push((target, place, acknowledged, tried));
            }
        }
        settings.in_parallel(
            cases,
            |_, (target, place, acknowledged, tried): (PathBuf, String, u64, u64)| {
                let outcome = children::read(contender, &target, workload, acknowledged, tried);
                let (contender, file_kind) = (contender.to_owned(), "a running store");
                report.add(Case { contender, damage: "loss of power", file_kind, place, outcome });
                let _ = fs::remove_dir_all(&target);
            },
        );
    }
    // The trace must have every change, so its full replay must give exactly the files of the
    // store.
    let mut whole = Disk::default();
    for change in &changes {
        whole.apply(change);
    }
    whole.compare(&directory)?;
    fs::remove_dir_all(&root)
}

fn read_trace(mut bytes: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    let take = |bytes: &mut &[u8], count: usize| {
        let (taken, rest) = bytes.split_at_checked(count)?;
        *bytes = rest;
        Some(taken.to_vec())
    };
    while !bytes.is_empty() {
        let operation = take(&mut bytes, 1)?[0];
        let mut number = || {
            take(&mut bytes, 8).and_then(|number| Some(u64::from_le_bytes(*number.first_chunk()?)))
        };
        let (id, at, count) = (number()?, number()?, number()?);
        let content = take(&mut bytes, count as usize)?;
        let path = || String::from_utf8(content.clone()).ok();
        changes.push(match operation {
            1 => Change::Create { id, path: path()? },
            2 => Change::Write { id, at, bytes: content },
            3 => Change::Truncate { id, bytes: at },
            4 => Change::Sync { id },
            5 => {
                let both = path()?;
                let (from, to) = both.split_once('\n')?;
                Change::Rename { from: from.to_owned(), to: to.to_owned() }
            }
            6 => Change::Unlink { path: path()? },
            7 => Change::MakeDirectory { path: path()? },
            8 => Change::RemoveDirectory { path: path()? },
            9 => Change::SyncDirectory { path: path()? },
            10 => {
                let line = path()?;
                let mut words = line.split_whitespace();
                match (words.next(), words.next().and_then(|number| number.parse().ok())) {
                    (Some("try"), Some(number)) => Change::Tried(number),
                    (Some("ack"), Some(number)) => Change::Acknowledged(number),
                    _ => continue,
                }
            }
            _ => return None,
        });
    }
    Some(changes)
}
