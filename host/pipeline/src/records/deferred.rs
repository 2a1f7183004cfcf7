//! A deferred message: a communication that waits for the end of quiet hours. It is part of the
//! customer's row, so that a merge, an erasure and a release read and write one row.

use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use hailer_abi::wire::Channel;
use hailer_base::clock::Millis;
use hailer_event::{Customer, EventId};

/// The most deferred messages of one customer.
pub const DEFERRED_MAX: usize = 64;
/// An upper bound, in bytes, of what a deferred message takes in addition to its texts.
const DEFERRED_BYTES: usize = 96;

/// A deferred message. It is stored in parts, and made into bytes once, at its release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeferredRow {
    /// When it is judged again, in ms since 1970. The timers' table has a row for this time.
    pub due: Millis,
    /// When it was decided.
    pub decided: Millis,
    /// The last moment at which it may be sent.
    pub discard_at: Millis,
    /// The event or the firing of a timer on which it was decided.
    pub event: EventId,
    /// The code of the event, or the name of the timer.
    pub name: Box<str>,
    pub is_timer: bool,
    /// The campaign; for a canary, the one that it acts for.
    pub campaign: Arc<str>,
    /// Its place among what the campaign proposed on the event.
    pub place: u32,
    /// Stored as the channel's number on the wire.
    #[serde(serialize_with = "write_channel", deserialize_with = "read_channel")]
    pub channel: Channel,
    pub template: Box<str>,
    /// The data of the template, as JSON.
    pub data: Box<str>,
    /// The name of the quiet hours.
    pub policy: Box<str>,
    pub recipient: Customer,
}

impl DeferredRow {
    /// Its part of the row in bytes, rounded up a little.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts = [&*self.name, &*self.campaign, &*self.template, &*self.data, &*self.policy]
            .map(str::len);
        DEFERRED_BYTES + texts.iter().sum::<usize>() + self.recipient.bytes()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn write_channel<S: Serializer>(channel: &Channel, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u8(*channel as u8)
}

fn read_channel<'de, D: Deserializer<'de>>(from: D) -> Result<Channel, D::Error> {
    let number = u8::deserialize(from)?;
    Channel::from_wire(number.into())
        .ok_or_else(|| D::Error::custom(format!("a message has the unknown channel {number}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{decode, encode};
    use hailer_store::Table;

    #[test]
    fn a_message_of_an_unknown_channel_is_an_error_that_names_its_table() {
        let message = DeferredRow {
            due: 2,
            decided: 1,
            discard_at: 3,
            event: EventId::NONE,
            name: "OnPurchase".into(),
            is_timer: false,
            campaign: "basket".into(),
            place: 0,
            channel: Channel::Viber,
            template: "t".into(),
            data: "{}".into(),
            policy: "night".into(),
            recipient: Customer::default(),
        };
        let mut bytes = encode(&message);
        assert_eq!(decode::<DeferredRow>(Table::Customers, &bytes).unwrap(), message);
        // The template follows the channel.
        let template = bytes.windows(2).rposition(|two| two == [0xa1, b't']).unwrap();
        assert_eq!(bytes[template - 1], Channel::Viber as u8);
        bytes[template - 1] = 77;
        let error = decode::<DeferredRow>(Table::Customers, &bytes).unwrap_err().to_string();
        assert!(error.contains("customers") && error.contains("channel 77"), "{error}");
    }
}
