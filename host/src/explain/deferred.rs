//! Reads the deferred messages, page by page.

use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{name_of, time};
use crate::deferred::DeferredSelection;
use crate::event::CustomerKey;
use crate::records::DeferredRow;
use crate::store::{Snapshot, StoreError};

/// Maximum of messages on a page; those of one customer stay on one page, which may exceed this.
const PAGE_MAX: usize = 500;

/// Selects deferred messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeferredQuery {
    pub selection: DeferredSelection,
    /// The `next` key of the page before; empty starts at the beginning.
    #[serde(default)]
    pub after: Vec<u8>,
}

/// A page of deferred messages. `next` is the key to continue after; `None` on the last page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeferredPage {
    pub messages: Vec<DeferredMessage>,
    pub next: Option<Vec<u8>>,
}

/// A message that waits for the end of quiet hours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeferredMessage {
    /// The customer's key, a hash.
    pub customer: String,
    pub campaign: String,
    pub channel: String,
    pub template: String,
    /// The id of the event, or of the timer's firing, on which it was decided.
    pub event_id: String,
    /// The event's code; `None` for a timer.
    pub event_code: Option<String>,
    pub timer: Option<String>,
    pub decided: Timestamp,
    /// When it is judged again.
    pub until: Timestamp,
    /// The last moment at which it may be sent.
    pub discard_at: Timestamp,
    /// The name of the quiet hours.
    pub policy: String,
}

/// Reads a page of deferred messages.
///
/// # Errors
/// When a row cannot be read.
pub fn deferred(
    snapshot: &dyn Snapshot,
    query: &DeferredQuery,
) -> Result<DeferredPage, StoreError> {
    let DeferredQuery { selection, after } = query;
    let mut messages = Vec::new();
    let next = selection.visit(snapshot, after, &mut |customer, due, row| {
        // The row is visited once for each of its releases.
        let is_due = |message: &&DeferredRow| due.is_none_or(|due| message.due == due);
        let selected = row.deferred.iter().filter(is_due).filter(|one| selection.has(one));
        messages.extend(selected.map(|message| of_row(customer, message)));
        if messages.len() < PAGE_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(DeferredPage { messages, next })
}

fn of_row(customer: CustomerKey, message: &DeferredRow) -> DeferredMessage {
    let name = message.name.to_string();
    let (event_code, timer) = match message.is_timer {
        true => (None, Some(name)),
        false => (Some(name), None),
    };
    DeferredMessage {
        customer: name_of(customer),
        campaign: message.campaign.to_string(),
        channel: message.channel.name().to_owned(),
        template: message.template.to_string(),
        event_id: message.event.to_string(),
        event_code,
        timer,
        decided: time(message.decided),
        until: time(message.due),
        discard_at: time(message.discard_at),
        policy: message.policy.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use hailer_abi::wire::Channel;
    use hailer_policies::NamedChannel;

    use super::*;
    use crate::explain::fixture::{EIGHT, History, MINUTE, customer};
    use crate::store::Store;

    fn select(change: impl FnOnce(&mut DeferredSelection)) -> DeferredQuery {
        let mut selection = DeferredSelection::default();
        change(&mut selection);
        DeferredQuery { selection, after: Vec::new() }
    }

    /// The campaigns of the selected messages, read page by page and sorted.
    fn campaigns(history: &History, mut query: DeferredQuery) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            let page = deferred(&*history.store.snapshot().unwrap(), &query).unwrap();
            found.extend(page.messages.into_iter().map(|message| message.campaign));
            match page.next {
                Some(next) => query.after = next,
                None => break,
            }
        }
        found.sort();
        found
    }

    fn history() -> History {
        let mut history = History::new();
        history.defer("7", "welcome", 0, EIGHT + MINUTE);
        history.defer("7", "big-basket", 0, EIGHT + MINUTE);
        history.defer("7", "nudge", 1, EIGHT + 2 * MINUTE);
        history.defer("8", "welcome", 2, EIGHT);
        history.timer("7", "welcome", "remind", EIGHT);
        history
    }

    #[test]
    fn each_message_is_listed_once_with_its_times() {
        let history = history();
        let all = campaigns(&history, DeferredQuery::default());
        assert_eq!(all, ["big-basket", "nudge", "welcome", "welcome"]);
        let of_nudge = select(|all| all.campaign = Some("nudge".into()));
        let page = deferred(&*history.store.snapshot().unwrap(), &of_nudge).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&page.messages).unwrap());
    }

    #[test]
    fn messages_are_selected_by_campaign_channel_and_customer() {
        let mut history = history();
        history.merge("6", "7");
        let selected = |change: &dyn Fn(&mut DeferredSelection)| {
            campaigns(&history, select(|selection| change(selection)))
        };
        assert_eq!(selected(&|all| all.campaign = Some("welcome".into())).len(), 2);
        assert_eq!(selected(&|all| all.channel = Some(NamedChannel(Channel::Mail))), [""; 0]);
        assert_eq!(selected(&|all| all.channel = Some(NamedChannel(Channel::Push))).len(), 4);
        assert_eq!(selected(&|all| all.customer = Some("8".into())), ["welcome"]);
        let merged = selected(&|all| all.customer = Some("6".into()));
        assert_eq!(merged, ["big-basket", "nudge", "welcome"]);
        assert_eq!(selected(&|all| all.customer = Some("nobody".into())), [""; 0]);
    }

    #[test]
    fn a_page_is_bounded_and_the_next_one_goes_on_behind_it() {
        let mut history = History::new();
        for number in 0..20 {
            let id = number.to_string();
            history.change_row(&id, |row| {
                let message = crate::explain::fixture::deferred(&id, "welcome", 0, EIGHT);
                row.deferred = vec![message; 60];
            });
            let release = crate::records::TimerKey::release(customer(&id), EIGHT);
            history.put(crate::store::Table::Timers, release.encode(), Vec::new());
        }
        let page =
            deferred(&*history.store.snapshot().unwrap(), &DeferredQuery::default()).unwrap();
        assert!((PAGE_MAX..PAGE_MAX + 60).contains(&page.messages.len()));
        assert!(page.next.is_some());
        assert_eq!(campaigns(&history, DeferredQuery::default()).len(), 20 * 60);
    }
}
