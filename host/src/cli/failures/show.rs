//! `hailer failures show`.

use clap::Args;
use jiff::tz::TimeZone;

use crate::cli::moment::zone;
use crate::cli::reading::{Place, place};
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::{DONE, EXIT_CODES, engine, output};
use crate::engine::{one_line, shown};
use crate::store::Store;
use crate::story::{self, FailedTold, FailureShown, Moment};

/// What is shown of a rule's log, at most.
const LOG_BYTES_MAX: usize = 8 << 10;

/// Show one failure: the error, what the rule logged, and the event
///
/// The event is shown as it came, with all that is personal in it.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer failures show 17\n  hailer failures show 17 --json | jq -r .body > event.json\n\n{EXIT_CODES}"
))]
pub(super) struct Show {
    /// Its number, as `hailer failures list` shows it
    number: u64,
    /// Times in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl Show {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let found = match place(global, &self.store)? {
            Place::Engine(client) => engine::wait(client.failure(self.number))??,
            Place::Stopped(stopped) => story::failure(&*stopped.open()?.snapshot()?, self.number)?,
        };
        let Some(failure) = found else {
            anyhow::bail!("there is no failure {}; `hailer failures list` lists them", self.number);
        };
        if global.json {
            output::json(&failure)?;
        } else {
            output::data(&text(&failure, &zone(self.utc)))?;
        }
        Ok(DONE)
    }
}

fn text(FailureShown { told, log, body }: &FailureShown, zone: &TimeZone) -> String {
    let moment = |at| Moment(at, zone).to_string();
    let mut facts = vec![
        ("number", told.number.to_string()),
        ("campaign", shown(&told.campaign)),
        ("customer", told.customer.clone().unwrap_or_else(|| "none".to_owned())),
    ];
    facts.extend(told.event_code.as_ref().map(|code| ("event", shown(code))));
    facts.extend(told.timer.as_ref().map(|timer| ("timer", shown(timer))));
    facts.extend(told.event_id.clone().map(|id| ("event id", id)));
    facts.push(("came", moment(told.at)));
    facts.push(("later events", if told.is_queued { "wait behind it" } else { "go on without it" }.to_owned()));
    match &told.failed {
        None => facts.push(("waits", "an earlier event of the customer failed; it has not been tried".to_owned())),
        Some(FailedTold { error, version, tries, tried_at }) => {
            facts.push(("version", shown(version)));
            let times = if *tries == 1 { "once".to_owned() } else { format!("{tries} times, the last time") };
            facts.push(("tried", format!("{times} {}", moment(*tried_at))));
            facts.push(("error", one_line(error, LOG_BYTES_MAX).to_string()));
        }
    }
    let mut text: String = facts.into_iter().map(|(name, value)| format!("{name:<13}{value}\n")).collect();
    for line in log.lines() {
        text += &format!("{:<13}{}\n", "log", one_line(line, LOG_BYTES_MAX));
    }
    if let Some(body) = body {
        text.push('\n');
        // As it came, but for what a terminal might obey.
        for line in body.lines() {
            text += &format!("{}\n", one_line(line, line.len()));
        }
    }
    text
}
