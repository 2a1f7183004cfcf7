//! Finds deferred messages in the store, in bounded parts.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::customers::{CustomerIdKind, merged_customers};
use crate::records::{CustomerRow, DeferredRow, Partition, TimerKey};
use hailer_base::clock::Millis;
use hailer_event::CustomerKey;
use hailer_policies::NamedChannel;
use hailer_store::{Snapshot, StoreError, Table};

/// The most timers that one visit looks at, and the most bytes of rows that it reads; the last row
/// may exceed it.
const LOOKS_MAX: usize = 50_000;
const READ_BYTES_MAX: usize = 8 << 20;

/// Selects deferred messages. Without any member, it selects all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeferredSelection {
    pub campaign: Option<String>,
    pub channel: Option<NamedChannel>,
    /// The messages of this customer, by an id as the source writes it.
    pub customer: Option<String>,
    /// The kind of the id; `None` tries every kind.
    pub by: Option<CustomerIdKind>,
}

/// Receives a customer, the due time of a release, and the customer's row. Without a due time, all
/// releases of the customer are meant. A break ends the visit behind this release.
pub type Visit<'a> = dyn FnMut(CustomerKey, Option<Millis>, CustomerRow) -> ControlFlow<()> + 'a;

impl DeferredSelection {
    /// Whether the selection has a message of a customer that it visits.
    #[must_use]
    pub fn has(&self, message: &DeferredRow) -> bool {
        self.campaign.as_deref().is_none_or(|campaign| campaign == &*message.campaign)
            && self.channel.is_none_or(|NamedChannel(channel)| channel == message.channel)
    }

    /// Visits the customers who may have selected messages, in the order of the timers' table, from
    /// behind the key `after` on; an empty key is the beginning. Returns the key to go on behind;
    /// `None` at the end.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn visit(
        &self,
        snapshot: &dyn Snapshot,
        after: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(id) = &self.customer else { return visit_all(snapshot, after, visit) };
        let customers = merged_customers(snapshot, id, self.by)?;
        for customer in customers.map_or_else(Vec::new, |(_, customers)| customers) {
            // Few customers are merged into one, and a row has few messages, so one page is enough.
            let _ = visit(customer, None, CustomerRow::get(snapshot, customer)?);
        }
        Ok(None)
    }
}

fn visit_all(
    snapshot: &dyn Snapshot,
    after: &[u8],
    visit: &mut Visit<'_>,
) -> Result<Option<Vec<u8>>, StoreError> {
    // The least key that is greater than `after`.
    let from = if after.is_empty() { Vec::new() } else { [after, &[0]].concat() };
    let (mut looks, mut read_bytes) = (0, 0);
    let (mut next, mut broken) = (None, None);
    snapshot.range(Table::Timers, &from, &[Partition::COUNT], &mut |key, _| {
        looks += 1;
        let mut flow = ControlFlow::Continue(());
        if let Some(release) = TimerKey::decode(key).filter(TimerKey::is_release) {
            match CustomerRow::get(snapshot, release.customer) {
                Ok(row) => {
                    read_bytes += row.bytes();
                    flow = visit(release.customer, Some(release.due), row);
                }
                Err(error) => {
                    broken = Some(error);
                    return ControlFlow::Break(());
                }
            }
        }
        if flow.is_continue() && looks < LOOKS_MAX && read_bytes < READ_BYTES_MAX {
            return ControlFlow::Continue(());
        }
        next = Some(key.to_vec());
        ControlFlow::Break(())
    })?;
    broken.map_or(Ok(next), Err)
}
