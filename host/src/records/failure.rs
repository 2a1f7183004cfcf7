//! What a rule failed on, and what waits behind it: kept so that it can be tried again. The body of an event is a row of its own, once
//! however many campaigns failed on it.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::customer::{PendingTimer, StateRow};
use super::decode;
use super::keys::{Key, Partition};
use crate::clock::Millis;
use crate::event::{Customer, CustomerKey, EventId};
use hailer_store::{Snapshot, StoreError, Table};

/// Which row it is. The rows of one customer and campaign stand in the order in which they came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FailureKey {
    pub partition: Partition,
    /// `None` for an event without one.
    pub customer: Option<CustomerKey>,
    pub campaign: Arc<str>,
    /// Counts up over the whole store: how people name it.
    pub number: u64,
}

/// An event, a timer or a merge of which one campaign owes a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureRow {
    pub work: Work,
    /// The `now` that the rule was given, and is given again.
    pub now: Millis,
    pub status: FailureStatus,
    /// Whether the customer's later events wait for it, with this campaign.
    pub is_queued: bool,
    /// What it and its event's body took when it was kept, in bytes.
    pub bytes: u64,
}

/// What is to be decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    Event {
        id: EventId,
        code: Box<str>,
        /// To whom its communications go since a merge; `None` while it is whom the event names.
        recipient: Option<Customer>,
    },
    /// One that has failed has fired; one that waits is still pending, and may be cancelled by what is in front of it.
    Timer(PendingTimer),
    /// What a campaign keeps about two customers was to become one.
    Merge {
        id: EventId,
        /// The event's.
        code: Box<str>,
        /// The state of the customer who has gone; `None` if there was none.
        other: Option<StateRow>,
        /// The pending timers of the customer who has gone. Empty if they moved with the merge.
        #[serde(default)]
        timers: Vec<PendingTimer>,
        /// The customer who remains, as the last merge named them; `None` in a row of a version that did not keep it.
        #[serde(default)]
        recipient: Option<Customer>,
    },
}

/// Why a row is here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FailureStatus {
    /// The rule faulted on it.
    Failed {
        error: Box<str>,
        /// What the rule logged meanwhile.
        log: Box<str>,
        /// The version that did.
        version: Arc<str>,
        /// The last time that it was tried.
        tried_ms: Millis,
        tries: u32,
    },
    /// It waits behind one that failed.
    Held,
    /// It came while the campaign was stopped, for this reason.
    Missed { reason: Box<str> },
}

/// An event's body, for as long as a failure needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyRow {
    /// How many failures need it.
    pub needed_by: u32,
    pub body: Bytes,
}

/// What is kept for one campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureTotal {
    pub count: u64,
    pub bytes: u64,
}

/// How a commit changes what is kept for one campaign.
#[derive(Clone, Debug)]
pub(crate) struct FailureDelta {
    pub(crate) campaign: Arc<str>,
    pub(crate) count: i64,
    pub(crate) bytes: i64,
    /// Of what the campaign missed, and not of its failures.
    pub(crate) is_missed: bool,
}

impl FailureStatus {
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, FailureStatus::Held)
    }

    /// Whether the campaign was stopped when it came.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        matches!(self, FailureStatus::Missed { .. })
    }
}

impl FailureRow {
    /// The event's id; `None` for a timer.
    #[must_use]
    pub fn event_id(&self) -> Option<EventId> {
        match self.work {
            Work::Event { id, .. } | Work::Merge { id, .. } => Some(id),
            Work::Timer(_) => None,
        }
    }

    /// The id under which the event's body is kept; `None` if there is none.
    #[must_use]
    pub fn body_of(&self) -> Option<EventId> {
        match self.work {
            Work::Event { id, .. } => Some(id),
            Work::Timer(_) | Work::Merge { .. } => None,
        }
    }
}

impl FailureTotal {
    pub fn add(&mut self, count: i64, bytes: i64) {
        self.count = self.count.saturating_add_signed(count);
        self.bytes = self.bytes.saturating_add_signed(bytes);
    }
}

/// What looks at failures one by one, and says whether it has seen enough.
pub(crate) type VisitFailure<'a> = dyn FnMut(FailureKey, FailureRow) -> Result<ControlFlow<()>, StoreError> + 'a;

/// Shows the failures from one key to before another, in the order of the keys.
///
/// # Errors
/// Those of the store and of `visit`, and when a row is no failure's.
pub(crate) fn visit_failures(
    snapshot: &dyn Snapshot,
    (from, to): (&[u8], &[u8]),
    visit: &mut VisitFailure<'_>,
) -> Result<(), StoreError> {
    let mut broken = None;
    snapshot.range(Table::Failures, from, to, &mut |key, row| {
        let key = FailureKey::decode(key)
            .ok_or_else(|| StoreError::unreadable(Table::Failures, "a key that is no failure's"));
        match key.and_then(|key| visit(key, decode(Table::Failures, row)?)) {
            Ok(flow) => flow,
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    broken.map_or(Ok(()), Err)
}

impl BodyRow {
    /// What a row takes beside the body in bytes, at most.
    pub(crate) const AROUND_BYTES: usize = 16;

    /// The body of an event that a failure needs; `None` if there is none.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn get(
        snapshot: &dyn Snapshot,
        partition: Partition,
        event: EventId,
    ) -> Result<Option<BodyRow>, StoreError> {
        let body = snapshot.get(Table::Bodies, &Key::body(partition, event))?;
        body.map(|body| decode(Table::Bodies, &body)).transpose()
    }
}
