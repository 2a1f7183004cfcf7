//! `hailer failures retry` and `hailer failures drop`.

use anyhow::bail;
use clap::Args;

use crate::cli::settings::Global;
use crate::cli::{DONE, EXIT_CODES, FAILED, engine, output};
use crate::engine::{one_line, shown};
use crate::pipeline::{Cursor, DropPage, RetryPage, TryResult, Which};

/// An error in the list, at most.
const ERROR_BYTES_MAX: usize = 200;
/// Numbers at once.
const NUMBERS_MAX: usize = 1000;

/// Try failures again, through the version that runs now
///
/// A customer's failures are tried in the order in which they came, and up to the first that fails again: whoever names one by its number has
/// all tried that stand in its queue. The rule is given the time at which the event came, and what it sends has the id that it would have had.
/// With --missed: what a campaign missed while it was paused or suspended, in the order in which it came to each customer, and
/// behind all that the campaign has decided since. Needs the running engine.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer failures retry 17 18\n  hailer failures retry --campaign welcome\n  hailer failures retry --all\n  hailer failures retry --missed --campaign welcome\n\n\
     Exits with 1 if one was not settled.\n{EXIT_CODES}"
))]
pub(super) struct Retry {
    #[command(flatten)]
    meant: Meant,
    #[command(flatten)]
    missed: Missed,
}

/// Drop failures: their campaigns never decide them
///
/// What waited behind a failure goes on, up to the next one that fails. A timer that waited is cancelled. There is no way back. Needs the
/// running engine.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer failures drop 17\n  hailer failures drop --campaign old-campaign --yes\n\n{EXIT_CODES}"
))]
pub(super) struct Drop {
    #[command(flatten)]
    meant: Meant,
    #[command(flatten)]
    missed: Missed,
    /// With --campaign or --all: yes, all of them
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct Meant {
    /// Numbers, as `hailer failures list` shows them
    numbers: Vec<u64>,
    /// All of this campaign
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// All there are
    #[arg(long)]
    all: bool,
}

/// With `--campaign` or `--all`.
#[derive(Clone, Copy, Debug, Args)]
struct Missed {
    /// With --campaign or --all: what campaigns missed while they were paused or suspended, in place of failures
    #[arg(long, conflicts_with = "numbers")]
    missed: bool,
}

impl Meant {
    fn which(self, Missed { missed }: Missed) -> anyhow::Result<Which> {
        if self.numbers.len() > NUMBERS_MAX {
            bail!("{} numbers at once, the most is {NUMBERS_MAX}: name the campaign, or all", self.numbers.len());
        }
        Ok(match self.campaign {
            campaign if missed => Which::Missed(campaign),
            Some(campaign) => Which::Campaign(campaign),
            None if self.all => Which::All,
            None => Which::Numbers(self.numbers),
        })
    }
}

impl Retry {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let client = engine::client(global)?;
        let which = self.meant.which(self.missed)?;
        let mut progress = output::Progress::new();
        let mut done = RetryPage::default();
        let mut from: Option<Cursor> = None;
        loop {
            done.add(engine::wait(client.retry_failures(which.clone(), from))??);
            progress.show(|| format!("settled {}, not settled {}", done.settled, done.failed_again + done.not_called));
            from = done.next.take();
            if from.is_none() {
                break;
            }
        }
        std::mem::drop(progress);
        if done == RetryPage::default() {
            bail!("there is no such failure; `hailer failures list --all` lists them");
        }
        if global.json {
            output::json(&done)?;
        } else {
            output::data(&text(&done, matches!(which, Which::Missed(_))))?;
        }
        Ok(if done.failed_again + done.not_called == 0 { DONE } else { FAILED })
    }
}

impl Drop {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let client = engine::client(global)?;
        let is_many = self.meant.numbers.is_empty();
        if is_many && !self.yes {
            bail!("that drops many, and can't be undone: say that it is meant with --yes");
        }
        let which = self.meant.which(self.missed)?;
        let mut progress = output::Progress::new();
        let mut done = DropPage::default();
        let mut from: Option<Cursor> = None;
        loop {
            let DropPage { dropped, next } = engine::wait(client.drop_failures(which.clone(), from))??;
            done.dropped += dropped;
            progress.show(|| format!("dropped {}", done.dropped));
            from = next;
            if from.is_none() {
                break;
            }
        }
        std::mem::drop(progress);
        if done.dropped == 0 {
            bail!("there is no such failure; `hailer failures list --all` lists them");
        }
        if global.json {
            output::json(&done)?;
        } else {
            output::data(&format!("dropped {}", done.dropped))?;
            output::say(
                "what waited behind goes on, up to the next that fails; `hailer failures list` lists what is left",
            );
        }
        Ok(DONE)
    }
}

fn text(page: &RetryPage, are_missed: bool) -> String {
    let RetryPage { settled, failed_again, not_called, told, .. } = page;
    let mut text = format!("settled {settled}, failed again {failed_again}, not called {not_called}\n");
    for tried in told {
        let what = match &tried.result {
            TryResult::FailedAgain { error } => format!("failed again: {}", one_line(error, ERROR_BYTES_MAX)),
            TryResult::NotCalled { reason } => format!("not called: {}", one_line(reason, ERROR_BYTES_MAX)),
            TryResult::Decided | TryResult::Void => continue,
        };
        text += &format!("  {} of {}: {what}\n", tried.number, shown(&tried.campaign));
    }
    if told.len() as u64 == failed_again + not_called {
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
    fn a_retry_of_more_than_is_shown_names_the_list_that_has_the_rest() {
        let reason = "as many this hour as it may".to_owned();
        let tried = Tried { number: 7, campaign: "tally".to_owned(), result: TryResult::NotCalled { reason } };
        let page = |not_called| RetryPage { not_called, told: vec![tried.clone()], ..RetryPage::default() };
        let shown = "settled 0, failed again 0, not called 1\n  7 of tally: not called: as many this hour as it may\n";
        assert_eq!(text(&page(1), false), shown);
        for (are_missed, list) in [(false, "hailer failures list"), (true, "hailer failures list --missed")] {
            let text = text(&page(2), are_missed);
            assert!(text.ends_with(&format!("\n  and more; `{list}` lists them\n")), "{text}");
        }
    }
}
