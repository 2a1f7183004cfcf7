//! A run: every contender through every kind of damage.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::children::Verdict;
use crate::contenders::NAMES;
use crate::report::Report;
use crate::{damage, full, kill, power};

/// The settings of a run.
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) is_quick: bool,
    /// The directory for the stores. A directory in memory makes a run many times faster.
    pub(crate) directory: PathBuf,
    /// The library that records writes.
    pub(crate) recorder: PathBuf,
    /// The number of damages of each base store.
    pub(crate) damages: usize,
    /// The number of `kill -9`s.
    pub(crate) kills: usize,
    /// The number of losses of power.
    pub(crate) power_losses: usize,
    /// The number of full disks.
    pub(crate) full_disks: usize,
    threads: usize,
    contenders: Vec<String>,
    must_pass: Option<String>,
}

const USAGE: &str = "hailer-store-damage run --recorder LIBRARY --directory DIRECTORY [--seed N] \
    [--quick] [--only CONTENDER,…] [--must-pass CONTENDER]";

impl Settings {
    pub(crate) fn of(arguments: &[String]) -> Result<Settings, String> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let mut settings = Settings {
            seed: 1,
            is_quick: false,
            directory: PathBuf::new(),
            recorder: PathBuf::new(),
            damages: 400,
            kills: 100,
            power_losses: 100,
            full_disks: 40,
            threads,
            contenders: NAMES.iter().map(|name| (*name).to_owned()).collect(),
            must_pass: None,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--quick" {
                settings = Settings {
                    is_quick: true,
                    damages: 36,
                    kills: 8,
                    power_losses: 8,
                    full_disks: 4,
                    ..settings
                };
                continue;
            }
            let value =
                arguments.next().ok_or_else(|| format!("`{argument}` needs a value; {USAGE}"))?;
            match argument.as_str() {
                "--seed" => {
                    settings.seed =
                        value.parse().map_err(|error| format!("`{value}` is no seed: {error}"))?
                }
                "--directory" => settings.directory = value.into(),
                "--recorder" => settings.recorder = value.into(),
                "--only" => settings.contenders = value.split(',').map(str::to_owned).collect(),
                "--must-pass" => settings.must_pass = Some(value.clone()),
                _ => return Err(format!("`{argument}` is not known; {USAGE}")),
            }
        }
        let unknown = settings
            .contenders
            .iter()
            .chain(&settings.must_pass)
            .find(|name| !NAMES.contains(&name.as_str()));
        if let Some(unknown) = unknown {
            return Err(format!(
                "there is no contender `{unknown}`; there are {}",
                NAMES.join(", ")
            ));
        }
        if settings.must_pass.as_ref().is_some_and(|name| !settings.contenders.contains(name)) {
            return Err("--must-pass names a contender that does not run".to_owned());
        }
        Ok(settings)
    }

    /// Processes all items, with one thread for each core. `each` gets the number of its thread.
    pub(crate) fn in_parallel<T: Send>(&self, items: Vec<T>, each: impl Fn(usize, T) + Sync) {
        let items = Mutex::new(items.into_iter());
        let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
        std::thread::scope(|scope| {
            for thread in 0..self.threads {
                let (each, next) = (&each, &next);
                scope.spawn(move || {
                    while let Some(item) = next() {
                        each(thread, item);
                    }
                });
            }
        });
    }
}

/// Runs one kind of damage for one contender.
type Part = fn(&str, &Settings, &Report) -> io::Result<()>;

/// Runs all contenders. Returns whether the contender that must pass has passed.
pub(crate) fn run(settings: &Settings) -> io::Result<bool> {
    let report = Report::default();
    println!("seed {}{}", settings.seed, if settings.is_quick { ", quick" } else { "" });
    for contender in &settings.contenders {
        let parts: [(&str, Part); 4] = [
            ("damage", damage::run),
            ("kill -9", kill::run),
            ("loss of power", power::run),
            ("full disk", full::run),
        ];
        for (part, run) in parts {
            let began = Instant::now();
            run(contender, settings, &report)?;
            println!("{contender}: {part} done in {:.0} s", began.elapsed().as_secs_f64());
        }
    }
    report.print();
    let Some(must_pass) = &settings.must_pass else { return Ok(true) };
    let short = report.count(must_pass, Verdict::Short);
    println!("\n{must_pass} must pass: {short} cases SHORT");
    Ok(short == 0)
}
