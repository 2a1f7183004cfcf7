//! `hailer failures retry` and `hailer failures drop`: retry or drop failures.

use anyhow::bail;
use clap::Args;

use crate::cli::progress::{Progress, Total};
use crate::cli::settings::Global;
use crate::cli::{DONE, EXIT_CODES, FAILED, engine, output};
use crate::engine::{one_line, shown};
use crate::pipeline::{Cursor, DropPage, FailureSelection, RetryPage, TryResult};

/// The maximum length of an error in the list, in bytes.
const ERROR_BYTES_MAX: usize = 200;
/// The maximum number of failure numbers in one command.
const NUMBERS_MAX: usize = 1000;

/// Retry failures with the version that runs now
///
/// The failures of a customer are retried in the order in which they came, up to the first that
/// fails again. A failure given by its number is retried after all failures before it in its queue.
/// The rule gets the time at which the event came, and a communication gets the id that it would
/// have had then. With --missed: decides the events that a campaign missed while it was paused or
/// suspended, in each customer's order, and after everything that the campaign has decided since.
/// Needs the running engine.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer failures retry 17 18\n  hailer failures retry --campaign welcome\n  \
        hailer failures retry --all\n  hailer failures retry --missed --campaign welcome\n\n\
     The exit code is 1 if a failure was not settled.\n{EXIT_CODES}"
))]
pub(super) struct Retry {
    #[command(flatten)]
    failures: FailureArgs,
    #[command(flatten)]
    missed: MissedFlag,
}

/// Drop failures: their campaigns never decide them
///
/// The events that are held behind a failure are decided, up to the next one that fails. A timer
/// among them is cancelled. This cannot be undone. Needs the running engine.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer failures drop 17\n  hailer failures drop --campaign old-campaign \
        --yes\n\n{EXIT_CODES}"
))]
pub(super) struct Drop {
    #[command(flatten)]
    failures: FailureArgs,
    #[command(flatten)]
    missed: MissedFlag,
    /// With --campaign or --all: confirm that all of them are dropped
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct FailureArgs {
    /// The numbers of failures, as `hailer failures list` shows them
    numbers: Vec<u64>,
    /// All failures of this campaign
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// All failures
    #[arg(long)]
    all: bool,
}

/// The flag `--missed`, which needs `--campaign` or `--all`.
#[derive(Clone, Copy, Debug, Args)]
struct MissedFlag {
    /// With --campaign or --all: the events that campaigns missed while they were paused or
    /// suspended, instead of failures
    #[arg(long, conflicts_with = "numbers")]
    missed: bool,
}

impl FailureArgs {
    fn selection(self, MissedFlag { missed }: MissedFlag) -> anyhow::Result<FailureSelection> {
        if self.numbers.len() > NUMBERS_MAX {
            bail!(
                "{} numbers are more than {NUMBERS_MAX}: use --campaign or --all",
                self.numbers.len()
            );
        }
        Ok(match self.campaign {
            campaign if missed => FailureSelection::Missed(campaign),
            Some(campaign) => FailureSelection::Campaign(campaign),
            None if self.all => FailureSelection::All,
            None => FailureSelection::Numbers(self.numbers),
        })
    }
}

impl Retry {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let client = engine::client(global)?;
        let selection = self.failures.selection(self.missed)?;
        let mut progress = Progress::new(Total::Unknown);
        let mut done = RetryPage::default();
        let mut from: Option<Cursor> = None;
        loop {
            done.add(engine::wait(client.retry_failures(selection.clone(), from))??);
            progress.show(|| {
                format!(
                    "settled {}, not settled {}",
                    done.settled,
                    done.failed_again + done.not_called
                )
            });
            from = done.next.take();
            if from.is_none() {
                break;
            }
        }
        std::mem::drop(progress);
        if done == RetryPage::default() {
            bail!("there is no such failure; `hailer failures list --all` lists all failures");
        }
        if global.json {
            output::json(&done)?;
        } else {
            output::data(&text(&done, matches!(selection, FailureSelection::Missed(_))))?;
        }
        Ok(if done.failed_again + done.not_called == 0 { DONE } else { FAILED })
    }
}

impl Drop {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let client = engine::client(global)?;
        let is_many = self.failures.numbers.is_empty();
        if is_many && !self.yes {
            bail!("this drops many failures and cannot be undone: confirm it with --yes");
        }
        let selection = self.failures.selection(self.missed)?;
        let mut progress = Progress::new(Total::Unknown);
        let mut done = DropPage::default();
        let mut from: Option<Cursor> = None;
        loop {
            let DropPage { dropped, next } =
                engine::wait(client.drop_failures(selection.clone(), from))??;
            done.dropped += dropped;
            progress.show(|| format!("dropped {}", done.dropped));
            from = next;
            if from.is_none() {
                break;
            }
        }
        std::mem::drop(progress);
        if done.dropped == 0 {
            bail!("there is no such failure; `hailer failures list --all` lists all failures");
        }
        if global.json {
            output::json(&done)?;
        } else {
            output::data(&format!("dropped {}", done.dropped))?;
            output::message(
                "held events behind them are decided, up to the next one that fails; `hailer \
                    failures list` lists the failures that are left",
            );
        }
        Ok(DONE)
    }
}

fn text(page: &RetryPage, are_missed: bool) -> String {
    let RetryPage { settled, failed_again, not_called, unsettled, .. } = page;
    let mut text =
        format!("settled {settled}, failed again {failed_again}, not called {not_called}\n");
    for tried in unsettled {
        let what = match &tried.result {
            TryResult::FailedAgain { error } => {
                format!("failed again: {}", one_line(error, ERROR_BYTES_MAX))
            }
            TryResult::NotCalled { reason } => {
                format!("not called: {}", one_line(reason, ERROR_BYTES_MAX))
            }
            TryResult::Decided | TryResult::Void => continue,
        };
        text += &format!("  {} of {}: {what}\n", tried.number, shown(&tried.campaign));
    }
    if unsettled.len() as u64 == failed_again + not_called {
        return text;
    }
    let list = if are_missed { "hailer failures list --missed" } else { "hailer failures list" };
    text + &format!("  and more; `{list}` lists them\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Tried;

    #[test]
    fn a_retry_with_more_results_than_shown_names_the_list_command() {
        let reason = "as many this hour as it may".to_owned();
        let tried = Tried {
            number: 7,
            campaign: "tally".to_owned(),
            result: TryResult::NotCalled { reason },
        };
        let page = |not_called| RetryPage {
            not_called,
            unsettled: vec![tried.clone()],
            ..RetryPage::default()
        };
        let shown = "settled 0, failed again 0, not called 1\n  7 of tally: not called: as many \
                     this hour as it may\n";
        assert_eq!(text(&page(1), false), shown);
        for (are_missed, list) in
            [(false, "hailer failures list"), (true, "hailer failures list --missed")]
        {
            let text = text(&page(2), are_missed);
            assert!(text.ends_with(&format!("\n  and more; `{list}` lists them\n")), "{text}");
        }
    }
}
