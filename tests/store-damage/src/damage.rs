//! Damage to the files of a store while no process writes it: the store is copied, one file of the
//! copy is damaged, and the copy is read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::children::{self, Outcome, Verdict, Writer, Writing};
use crate::files;
use crate::plan::{Planned, plan};
use crate::report::{Case, Report};
use crate::rows::{Workload, mix};
use crate::run::Settings;

/// A store whose copies are damaged in many ways.
pub(crate) struct Base {
    directory: PathBuf,
    /// The same store some commits earlier.
    older: PathBuf,
    workload: Workload,
    acknowledged: u64,
    tried: u64,
}

/// The number of commits that are written to a damaged store that is intact when read.
const MORE_COMMITS: u64 = 40;

/// The way in which a base is made.
struct Making {
    name: &'static str,
    commits: u64,
    filler_bytes: usize,
    /// Whether the store is closed; otherwise its writer is killed.
    closes: bool,
    /// The base gets one in this many of the damages of a run.
    share: usize,
    /// Whether only logs and end files are damaged.
    only_logs: bool,
}

const BASES: [Making; 3] = [
    Making {
        name: "killed",
        commits: 240,
        filler_bytes: 0,
        closes: false,
        share: 1,
        only_logs: false,
    },
    Making {
        name: "closed",
        commits: 200,
        filler_bytes: 0,
        closes: true,
        share: 4,
        only_logs: false,
    },
    // Large enough for several journals of fjall, which have 64 MB each.
    Making {
        name: "killed, long log",
        commits: 330,
        filler_bytes: 450_000,
        closes: false,
        share: 3,
        only_logs: true,
    },
];

/// Runs all damages for one contender.
pub(crate) fn run(contender: &str, settings: &Settings, report: &Report) -> io::Result<()> {
    for (number, making) in BASES.iter().enumerate() {
        if settings.is_quick && number == 1 {
            continue;
        }
        let root =
            settings.directory.join(format!("{}-base-{number}", contender.replace('+', "-")));
        let base = make(contender, making, &root, settings.seed)?;
        let (seed, count) = (mix(settings.seed ^ number as u64), settings.damages / making.share);
        let planned = plan(&base.directory, &base.older, seed, count, making.only_logs)?;
        settings.in_parallel(planned, |thread, planned| {
            let attempted =
                attempt(contender, &base, &planned, &root.join(format!("attempt-{thread}")));
            report.add(Case {
                contender: contender.to_owned(),
                damage: planned.damage.name(),
                file_kind: planned.kind,
                place: format!("{}: {} {}", making.name, planned.file.display(), planned.place),
                outcome: attempted.unwrap_or_else(|error| Outcome::broken(&error)),
            });
        });
        fs::remove_dir_all(&root)?;
    }
    Ok(())
}

fn make(contender: &str, making: &Making, root: &Path, seed: u64) -> io::Result<Base> {
    let Making { name, commits, filler_bytes, closes, .. } = *making;
    let workload = Workload { seed, filler_bytes };
    let (directory, older) = (root.join("store"), root.join("older"));
    fs::create_dir_all(&directory)?;
    let pause = commits * 3 / 4;
    let writing = Writing { from: 1, to: commits, pause, closes, environment: Vec::new() };
    let mut writer = Writer::start(contender, &directory, workload, &writing)?;
    let failed = |writer: &Writer| {
        io::Error::other(format!("{contender} cannot write its store: {:?}", writer.errors))
    };
    if writer.wait_for(pause) != Some(true) {
        return Err(failed(&writer));
    }
    // The writer is stopped, so that its threads change no file during the copy.
    writer.while_stopped(|| files::copy(&directory, &older))?;
    writer.go_on();
    // A writer that closes the store ends by itself.
    if writer.wait_for(if closes { u64::MAX } else { commits }) != Some(!closes)
        || writer.acknowledged != commits
    {
        return Err(failed(&writer));
    }
    writer.kill();
    let (acknowledged, tried) = (writer.acknowledged, writer.tried);
    let base = Base { directory, older, workload, acknowledged, tried };
    let whole = root.join("whole");
    files::copy(&base.directory, &whole)?;
    let outcome = children::read(contender, &whole, workload, base.acknowledged, base.tried);
    if outcome.verdict != Verdict::Intact {
        return Err(io::Error::other(format!(
            "{contender}, {name}: an undamaged store reads as {outcome:?}"
        )));
    }
    fs::remove_dir_all(whole)?;
    Ok(base)
}

fn attempt(
    contender: &str,
    base: &Base,
    planned: &Planned,
    directory: &Path,
) -> io::Result<Outcome> {
    files::copy(&base.directory, directory)?;
    planned.damage.apply(&directory.join(&planned.file), &base.older.join(&planned.file))?;
    let mut outcome =
        children::read(contender, directory, base.workload, base.acknowledged, base.tried);
    if outcome.verdict == Verdict::Refused {
        // With the undamaged file put back, the store must be whole again.
        planned.damage.undo(&directory.join(&planned.file), &base.directory.join(&planned.file))?;
        let again =
            children::read(contender, directory, base.workload, base.acknowledged, base.tried);
        if again.verdict != Verdict::Intact {
            let (mark, name) = (crate::report::DESTRUCTIVE, again.verdict.name());
            outcome.text =
                format!("{} {mark} (with the undamaged file: {name} {})", outcome.text, again.text);
        }
    } else if let Some(last) = outcome.last().filter(|_| planned.goes_on) {
        outcome = go_on(contender, base, directory, last)?;
    }
    fs::remove_dir_all(directory)?;
    Ok(outcome)
}

/// Writes to a damaged store that was intact when read, and reads it again. Compactions may find
/// damage that the reader did not.
fn go_on(contender: &str, base: &Base, directory: &Path, last: u64) -> io::Result<Outcome> {
    let writing = Writing {
        from: last + 1,
        to: last + MORE_COMMITS,
        pause: 0,
        closes: true,
        environment: Vec::new(),
    };
    let mut writer = Writer::start(contender, directory, base.workload, &writing)?;
    let ended = writer.wait_for(u64::MAX);
    writer.kill();
    let mut outcome = match ended {
        None => Outcome::of(Verdict::Hung, "the writer"),
        Some(_) => {
            children::read(contender, directory, base.workload, writer.acknowledged, writer.tried)
        }
    };
    if outcome.verdict != Verdict::Intact {
        outcome.text =
            format!("after more commits, errors {:?}: {}", writer.errors.first(), outcome.text);
    }
    Ok(outcome)
}
