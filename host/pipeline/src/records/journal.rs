//! The journal: what was decided, and why. Each event or timer has one entry, with the outcome of
//! every campaign that takes it. One row holds the entries of one commit and partition.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::encode;
use hailer_base::clock::Millis;
use hailer_event::{CustomerKey, EventId};

/// A row: entries in the order in which they were decided.
pub type JournalRow = Vec<JournalEntry>;

/// The decisions about one event or timer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    pub event_id: EventId,
    pub customer: Option<CustomerKey>,
    pub cause: Cause,
    /// The time of the decision, in ms since 1970. Every rule was given it as `now`, except in a
    /// retry.
    pub now: Millis,
    /// The number of the rule set that decided.
    pub rule_set: u64,
    pub outcomes: Vec<Outcome>,
    /// The `now` of a retry, which is that of the first try; `None` if this is no retry.
    pub again: Option<Millis>,
    /// The key of the customer whom the event names, if a merge redirects it to `customer`.
    /// Otherwise `None`.
    pub named: Option<CustomerKey>,
}

/// The most bytes of one entry. The outcomes of one event may need more; they are then split into
/// several entries.
const ENTRY_BYTES_MAX: usize = 4 << 20;

impl JournalEntry {
    /// Encodes the entry. One that is too large is split into several, each with some of the
    /// outcomes.
    pub fn encode(mut self, put: &mut dyn FnMut(Vec<u8>)) {
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

/// The event or timer that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    Event {
        code: Box<str>,
    },
    Timer {
        campaign: Arc<str>,
        name: Box<str>,
        due: Millis,
    },
    /// Deferred messages that were due at `due`. The entry's id is made from this time and the
    /// event of the first of them.
    Release {
        due: Millis,
    },
}

/// The outcome of one campaign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub campaign: Arc<str>,
    pub version: Arc<str>,
    pub decided: Decided,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decided {
    /// The rule was not called: the event lacks this required field or, if `why` is set, the field
    /// cannot be used for the reason in `why`.
    Skipped { field: Box<str>, why: Option<Box<str>> },
    /// The rule was called, and answered.
    Answered {
        communications: Vec<Proposed>,
        notes: Vec<Box<str>>,
        /// Whether the call changed the state.
        state_changed: bool,
        /// The timers that it set, with the due time of each.
        scheduled: Vec<(Box<str>, Millis)>,
        cancelled: Vec<Box<str>>,
    },
    /// The call faulted.
    Failed { error: Box<str> },
    /// The rule was not called: the event is held behind an earlier failure.
    Held,
    /// The rule was not called: the campaign is not rolled out to this customer.
    OutsideRollout,
    /// The rule was not called: the campaign was stopped. If `is_kept`, the event can be decided
    /// later.
    Missed { reason: Box<str>, is_kept: bool },
    /// The rule was not called: the host judged messages again that were deferred before, or an
    /// event cancelled them.
    Released { communications: Vec<Released> },
}

impl Decided {
    /// Whether the host judged deferred messages again, and called no rule.
    #[must_use]
    pub fn is_release(&self) -> bool {
        matches!(self, Decided::Released { .. })
    }

    /// The reason of [`Decided::Skipped`] in words: a clause about the event.
    #[must_use]
    pub fn skipped_as(field: &str, why: Option<&str>) -> String {
        match why {
            Some(why) => format!("`{field}` {why}"),
            None => format!("the event has no `{field}`"),
        }
    }
}

/// A deferred message that was judged again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Released {
    /// The event or the firing of a timer on which it was decided.
    pub event: EventId,
    /// When it was decided, in ms since 1970.
    pub decided: Millis,
    pub communication: Proposed,
}

/// A communication that a rule proposed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposed {
    /// The communication's id; empty if it is not sent.
    pub id: Box<str>,
    /// The channel's number on the wire.
    pub channel: u8,
    pub template: Box<str>,
    pub verdict: Verdict,
    /// A hash of its data, for comparisons of two versions; 0 if none is made. The data itself is
    /// not stored.
    pub data_hash: u64,
    /// The name of the cap, the quiet hours or the control group that decided; `None` for other
    /// reasons.
    pub policy: Option<Box<str>>,
    /// The circumstances of the verdict in plain words; `None` if there is nothing to add.
    pub detail: Option<Box<str>>,
}

/// The policies' decision about a communication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The communication passed, and is in the outbox or published.
    Passed,
    /// The communication was suppressed for this reason, and is not sent.
    Suppressed(Box<str>),
    /// The communication waits, and is judged again at `until`, in ms since 1970.
    Deferred { until: Millis },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::decode;
    use hailer_store::{Table, VALUE_BYTES_MAX};

    #[test]
    fn a_large_entry_is_split_without_loss() {
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
        assert!(encode(&entry).len() > VALUE_BYTES_MAX / 2, "the test needs a large entry");
        let mut read: Vec<JournalEntry> = Vec::new();
        entry.encode(&mut |bytes| {
            assert!(bytes.len() <= ENTRY_BYTES_MAX, "{}", bytes.len());
            read.push(decode(Table::Journal, &bytes).unwrap());
        });
        assert!(read.iter().all(|entry| (entry.now, entry.rule_set) == (7, 1)));
        assert_eq!(read.into_iter().flat_map(|entry| entry.outcomes).collect::<Vec<_>>(), outcomes);
    }
}
