//! `hailer failures show`: shows one failure.

use clap::Args;
use jiff::tz::TimeZone;

use crate::cli::moment::zone;
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::store_access::{StoreAccess, store_access};
use crate::cli::{DONE, EXIT_CODES, engine, output};
use crate::engine::{one_line, shown};
use crate::explain::{self, FailureDetails, LastAttempt, ZonedTime};
use crate::store::Store;

/// The maximum length of a line of the rule's log, in bytes.
const LOG_BYTES_MAX: usize = 8 << 10;

/// Show one failure: the error, the rule's log, and the event
///
/// The event is shown as it came, with all personal data in it.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer failures show 17\n  hailer failures show 17 --json | jq -r .body > \
        event.json\n\n{EXIT_CODES}"
))]
pub(super) struct Show {
    /// The number of the failure, as `hailer failures list` shows it
    number: u64,
    /// Print times in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl Show {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let found = match store_access(global, &self.store)? {
            StoreAccess::Engine(client) => engine::wait(client.failure(self.number))??,
            StoreAccess::Stopped(stopped) => {
                explain::failure(&*stopped.open()?.snapshot()?, self.number)?
            }
        };
        let Some(failure) = found else {
            anyhow::bail!(
                "there is no failure {}; `hailer failures list` lists all failures",
                self.number
            );
        };
        if global.json {
            output::json(&failure)?;
        } else {
            output::data(&text(&failure, &zone(self.utc)))?;
        }
        Ok(DONE)
    }
}

fn text(FailureDetails { summary, log, body }: &FailureDetails, zone: &TimeZone) -> String {
    let moment = |at| ZonedTime(at, zone).to_string();
    let mut facts = vec![
        ("number", summary.number.to_string()),
        ("campaign", shown(&summary.campaign)),
        ("customer", summary.customer.clone().unwrap_or_else(|| "none".to_owned())),
    ];
    facts.extend(summary.event_code.as_ref().map(|code| ("event", shown(code))));
    facts.extend(summary.timer.as_ref().map(|timer| ("timer", shown(timer))));
    facts.extend(summary.event_id.clone().map(|id| ("event id", id)));
    facts.push(("came", moment(summary.at)));
    facts.push((
        "later events",
        if summary.is_queued { "are held behind it" } else { "are decided without it" }.to_owned(),
    ));
    match &summary.failed {
        None => facts.push((
            "waits",
            "an earlier event of the customer failed; it has not been tried".to_owned(),
        )),
        Some(LastAttempt { error, version, tries, tried_at }) => {
            facts.push(("version", shown(version)));
            let times = if *tries == 1 {
                "once".to_owned()
            } else {
                format!("{tries} times, the last time")
            };
            facts.push(("tried", format!("{times} {}", moment(*tried_at))));
            facts.push(("error", one_line(error, LOG_BYTES_MAX).to_string()));
        }
    }
    let mut text: String =
        facts.into_iter().map(|(name, value)| format!("{name:<13}{value}\n")).collect();
    for line in log.lines() {
        text += &format!("{:<13}{}\n", "log", one_line(line, LOG_BYTES_MAX));
    }
    if let Some(body) = body {
        text.push('\n');
        // The event as it came, except that characters that control a terminal are escaped.
        for line in body.lines() {
            text += &format!("{}\n", one_line(line, line.len()));
        }
    }
    text
}
