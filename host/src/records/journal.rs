//! What was decided, and why: one entry an event or timer, with the outcome for each campaign that was asked. One row holds those
//! of a commit and a partition.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::encode;
use crate::clock::Millis;
use crate::event::{CustomerKey, EventId};

/// A row: entries in the order in which they were decided.
pub type JournalRow = Vec<JournalEntry>;

/// One event or timer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    pub event_id: EventId,
    pub customer: Option<CustomerKey>,
    pub cause: Cause,
    /// When it was decided: the `now` that every rule was given, unless it was tried again.
    pub now: Millis,
    /// The number of the rule set that decided.
    pub rule_set: u64,
    pub outcomes: Vec<Outcome>,
    /// A failure that was tried again: the `now` that its rule was given, which is that of the first time.
    #[serde(default)]
    pub again: Option<Millis>,
    /// The key of the customer whom the event names, if a merge has made it mean another: `customer`.
    #[serde(default)]
    pub named: Option<CustomerKey>,
}

/// The largest entry in bytes. What many campaigns made of one event may be more: then it stands in several entries.
const ENTRY_BYTES_MAX: usize = 4 << 20;

impl JournalEntry {
    /// Puts an entry into bytes; one that is too large becomes several, each with some of the outcomes.
    pub(crate) fn encode(mut self, put: &mut dyn FnMut(Vec<u8>)) {
        let bytes = encode(&self);
        if bytes.len() <= ENTRY_BYTES_MAX || self.outcomes.len() <= 1 {
            return put(bytes);
        }
        let outcomes = self.outcomes.split_off(self.outcomes.len() / 2);
        let rest = JournalEntry { outcomes, ..self.clone() };
        self.encode(put);
        rest.encode(put);
    }
}

/// What was decided upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    Event { code: Box<str> },
    Timer { campaign: Arc<str>, name: Box<str>, due: Millis },
}

/// What one campaign made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub campaign: Arc<str>,
    pub version: Arc<str>,
    pub decided: Decided,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decided {
    /// Not called: this required field is absent; or it is there, and `why` says why it can't be used.
    Skipped {
        field: Box<str>,
        #[serde(default)]
        why: Option<Box<str>>,
    },
    /// Called, and it answered.
    Answered {
        communications: Vec<Proposed>,
        notes: Vec<Box<str>>,
        /// Its state is another now.
        state_changed: bool,
        /// Timers set, with the time at which each is due.
        scheduled: Vec<(Box<str>, Millis)>,
        cancelled: Vec<Box<str>>,
    },
    /// It faulted.
    Failed { error: Box<str> },
    /// It waits behind an earlier failure.
    Held,
    /// Not called: the campaign has not been rolled out to this customer.
    OutsideRollout,
    /// Not called: the campaign was stopped. It can be decided later if it is kept.
    Missed { reason: Box<str>, is_kept: bool },
}

impl Decided {
    /// The reason of [`Decided::Skipped`] in words: a clause about the event.
    #[must_use]
    pub fn skipped_as(field: &str, why: Option<&str>) -> String {
        match why {
            Some(why) => format!("`{field}` {why}"),
            None => format!("the event has no `{field}`"),
        }
    }
}

/// A communication that a rule proposed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposed {
    /// Empty if it did not pass.
    pub id: Box<str>,
    /// The channel's number on the wire.
    pub channel: u8,
    pub template: Box<str>,
    pub verdict: Verdict,
    /// A hash of its data, if it is compared with what another version would send; data itself is kept nowhere. 0 if it is not.
    #[serde(default)]
    pub data_hash: u64,
}

/// What the policies made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It passed: it is in the outbox, or published.
    Passed,
    /// It does not go out, for this reason.
    Suppressed(Box<str>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::decode;
    use hailer_store::{Table, VALUE_BYTES_MAX};

    #[test]
    fn what_many_campaigns_made_of_one_event_stands_in_entries_that_fit_and_nothing_is_lost() {
        let decided = |number: usize| Decided::Answered {
            communications: Vec::new(),
            notes: vec!["n".repeat(1024).into(); 64],
            state_changed: false,
            scheduled: vec![(number.to_string().into(), 1)],
            cancelled: Vec::new(),
        };
        let outcome = |number: usize| Outcome {
            campaign: format!("campaign-{number}").into(),
            version: "1.0.0".into(),
            decided: decided(number),
        };
        let outcomes: Vec<Outcome> = (0..1024).map(outcome).collect();
        let cause = Cause::Event { code: "A".into() };
        let entry = JournalEntry {
            event_id: EventId::NONE,
            customer: None,
            cause,
            now: 7,
            rule_set: 1,
            outcomes: outcomes.clone(),
            again: None,
            named: None,
        };
        assert!(encode(&entry).len() > VALUE_BYTES_MAX / 2, "it is a test of large ones");
        let mut read: Vec<JournalEntry> = Vec::new();
        entry.encode(&mut |bytes| {
            assert!(bytes.len() <= ENTRY_BYTES_MAX, "{}", bytes.len());
            read.push(decode(Table::Journal, &bytes).unwrap());
        });
        assert!(read.iter().all(|entry| (entry.now, entry.rule_set) == (7, 1)));
        assert_eq!(read.into_iter().flat_map(|entry| entry.outcomes).collect::<Vec<_>>(), outcomes);
    }
}
