//! `hailer store clock`: compares the engine's time with the machine's clock, and lets an operator
//! accept the machine's clock.

use std::io::{self, IsTerminal, Write};

use anyhow::bail;
use clap::Args;
use jiff::tz::TimeZone;

use crate::cli::moment::zone;
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::store_access::{StoreAccess, store_access};
use crate::cli::{DONE, EXIT_CODES, FAILED, engine, output};
use crate::clock;
use crate::explain::{self, ClockReport, ZonedTime};
use crate::failpoint;
use crate::pipeline::{self, Contradiction};

/// Compare the engine's time with the machine's clock, and settle a doubt about it
///
/// An engine whose clock is in doubt takes in no event, fires no timer and expires nothing. The
/// doubt ends by itself when the machine's clock is right again. If the machine's clock is right
/// already, --accept confirms it, and the engine uses it from then on. Without --accept, the
/// command shows what would follow and changes nothing.
///
/// If the engine's time is ahead, it is set back; decisions and timers from the time that was ahead
/// keep their times. If the machine's clock is ahead, every timer that is due by it fires at once,
/// and decisions that are too old by it expire.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer store clock\n  hailer store clock --accept\n  hailer store clock \
        --accept --yes --json\n\nExit code 1 also means that the clock is in doubt.\n{EXIT_CODES}",
))]
pub(super) struct Clock {
    /// Confirm that the machine's clock is right, and use it
    #[arg(long)]
    accept: bool,
    /// Do not ask for confirmation
    #[arg(long, requires = "accept")]
    yes: bool,
    /// Print times in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl Clock {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        if let Some(armed) = failpoint::arm()? {
            output::message(&format!(
                "{} is set ({armed}): this command has a wrong clock",
                failpoint::VARIABLE
            ));
        }
        let access = store_access(global, &self.store)?;
        let ask = |accept: bool| -> anyhow::Result<ClockReport> {
            match &access {
                StoreAccess::Engine(client) => Ok(engine::wait(client.clock(accept))??),
                StoreAccess::Stopped(stopped) => {
                    let (store, reading) = (stopped.open()?, clock::reading());
                    let snapshot = crate::store::Store::snapshot(&store)?;
                    let progress = explain::progress(&*snapshot)?;
                    // The doubt is computed even if event time drives the clock, because an engine
                    // with the machine's clock would have it.
                    let report = (
                        progress.now,
                        pipeline::clock_doubt(&progress.clock, progress.now, reading),
                    );
                    let mut report = explain::clock_report(
                        &*snapshot,
                        report,
                        reading.wall_ms,
                        stopped.journal_ms(),
                    )?;
                    drop(snapshot);
                    report.is_accepted = accept && report.doubt.is_some();
                    if report.is_accepted {
                        pipeline::accept_clock(&store, reading)?;
                    }
                    Ok(report)
                }
            }
        };
        let zone = zone(self.utc);
        let mut report = ask(false)?;
        if self.accept && report.doubt.is_some() {
            if !self.yes {
                confirm(&text(&report, &zone))?;
            }
            report = ask(true)?;
        }
        if global.json {
            output::json(&report)?;
        } else {
            output::data(&text(&report, &zone))?;
        }
        Ok(if report.doubt.is_some() && !report.is_accepted { FAILED } else { DONE })
    }
}

fn text(report: &ClockReport, zone: &TimeZone) -> String {
    let moment = |at: jiff::Timestamp| ZonedTime(at, zone).to_string();
    let kept = report.kept.map_or_else(|| "none yet".to_owned(), moment);
    let mut text =
        format!("engine's time    {kept}\nmachine's clock  {}\n", moment(report.machine));
    let Some(doubt) = report.doubt else { return text + "the machine's clock is not in doubt\n" };
    let (is, would) = if report.is_accepted { ("was", "") } else { ("is", "--accept: ") };
    text += &format!("the machine's clock {is} in doubt: {}\n", reason(doubt.contradiction));
    let follows = match doubt.contradiction {
        Contradiction::Behind => "the engine's time goes back to the machine's clock; decisions \
            and timers from the time that was ahead keep their times"
            .to_owned(),
        Contradiction::Leap | Contradiction::LongStop => {
            "the engine's time moves forward to the machine's clock".to_owned()
        }
    };
    text += &format!("{would}{follows}\n");
    let timers: u64 = report.timers_due.values().sum();
    let campaigns: Vec<_> =
        report.timers_due.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let by = if timers > 0 { format!(" ({})", campaigns.join(", ")) } else { String::new() };
    text += &format!("{would}{timers} timers are due and fire{by}\n");
    text + &format!(
        "{would}{} decisions of the journal are too old and expire\n",
        report.decisions_too_old
    )
}

fn reason(contradiction: Contradiction) -> &'static str {
    match contradiction {
        Contradiction::Behind => "the engine's time is ahead of it",
        Contradiction::Leap => {
            "it moved forward by more time than has passed since the engine's last commit"
        }
        Contradiction::LongStop => {
            "it is more than a week after the engine's last commit, and the machine was restarted \
                in between"
        }
    }
}

/// Asks the operator for confirmation, because messages cannot be called back once they are sent.
fn confirm(follows: &str) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        bail!("{follows}accepting the machine's clock cannot be undone: confirm it with --yes");
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{follows}accept the machine's clock? This cannot be undone [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was changed"),
    }
}
