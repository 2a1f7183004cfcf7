//! `hailer deferred list`: lists the messages that wait for the end of quiet hours.

use clap::Args;
use jiff::tz::TimeZone;

use crate::cli::customer::{IdKind, channel_parser};
use crate::cli::moment::zone;
use crate::cli::settings::{Global, StoreFlags};
use crate::cli::store_access::{StoreAccess, store_access};
use crate::cli::{DONE, EXIT_CODES, engine, output};
use crate::deferred::DeferredSelection;
use crate::engine::{one_line, shown};
use crate::explain::{
    self, CustomerIdKind, DeferredMessage, DeferredPage, DeferredQuery, ZonedTime,
};
use crate::policies::NamedChannel;
use crate::store::Store;

/// The maximum length of a template in the table, in bytes.
const TEMPLATE_BYTES_MAX: usize = 100;

/// List the messages that wait for the end of quiet hours
///
/// `until` is the time at which a message is judged again, `at the latest` the time after which it
/// is not sent any more. The messages that are listed are sorted by `until`; with more than --limit
/// messages, any of them may be listed. Asks the running engine, or reads the store of a stopped
/// one.
#[derive(Debug, Args)]
#[command(after_long_help = format!(
    "Examples:\n  hailer deferred list --campaign big-basket\n  hailer deferred list --customer \
        8814\n  hailer deferred list --limit 100000 --json | jq -r '.[].campaign' | sort | uniq \
        -c\n\n{EXIT_CODES}",
))]
pub(in crate::cli) struct List {
    /// Only messages of this campaign
    #[arg(long, value_name = "NAME")]
    campaign: Option<String>,
    /// Only messages on this channel
    #[arg(long, value_parser = channel_parser())]
    channel: Option<NamedChannel>,
    /// Only messages to this customer, given by an id as the source writes it
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    customer: Option<String>,
    /// Which id it is [default: each is tried, customerId first]
    #[arg(long, requires = "customer")]
    by: Option<IdKind>,
    /// The maximum number of messages to list
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: usize,
    /// Print times in UTC [default: in the machine's zone]
    #[arg(long)]
    utc: bool,
    #[command(flatten)]
    store: StoreFlags,
}

impl List {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<u8> {
        let selection = DeferredSelection {
            campaign: self.campaign,
            channel: self.channel,
            customer: self.customer,
            by: self.by.map(CustomerIdKind::from),
        };
        let query = DeferredQuery { selection, after: Vec::new() };
        let (mut messages, is_cut) = match store_access(global, &self.store)? {
            StoreAccess::Engine(client) => {
                read(query, self.limit, |query| Ok(engine::wait(client.deferred(query))??))?
            }
            StoreAccess::Stopped(stopped) => {
                let store = stopped.open()?;
                read(query, self.limit, |query| Ok(explain::deferred(&*store.snapshot()?, query)?))?
            }
        };
        messages.sort_by(|one, other| {
            let key = |message: &DeferredMessage| (message.until, message.decided);
            key(one).cmp(&key(other)).then_with(|| one.customer.cmp(&other.customer))
        });
        if global.json {
            output::json(&messages)?;
        } else if messages.is_empty() {
            output::message("no deferred messages");
        } else {
            output::data(&table(&messages, &zone(self.utc)))?;
            output::message("`hailer deferred drop` drops those of a campaign or a customer");
        }
        if is_cut {
            output::message(&format!(
                "there are more than {}; use a larger --limit to list them",
                self.limit
            ));
        }
        Ok(DONE)
    }
}

/// Reads page after page until `limit` is reached. The boolean says whether there are more.
fn read(
    mut query: DeferredQuery,
    limit: usize,
    mut page: impl FnMut(&DeferredQuery) -> anyhow::Result<DeferredPage>,
) -> anyhow::Result<(Vec<DeferredMessage>, bool)> {
    let mut all = Vec::new();
    loop {
        let DeferredPage { messages, next } = page(&query)?;
        all.extend(messages);
        if all.len() > limit {
            all.truncate(limit);
            return Ok((all, true));
        }
        match next {
            Some(next) => query.after = next,
            None => return Ok((all, false)),
        }
    }
}

fn table(messages: &[DeferredMessage], zone: &TimeZone) -> String {
    let time = |at| ZonedTime(at, zone).to_string();
    let row = |message: &DeferredMessage| {
        let customer = message.customer.get(..12).unwrap_or(&message.customer).to_owned();
        [
            time(message.until),
            customer,
            shown(&message.campaign),
            message.channel.clone(),
            one_line(&message.template, TEMPLATE_BYTES_MAX),
            time(message.decided),
            time(message.discard_at),
            shown(&message.policy),
        ]
    };
    output::table(
        [
            "until",
            "customer",
            "campaign",
            "channel",
            "template",
            "decided",
            "at the latest",
            "quiet hours",
        ],
        messages.iter().map(row),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(campaign: &str, until: &str) -> DeferredMessage {
        DeferredMessage {
            customer: "00112233445566778899aabbccddeeff".to_owned(),
            campaign: campaign.to_owned(),
            channel: "push".to_owned(),
            template: "thank\nyou".to_owned(),
            event_id: "e1".to_owned(),
            event_code: Some("OnPurchaseConfirm".to_owned()),
            timer: None,
            decided: "2026-03-01T20:30:00Z".parse().unwrap(),
            until: until.parse().unwrap(),
            discard_at: "2026-03-02T10:30:00Z".parse().unwrap(),
            policy: "night".to_owned(),
        }
    }

    #[test]
    fn a_message_is_a_line_of_the_table() {
        let messages = [message("big-basket", "2026-03-02T06:00:00Z")];
        insta::assert_snapshot!(table(&messages, &TimeZone::UTC));
    }

    #[test]
    fn pages_are_read_up_to_the_limit() {
        let read_with = |limit| {
            let (messages, is_cut) = read(DeferredQuery::default(), limit, |query| {
                let next = (query.after.len() < 2).then(|| [&query.after[..], &[0]].concat());
                let messages = vec![message("a", "2026-03-02T06:00:00Z"); 2];
                Ok(DeferredPage { messages, next })
            })
            .unwrap();
            (messages.len(), is_cut)
        };
        assert_eq!([3, 6, 7].map(read_with), [(3, true), (6, false), (6, false)]);
    }
}
