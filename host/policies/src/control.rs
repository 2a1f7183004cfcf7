//! Control groups: customers whom some campaigns never write to, for comparison.
//!
//! Membership is a hash of the group's salt and the customer's key, so no row keeps it. A group
//! that grows keeps all of its members, and a new name of the group or of a campaign changes none.

use super::model::ControlGroup;
use hailer_event::CustomerKey;

/// The number of buckets that customers are distributed to: a hundredth of a percent each.
const BUCKETS: u64 = 10_000;

impl ControlGroup {
    /// Whether a customer is a member.
    #[must_use]
    pub fn has(&self, customer: CustomerKey) -> bool {
        bucket(&self.salt, customer) < u64::from(self.basis_points)
    }

    /// Whether the group concerns a campaign.
    #[must_use]
    pub fn concerns(&self, campaign: &str) -> bool {
        self.campaigns.as_ref().is_none_or(|names| names.contains(campaign))
    }
}

/// The customer's bucket, below [`BUCKETS`]. **It is stable: another hash would exchange the
/// members of every group.**
fn bucket(salt: &str, customer: CustomerKey) -> u64 {
    hash(salt, customer) % BUCKETS
}

/// A number that depends on the purpose and the customer alone, the same in every version.
pub(crate) fn hash(purpose: &str, customer: CustomerKey) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(purpose.len() as u64).to_le_bytes());
    hasher.update(purpose.as_bytes());
    hasher.update(customer.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
