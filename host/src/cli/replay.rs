//! `hailer replay`: what rules would have made of what has happened.

mod show;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::moment::{moment, span_ms, zone};
use super::settings::{Global, SettingFlags};
use super::{DONE, EXIT_CODES, FAILED, UsageError, logging, origins, output};
use crate::clock;
use crate::config::{Config, Purpose};
use crate::daemon;
use crate::engine::Sandbox;
use crate::recording::Archive;
use crate::replay::{Options, Report, Trial, replay};

/// Try rules on recorded events: what would have been sent, to whom, and why
///
/// Reads events, decides each as the engine would have, on the events' own clock, and prints for each campaign what would have come of it. Nothing is sent and
/// nothing is kept: a dry run. Timers fire on the way, states build up, customers merge; a campaign's start, end and mode count.
///
/// FILE is JSON lines of events or envelopes, plain, gzip or zstd; a directory that an engine recorded into (`[record]`); - for standard input; or a stream queue of
/// RabbitMQ, amqp://USER@HOST/QUEUE or amqp://USER@HOST/VHOST/QUEUE. The time of an event is its envelope's or its message's timestamp, else what a purchase, a refund or
/// an attribute says of itself, else that of the event before.
///
/// A stream is read from --since on (by when the broker took each message) up to the last message that it has when the command begins; what is published later
/// is not read. Reading takes nothing away, and nothing is declared. A queue that is no stream is refused.
///
/// With --diff, two sets of rules see the same events, and every customer whose outcome changes is listed with what each set says.
///
/// The same input gives the same output, byte for byte, on however many threads. What can't be read is told with file and line, and passed over, or with
/// --strict the end.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{HELP}\n\n{EXIT_CODES}"))]
pub(super) struct Replay {
    /// Files, directories or stream queues of events, in their order; - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The directory of campaigns to try
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
    /// Another directory of campaigns, to be compared with
    #[arg(long, value_name = "DIR")]
    diff: Option<PathBuf>,
    /// Write every decision as a line of JSON: to a new file, or - for standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Decide for so long from the first event on without counting, so that states are what they would be
    #[arg(long, value_name = "SPAN")]
    warm_up: Option<String>,
    /// No events from before: a span back from now such as 24h, a date, or a time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// No events from then on
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Let the clock go on for so long after the last event, so that timers fire
    #[arg(long, value_name = "SPAN")]
    run_on: Option<String>,
    /// When the clock begins, if no event says when it happened
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Dates in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    /// Count what calls cost (fuel, the same on every machine); slower
    #[arg(long)]
    cost: bool,
    /// End with the first line that can't be read
    #[arg(long)]
    strict: bool,
    /// Threads to use; 0 for one a core
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    threads: usize,
    /// The environment's name, which communications carry
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

const HELP: &str = "\
Last week, with a month before it to build up states:
  hailer record export --since 37d --pseudonymise --key replay.key --out week.jsonl.zst
  hailer replay week.jsonl.zst --rules rules.d --warm-up 30d

The last day, from a stream that RabbitMQ keeps (`hailer topology --record-on` makes one):
  hailer replay amqp://me@broker/smc.customerEvents.recorded --since 24h --rules rules.d

Two versions of a rule:
  hailer replay week.jsonl.zst --rules rules.d --diff rules-new.d

Made-up events, every decision:
  hailer events --generate 100000 --seed 7 > events.jsonl
  hailer replay events.jsonl --rules rules.d --run-on 60d --out decisions.jsonl
  jq -r 'select(.communications) | .campaign' decisions.jsonl | sort | uniq -c

Examples:
  hailer replay events.jsonl --rules target/rules.d
  hailer replay recording/ --rules rules.d --warm-up 30d --json
  zcat old.jsonl.gz | hailer replay - --rules rules.d --start 2026-03-01";

impl Replay {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        logging::start_quiet()?;
        let span = |flag: &str, text: &Option<String>| text.as_deref().map_or(Ok(0), |text| span_ms(flag, text));
        let (warm_up_ms, run_on_ms) = (span("--warm-up", &self.warm_up)?, span("--run-on", &self.run_on)?);
        let zone = zone(self.utc);
        let time = |flag: &str, text: &Option<String>| -> Result<Option<jiff::Timestamp>, UsageError> {
            text.as_deref().map(|text| moment(flag, text, &zone)).transpose()
        };
        let start = time("--start", &self.start)?;
        let (since, until) = (time("--since", &self.since)?, time("--until", &self.until)?);
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            return Err(UsageError(format!("--since {since:.0} is not before --until {until:.0}")).into());
        }
        let flags = SettingFlags::of_rules(self.rules.clone(), self.environment.clone());
        let config = global.load(Purpose::Ask, &flags)?.config;
        let archive = origins::open(&self.files, &config, since)?;
        let out = self.out.as_deref().map(|path| self.writer(path)).transpose()?;

