//! `hailer deferred drop`: drops messages that wait for the end of quiet hours.

use anyhow::bail;
use clap::Args;

use crate::cli::customer::{IdKind, channel_parser};
use crate::cli::progress::{Progress, Total};
use crate::cli::settings::Global;
use crate::cli::{DONE, EXIT_CODES, engine, output};
use crate::deferred::DeferredSelection;
use crate::explain::CustomerIdKind;
use crate::pipeline::DeferredDropPage;
use crate::policies::NamedChannel;

/// Drop messages that wait for the end of quiet hours: they are never sent
///
/// `hailer why` shows a dropped message as `suppressed (cancelled by an operator)`. This
/// cannot be undone. To keep a campaign's messages waiting instead, pause the campaign. Needs the
/// running engine.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer deferred drop --campaign big-basket --yes\n  hailer deferred drop \
        --campaign big-basket --channel sms --yes\n  hailer deferred drop --customer 8814 \
        --yes\n\n{EXIT_CODES}"
))]
pub(in crate::cli) struct Drop {
    #[command(flatten)]
    messages: MessageArgs,
    /// Which id --customer is [default: each is tried, customerId first]
    #[arg(long, requires = "customer")]
    by: Option<IdKind>,
    /// Only messages on this channel
    #[arg(long, value_parser = channel_parser())]
    channel: Option<NamedChannel>,
    /// Confirm that the messages are dropped
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct MessageArgs {
    /// All messages of this campaign
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// All messages to this customer, given by an id as the source writes it
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    customer: Option<String>,
    /// All messages
    #[arg(long)]
    all: bool,
}

impl Drop {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let client = engine::client(global)?;
        if !self.yes {
            bail!("the messages are never sent, which cannot be undone: confirm it with --yes");
        }
        let MessageArgs { campaign, customer, all: _ } = self.messages;
        let by = self.by.map(CustomerIdKind::from);
        let selection = DeferredSelection { campaign, channel: self.channel, customer, by };
        let mut progress = Progress::new(Total::Unknown);
        let done = all_pages(&mut progress, |after| {
            Ok(engine::wait(client.drop_deferred(selection.clone(), after))??)
        })?;
        std::mem::drop(progress);
        if done.dropped == 0 {
            bail!("there is no such message; `hailer deferred list` lists all");
        }
        if global.json {
            output::json(&done)?;
        } else {
            output::data(&format!("dropped {}", done.dropped))?;
        }
        Ok(DONE)
    }
}

/// Drops page by page, and returns the sum. Dropped messages stay dropped if a later page fails.
fn all_pages(
    progress: &mut Progress,
    mut page: impl FnMut(Vec<u8>) -> anyhow::Result<DeferredDropPage>,
) -> anyhow::Result<DeferredDropPage> {
    let mut done = DeferredDropPage::default();
    let mut after = Vec::new();
    loop {
        let so_far = |error: anyhow::Error| match done.dropped {
            0 => error,
            dropped => error
                .context(format!("{dropped} were dropped; repeat the command to drop the rest")),
        };
        let DeferredDropPage { dropped, next } = page(after).map_err(so_far)?;
        done.dropped += dropped;
        progress.show(|| format!("dropped {}", done.dropped));
        match next {
            Some(next) => after = next,
            None => return Ok(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_a_later_page_says_how_many_messages_were_dropped() {
        let mut pages = vec![
            Err(anyhow::anyhow!("no engine answers")),
            Ok(DeferredDropPage { dropped: 3, next: Some(vec![2]) }),
            Ok(DeferredDropPage { dropped: 40, next: Some(vec![1]) }),
        ];
        let mut asked = Vec::new();
        let error = all_pages(&mut Progress::new(Total::Unknown), |after| {
            asked.push(after);
            pages.pop().unwrap()
        });
        let error = format!("{:#}", error.unwrap_err());
        let expected = "43 were dropped; repeat the command to drop the rest: no engine answers";
        assert_eq!(error, expected);
        assert_eq!(asked, [vec![], vec![1], vec![2]]);
    }
}
