//! `kill -9` at random moments. After each kill the store is read, written again and killed again.

use std::fs;
use std::io;
use std::time::Duration;

use crate::children::{self, Outcome, Verdict, Writer, Writing};
use crate::report::{Case, Report};
use crate::rows::{Workload, mix};
use crate::run::Settings;

/// The number of kills of one store.
const KILLS_OF_STORE: usize = 20;

pub(crate) fn run(contender: &str, settings: &Settings, report: &Report) -> io::Result<()> {
    let stores: Vec<usize> = (0..settings.kills.div_ceil(KILLS_OF_STORE)).collect();
    settings.in_parallel(stores, |_, number| {
        let ended = one_store(contender, settings, report, number);
        if let Err(error) = ended {
            add(report, contender, "the harness".to_owned(), Outcome::broken(&error));
        }
    });
    Ok(())
}

fn add(report: &Report, contender: &str, place: String, outcome: Outcome) {
    report.add(Case {
        contender: contender.to_owned(),
        damage: "kill -9",
        file_kind: "a running store",
        place,
        outcome,
    });
}

fn one_store(
    contender: &str,
    settings: &Settings,
    report: &Report,
    number: usize,
) -> io::Result<()> {
    let directory =
        settings.directory.join(format!("{}-kill-{number}", contender.replace('+', "-")));
    fs::create_dir_all(&directory)?;
    let workload = Workload { seed: settings.seed ^ 0x1111 ^ number as u64, filler_bytes: 0 };
    let mut state = mix(workload.seed);
    let mut random = |below: u64| {
        state = mix(state);
        state % below
    };
    let mut last = 0;
    for kill in 0..KILLS_OF_STORE.min(settings.kills) {
        let commits = 1 + random(60);
        let writing = Writing {
            from: last + 1,
            to: last + 10_000,
            pause: 0,
            closes: false,
            environment: Vec::new(),
        };
        let mut writer = Writer::start(contender, &directory, workload, &writing)?;
        // Some writers are killed while they open the store.
        let is_early = last > 0 && random(5) == 0;
        if !is_early {
            writer.wait_for(last + commits);
        }
        std::thread::sleep(Duration::from_micros(random(if is_early { 30_000 } else { 4_000 })));
        writer.kill();
        let place = format!("store {number}, kill {kill}, after commit {}", writer.acknowledged);
        let outcome = if writer.errors.is_empty() {
            children::read(contender, &directory, workload, writer.acknowledged, writer.tried)
        } else {
            Outcome::of(Verdict::Refused, format!("while writing: {:?}", writer.errors))
        };
        let found = outcome.last();
        add(report, contender, place, outcome);
        match found {
            Some(found) => last = found,
            None => break,
        }
    }
    fs::remove_dir_all(&directory)
}