        let trial = self.trial(&config)?;
        let other = self.diff.clone().map(|rules| self.trial(&Config { rules, ..config.clone() })).transpose()?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let options = Options {
            environment: config.environment.as_str().into(),
            event_bytes_max: config.event.bytes_max,
            recheck_one_in: config.purity.recheck_one_in,
            threads: if self.threads == 0 { cores() } else { self.threads },
            begins: start.map(jiff::Timestamp::as_millisecond),
            since: since.map(jiff::Timestamp::as_millisecond),
            until: until.map(jiff::Timestamp::as_millisecond),
            warm_up_ms,
            run_on_ms,
            machine_ms: clock::now_ms(),
            is_strict: self.strict,
        };
        let report = self.replay(archive, &trial, other.as_ref(), &options, out)?;
        let is_read = report.not_read.count == 0;
        if !is_read {
            output::say(report.not_read.to_string().trim_end());
            if report.events + report.warm_up + report.repeats + report.left_out == 0 {
                output::say(
                    "nothing of the input is an event; an input has one event a line, as `hailer events --samples` prints them",
                );
            }
        }
        let is_on_stdout = self.out.as_deref() == Some(Path::new("-"));
        match (global.json, is_on_stdout) {
            (true, _) => output::json(&report)?,
            (false, false) => output::data(&show::text(&report))?,
            // Whoever reads the rows reads nothing else there.
            (false, true) => output::say(show::text(&report).trim_end()),
        }
        Ok(if is_read { DONE } else { FAILED })
    }

    fn replay(
        &self,
        archive: Archive,
        trial: &Trial,
        other: Option<&Trial>,
        options: &Options,
        mut out: Option<Box<dyn Write>>,
    ) -> anyhow::Result<Report> {
        let bar = show::bar(archive.bytes_total());
        let writer = out.as_mut().map(|out| &mut **out as &mut dyn Write);
        let report = replay(archive, trial, other, options, writer, |progress| show::progress(&bar, progress));
        bar.finish_and_clear();
        Ok(report?)
    }

    /// The rules of a directory, ready to be called.
    fn trial(&self, config: &Config) -> anyhow::Result<Trial> {
        let limits = config.limits.clone();
        let sandbox = if self.cost { Sandbox::metered(limits)? } else { Sandbox::new(limits)? };
        if let Err(error) = std::fs::read_dir(&config.rules) {
            let rules = config.rules.display();
            return Err(
                UsageError(format!("can't read the directory `{rules}`: {error}; name one with --rules")).into()
            );
        }
        let rules = daemon::load_rules(config, &sandbox)?;
        if rules.campaigns().is_empty() {
            let rules = config.rules.display();
            return Err(UsageError(format!(
                "no campaign stands in `{rules}`; copy one there, or name another directory"
            ))
            .into());
        }
        Ok(Trial { rules, sandbox: Arc::clone(&sandbox) })
    }

    /// What is written may repeat what is personal, so it is its owner's alone.
    fn writer(&self, path: &Path) -> anyhow::Result<Box<dyn Write>> {
        if path == Path::new("-") {
            return Ok(Box::new(std::io::stdout().lock()));
        }
        if self.files.iter().any(|file| is_same(file, path)) {
            return Err(UsageError(format!("`{}` is read: write decisions to another file", path.display())).into());
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.with_context(|| format!("can't write `{}`", path.display()))?;
        Ok(Box::new(BufWriter::with_capacity(1 << 20, file)))
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        File::open(path).and_then(|file| file.metadata()).ok().map(|found| (found.dev(), found.ino()))
    };
    id(one).is_some_and(|one| id(other) == Some(one))
}
