//! The failures that are kept: which there are, page by page, and one of them in full.

use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::people::{self, By};
use super::{name_of, time};
use crate::event::CustomerKey;
use crate::records::{BodyRow, FailureKey, FailureRow, FailureStatus, Partition, Work, visit_failures};
use crate::store::{Snapshot, StoreError};

/// Failures of a page.
const PAGE_MAX: usize = 500;
/// What is read for a page, although little of it may be asked for.
const LOOKS_MAX: usize = 50_000;

/// Which failures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureQuery {
    pub campaign: Option<String>,
    /// Of this customer alone, by an id as the source writes it.
    pub customer: Option<String>,
    /// Which id that is; `None` to try each.
    pub by: Option<By>,
    /// Not those that have something in front of them in their queue.
    #[serde(default)]
    pub only_heads: bool,
    /// What campaigns missed while they were stopped, in place of failures.
    #[serde(default)]
    pub only_missed: bool,
    /// Where the page before ended.
    #[serde(default)]
    pub after: Vec<u8>,
}

/// Some failures, and where to go on; without that, they were the last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FailurePage {
    pub failures: Vec<FailureTold>,
    pub next: Option<Vec<u8>>,
}

/// One failure, or what waits behind one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureTold {
    pub number: u64,
    pub campaign: String,
    /// The customer's key, which is no name.
    pub customer: Option<String>,
    /// The code of the event, or none for a timer.
    pub event_code: Option<String>,
    pub timer: Option<String>,
    pub event_id: Option<String>,
    /// The `now` that the rule is given.
    pub at: Timestamp,
    /// The customer's later events wait behind it.
    pub is_queued: bool,
    /// `None` if it waits itself, or was missed.
    pub failed: Option<FailedTold>,
    /// It came while the campaign was stopped: why that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
}

/// How it failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedTold {
    pub error: String,
    pub version: String,
    pub tries: u32,
    pub tried_at: Timestamp,
}

/// One failure in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureShown {
    #[serde(flatten)]
    pub told: FailureTold,
    /// What the rule logged while it failed.
    pub log: String,
    /// The event's body as it came; absent for a timer. A body that is no text is not shown.
    pub body: Option<String>,
}

/// Reads a page.
///
/// # Errors
/// When a row can't be read.
pub fn failures(snapshot: &dyn Snapshot, query: &FailureQuery) -> Result<FailurePage, StoreError> {
    let customers: Option<Vec<CustomerKey>> = match &query.customer {
        Some(id) => Some(people::everybody(snapshot, id, query.by)?.map_or_else(Vec::new, |(_, everybody)| everybody)),
        None => None,
    };
    let is_meant = |key: &FailureKey| {
        query.campaign.as_deref().is_none_or(|campaign| campaign == &*key.campaign)
            && customers.as_ref().is_none_or(|meant| key.customer.is_some_and(|customer| meant.contains(&customer)))
    };
    let mut page = FailurePage::default();
    let mut looks = 0;
    let from = if query.after.is_empty() { Vec::new() } else { [query.after.as_slice(), &[0]].concat() };
    let mut last = FailureKey::decode(&query.after);
    visit_failures(snapshot, (&from, &[Partition::COUNT]), &mut |key, row| {
        looks += 1;
        let is_behind = |last: &FailureKey| (last.customer, &last.campaign) == (key.customer, &key.campaign);
        let has_one_in_front = row.is_queued && last.as_ref().is_some_and(is_behind);
        if is_meant(&key)
            && row.status.is_missed() == query.only_missed
            && !(query.only_heads && row.status.is_held() && has_one_in_front)
        {
            page.failures.push(told(&key, &row));
        }
        if row.is_queued {
            last = Some(key.clone());
        }
        if page.failures.len() < PAGE_MAX && looks < LOOKS_MAX {
            return Ok(ControlFlow::Continue(()));
        }
        page.next = Some(key.encode());
        Ok(ControlFlow::Break(()))
    })?;
    Ok(page)
}

/// Reads one failure; `None` if there is none of this number.
///
/// # Errors
/// When a row can't be read.
pub fn failure(snapshot: &dyn Snapshot, number: u64) -> Result<Option<FailureShown>, StoreError> {
    let mut found = None;
    visit_failures(snapshot, (&[], &[Partition::COUNT]), &mut |key, row| {
        if key.number != number {
            return Ok(ControlFlow::Continue(()));
        }
        found = Some((key, row));
        Ok(ControlFlow::Break(()))
    })?;
    let Some((key, row)) = found else { return Ok(None) };
    let body = row.body_of().map(|id| BodyRow::get(snapshot, key.partition, id)).transpose()?;
    let body = body.flatten().and_then(|row| String::from_utf8(row.body.into()).ok());
    let log = match &row.status {
        FailureStatus::Failed { log, .. } => log.to_string(),
        FailureStatus::Held | FailureStatus::Missed { .. } => String::new(),
    };
    Ok(Some(FailureShown { told: told(&key, &row), log, body }))
}

fn told(key: &FailureKey, row: &FailureRow) -> FailureTold {
    let (event_code, timer) = match &row.work {
        Work::Event { code, .. } | Work::Merge { code, .. } => (Some(code.to_string()), None),
        Work::Timer(timer) => (None, Some(timer.name.to_string())),
    };
    let failed = match &row.status {
        FailureStatus::Held | FailureStatus::Missed { .. } => None,
        FailureStatus::Failed { error, version, tried_ms, tries, .. } => Some(FailedTold {
            error: error.to_string(),
            version: version.to_string(),
            tries: *tries,
            tried_at: time(*tried_ms),
        }),
    };
    let missed = match &row.status {
        FailureStatus::Missed { reason } => Some(reason.to_string()),
        FailureStatus::Failed { .. } | FailureStatus::Held => None,
    };
    FailureTold {
        number: key.number,
        campaign: key.campaign.to_string(),
        customer: key.customer.map(name_of),
        event_code,
        timer,
        event_id: row.event_id().map(|id| id.to_string()),
        at: time(row.now),
        is_queued: row.is_queued,
        failed,
        missed,
    }
}
