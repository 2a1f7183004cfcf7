//! `hailer replay`: shows what rules would have decided on recorded events.

mod show;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::moment::{moment, span_ms, zone};
use super::progress::{Progress, Total};
use super::settings::{Global, SettingFlags};
use super::{DONE, EXIT_CODES, FAILED, UsageError, logging, origins, output};
use crate::clock;
use crate::config::{Config, Purpose};
use crate::consent::{ConsentFile, Terms};
use crate::consents::Statement;
use crate::daemon;
use crate::engine::{RuleSet, Sandbox};
use crate::policies::{Mistake, Policies};
use crate::recording::Archive;
use crate::reload::read_policies;
use crate::replay::{Options, Report, Trial, replay};

/// Try rules on recorded events: what would have been sent, to whom, and why
///
/// Decides recorded events as the engine would have decided them, on the events' own clock, and
/// prints the results for each campaign. It is a dry run: nothing is sent and nothing is kept.
/// Timers fire, states build up, customers merge, and a campaign's start, end and mode count.
///
/// FILE is JSON lines of events or envelopes, plain, gzip or zstd; a directory into which an engine
/// recorded (`[record]`); - for standard input; or a stream queue of RabbitMQ,
/// amqp://USER@HOST/QUEUE or amqp://USER@HOST/VHOST/QUEUE. The time of an event is the timestamp of
/// its envelope or message. Without one, it is the time inside a purchase, a refund or an
/// attribute, else the time of the event before.
///
/// A stream is read from --since (the time at which the broker took each message) up to the last
/// message that it has when the command begins; messages published later are not read. Reading
/// removes nothing and declares nothing. A queue that is not a stream is refused.
///
/// With --diff, two rule sets see the same events, and every customer whose result changes is
/// listed with the result of each rule set. --diff-policies compares two policies in the same way,
/// with the same rules or with those of --diff.
///
/// The policies are those of policies.toml in each rules directory, or of --policies. A recording
/// begins with no consent known. --consent names a file of consents that are known before the first
/// event, as for `hailer consent import`; the times in it do not matter for that. The report says
/// how many verdicts depended on a consent that is not known. In a pseudonymised recording,
/// customers have other ids: they are in other control groups, and --consent does not find them.
///
/// The same input gives the same output, byte for byte, on any number of threads. A line that
/// cannot be read is reported with file and line and skipped; with --strict the command ends there.
#[derive(Debug, Args)]
#[command(after_long_help = format!("{HELP}\n\n{EXIT_CODES}"))]
pub(super) struct Replay {
    /// Files, directories or stream queues of events, in their order; - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The rules directory to try
    #[arg(long, value_name = "DIR")]
    rules: Option<String>,
    /// Another rules directory, to compare with the first
    #[arg(long, value_name = "DIR")]
    diff: Option<PathBuf>,
    /// The policies to try, or `off` for none [default: policies.toml in the rules directory]
    #[arg(long, value_name = "FILE")]
    policies: Option<String>,
    /// Other policies, or `off`, to compare with the first
    #[arg(long, value_name = "FILE")]
    diff_policies: Option<String>,
    /// A file of consents and time zones that are known before the first event
    #[arg(long, value_name = "FILE")]
    consent: Option<PathBuf>,
    /// Write every decision as a line of JSON to this file, or to standard output with -
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Decide the events of this span from the first event on without counting them, so that states
    /// build up
    #[arg(long, value_name = "SPAN")]
    warm_up: Option<String>,
    /// Only events since this time: a span back from now such as 24h, a date, or a time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Advance the clock by this span after the last event, so that timers fire
    #[arg(long, value_name = "SPAN")]
    run_on: Option<String>,
    /// The time at which the clock begins, if no event has a time
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Read dates in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    /// Count the cost of calls (in fuel, the same on every machine); slower
    #[arg(long)]
    cost: bool,
    /// End at the first line that cannot be read
    #[arg(long)]
    strict: bool,
    /// The number of threads; 0 means one for each core
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    threads: usize,
    /// The name of the environment, which is part of every communication
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

What a cap of three messages would have let through:
  hailer replay week.jsonl.zst --rules rules.d --diff-policies cap-of-3.toml

What the policies suppress, with the consents that are known today:
  hailer replay recording/ --rules rules.d --consent consents.jsonl --policies off \
    --diff-policies rules.d/policies.toml

Generated events, every decision:
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
        let span = |flag: &str, text: &Option<String>| {
            text.as_deref().map_or(Ok(0), |text| span_ms(flag, text))
        };
        let (warm_up_ms, run_on_ms) =
            (span("--warm-up", &self.warm_up)?, span("--run-on", &self.run_on)?);
        let zone = zone(self.utc);
        let time =
            |flag: &str, text: &Option<String>| -> Result<Option<jiff::Timestamp>, UsageError> {
                text.as_deref().map(|text| moment(flag, text, &zone)).transpose()
            };
        let start = time("--start", &self.start)?;
        let (since, until) = (time("--since", &self.since)?, time("--until", &self.until)?);
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            return Err(
                UsageError(format!("--since {since:.0} is not before --until {until:.0}")).into()
            );
        }
        let flags = SettingFlags::of_rules(self.rules.clone(), self.environment.clone());
        let config = global.load(Purpose::Ask, &flags)?.config;
        let archive = origins::open(&self.files, &config, since)?;
        let out = self.out.as_deref().map(|path| self.writer(path)).transpose()?;

        let trial = self.trial(&config, self.policies.as_deref())?;
        let other = match (&self.diff, &self.diff_policies) {
            (None, None) => None,
            (rules, policies) => {
                let rules = rules.clone().unwrap_or_else(|| config.rules.clone());
                let config = Config { rules, ..config.clone() };
                let policies = policies.as_deref().or(self.policies.as_deref());
                Some(self.trial(&config, policies)?)
            }
        };
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
            output::message(report.not_read.to_string().trim_end());
            if report.events + report.warm_up + report.repeats + report.left_out == 0 {
                output::message(
                    "the input holds no event; write one event a line, as `hailer events \
                        --samples` prints them",
                );
            }
        }
        let is_on_stdout = self.out.as_deref() == Some(Path::new("-"));
        match (global.json, is_on_stdout) {
            (true, _) => output::json(&report)?,
            (false, false) => output::data(&show::text(&report))?,
            // Standard output has the rows and nothing else.
            (false, true) => output::message(show::text(&report).trim_end()),
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
        let total = Total::Bytes(archive.bytes_total());
        let is_on_stdout = self.out.as_deref() == Some(Path::new("-"));
        let mut progress =
            if is_on_stdout { Progress::beside_data(total) } else { Progress::new(total) };
        let writer = out.as_mut().map(|out| &mut **out as &mut dyn Write);
        Ok(replay(archive, trial, other, options, writer, |so_far| {
            progress.advance(so_far.bytes_read, || format!("{} events", so_far.events));
        })?)
    }

    /// Loads the rules of a directory, with its policies or with those of a file.
    fn trial(&self, config: &Config, policies: Option<&str>) -> anyhow::Result<Trial> {
        let limits = config.limits.clone();
        let sandbox = if self.cost { Sandbox::metered(limits)? } else { Sandbox::new(limits)? };
        if let Err(error) = std::fs::read_dir(&config.rules) {
            let rules = config.rules.display();
            return Err(UsageError(format!(
                "cannot read the directory `{rules}`: {error}; name one with --rules"
            ))
            .into());
        }
        let rules = daemon::load_rules(config, &sandbox)?;
        if rules.campaigns().is_empty() {
            let rules = config.rules.display();
            return Err(UsageError(format!(
                "there is no campaign in `{rules}`; copy one there, or name another directory"
            ))
            .into());
        }
        let rules = match policies {
            None => rules,
            Some(file) => {
                let same = RuleSet::build(rules.campaigns().to_vec(), rules.number);
                Arc::new(same.with_policies(policies_of(file, &rules)?))
            }
        };
        let consents = self.consents(&rules)?;
        Ok(Trial { rules, sandbox: Arc::clone(&sandbox), consents })
    }

    /// The statements of the file of consents, as the policies of these rules read them.
    fn consents(&self, rules: &RuleSet) -> anyhow::Result<Arc<[Statement]>> {
        let Some(path) = &self.consent else { return Ok(Arc::default()) };
        if path == Path::new("-") {
            return Err(UsageError("--consent needs a file, not standard input".into()).into());
        }
        let Terms { yes, zones_from_events } =
            Terms::of(rules.policies().map(|policies| &**policies));
        // Policies that do not judge consent ask for no answer.
        let terms = Terms { yes: Some(yes.unwrap_or_default()), zones_from_events };
        Ok(ConsentFile::read(path, &terms, clock::now_ms())?.statements.into())
    }

    /// Decisions may hold personal data, so only the owner can read the file.
    fn writer(&self, path: &Path) -> anyhow::Result<Box<dyn Write>> {
        if path == Path::new("-") {
            return Ok(Box::new(std::io::stdout().lock()));
        }
        if self.files.iter().any(|file| is_same(file, path)) {
            return Err(UsageError(format!(
                "`{}` is an input: write decisions to another file",
                path.display()
            ))
            .into());
        }
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let file = file.with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(Box::new(BufWriter::with_capacity(1 << 20, file)))
    }
}

/// The policies in a file; `None` for `off`. Prints a warning for each name without a campaign.
fn policies_of(file: &str, rules: &RuleSet) -> anyhow::Result<Option<Arc<Policies>>> {
    if file == "off" {
        return Ok(None);
    }
    let policies = read_policies(Path::new(file))?;
    let campaigns = rules.campaigns().iter().map(|campaign| &*campaign.spec.name);
    for Mistake { line, reason, hint } in policies.warnings(campaigns) {
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        output::message(&format!("warning: {file}{line}: {reason} ({hint})"));
    }
    Ok(Some(Arc::new(policies)))
}

fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        File::open(path)
            .and_then(|file| file.metadata())
            .ok()
            .map(|found| (found.dev(), found.ino()))
    };
    id(one).is_some_and(|one| id(other) == Some(one))
}
