//! The messages that the engine sends: communications for SMC, and dead letters for the operators
//! of the source.
//!
//! They are plain data. The bytes are made once, so a repeat is the same byte for byte (G3).

use std::sync::Arc;

use bytes::Bytes;
use hailer_abi::wire::Channel;
use serde::{Deserialize, Serialize};

use hailer_base::clock::Millis;
use hailer_event::{Customer, EventId};

/// The start of every body: the version of its format, and the name of the id.
const BODY_START: &[u8] = br#"{"schema":1,"id":""#;
/// The bytes between the parts of a body.
const AFTER_ID: &[u8] = b"\"";
const AFTER_CHANNEL: &[u8] = b"\",\"template\":";
const BEFORE_DATA: &[u8] = b",\"data\":";
/// The initial capacity for the members that an [`Occasion`] writes, in bytes; usually enough.
const MEMBER_BYTES: usize = 160;
/// The length of the id of an event or a communication, in bytes.
const ID_BYTES: usize = 16;

/// A communication in the form in which a sink sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Communication {
    /// Hash of event id, campaign and index, in hexadecimal; sent as AMQP `message_id`.
    pub id: Box<str>,
    /// The routing key, `communication.<channel>.<campaign>`.
    pub routing_key: Arc<str>,
    /// One JSON object without a line break.
    pub body: Bytes,
    /// The body's `createdAt`. The AMQP timestamp is derived from it, so that a repeat has the same
    /// one.
    pub created_ms: Millis,
}

/// A message that cannot be read as an event, with the reason, for the dead-letter queue or file.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The body of the message, unchanged.
    pub body: Bytes,
    /// The reason: path, kind and byte offset of the error, never a value from the body.
    pub reason: String,
    pub message_id: Option<Box<str>>,
    pub routing_key: Option<Box<str>>,
    /// The place of the message in its input, `file:line`; `None` for a source without places.
    pub position: Option<Box<str>>,
    /// The time at which the engine received the message, in ms since 1970-01-01 UTC.
    pub received_ms: Millis,
    /// Other properties that the producer set on the message; `None` if it set none.
    pub origin: Option<Box<Origin>>,
}

/// Properties of a message as its producer set them. The engine copies them to the dead letter; no
/// decision depends on them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The AMQP property `timestamp`, in seconds since 1970-01-01 UTC.
    pub timestamp_s: Option<u64>,
    /// The AMQP property `type`.
    pub kind: Option<Box<str>>,
    /// The AMQP property `content_type`.
    pub content_type: Option<Box<str>>,
    /// The AMQP property `content_encoding`.
    pub content_encoding: Option<Box<str>>,
    /// The AMQP property `correlation_id`.
    pub correlation_id: Option<Box<str>>,
    /// The message's headers, without `CC` and `BCC`.
    pub headers: Option<lapin::types::FieldTable>,
}

/// The parts that all communications of one campaign share, serialized once.
#[derive(Debug)]
pub struct Sender {
    /// The hash of the campaign's name.
    campaign: [u8; ID_BYTES],
    /// The body's members from `campaign` to the name `channel`; the value of `channel` follows.
    head: Box<[u8]>,
    /// The routing key for each channel, indexed by [`Channel`].
    routing_keys: [Arc<str>; Channel::ALL.len()],
}

/// The parts that all communications for one event or one firing of a timer share, serialized once.
#[derive(Debug)]
pub struct Occasion {
    event_id: EventId,
    /// The serialized member `recipient`.
    recipient: Box<[u8]>,
    /// The serialized body after the member `data`.
    tail: Box<[u8]>,
    now: Millis,
}

/// The part of a communication that the rule chooses.
#[derive(Clone, Copy, Debug)]
pub struct Proposal<'a> {
    /// The position among the communications of this event and campaign, from 0.
    pub index: u32,
    pub channel: Channel,
    pub template: &'a str,
    /// The template's data, one JSON object.
    pub data: &'a str,
}

/// The event or timer that a communication is sent for.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Cause<'a> {
    Event {
        #[serde(rename = "eventCode")]
        code: &'a str,
    },
    Timer {
        #[serde(rename = "timer")]
        name: &'a str,
    },
}

impl Sender {
    #[must_use]
    pub fn new(campaign: &str, version: &str, environment: &str) -> Sender {
        let mut head = Vec::new();
        for (name, value) in
            [("campaign", campaign), ("version", version), ("environment", environment)]
        {
            write_member(name, &value, &mut head);
        }
        head.extend_from_slice(b",\"channel\":\"");
        let routing_keys = Channel::ALL
            .map(|channel| ["communication.", channel.name(), ".", campaign].concat().into());
        let campaign = *blake3::hash(campaign.as_bytes())
            .as_bytes()
            .first_chunk()
            .expect("a hash has 32 bytes");
        Sender { campaign, head: head.into(), routing_keys }
    }

    /// Makes a communication. Its id depends on the cause, the campaign and the index only; its
    /// bytes depend on every argument.
    #[must_use]
    pub fn send(&self, occasion: &Occasion, proposal: Proposal<'_>) -> Communication {
        let Proposal { index, channel, template, data } = proposal;
        let id = Hex::of(self.id(occasion.event_id, index));
        let (before, after): (&[&[u8]], &[&[u8]]) = (
            &[
                BODY_START,
                id.as_str().as_bytes(),
                AFTER_ID,
                &self.head,
                channel.name().as_bytes(),
                AFTER_CHANNEL,
            ],
            &[&occasion.recipient, BEFORE_DATA, data.as_bytes(), &occasion.tail],
        );
        // Enough, unless the template's name must be escaped, so the body is not reallocated.
        let parts = before.iter().chain(after).map(|part| part.len());
        let mut body = Vec::with_capacity(parts.sum::<usize>() + template.len() + "\"\"".len());
        before.iter().for_each(|part| body.extend_from_slice(part));
        write_value(&template, &mut body);
        after.iter().for_each(|part| body.extend_from_slice(part));
        let routing_key = Arc::clone(&self.routing_keys[channel as usize]);
        Communication {
            id: id.as_str().into(),
            routing_key,
            body: body.into_boxed_slice().into(),
            created_ms: occasion.now,
        }
    }

    /// Hash of event id, campaign and index.
    fn id(&self, event_id: EventId, index: u32) -> [u8; ID_BYTES] {
        let values: [&[u8]; 3] = [event_id.as_bytes(), &self.campaign, &index.to_be_bytes()];
        hailer_event::hash_of_block(b"hailer message 1", &values)
    }
}

impl Occasion {
    /// Serializes the parts that the communications for one event or timer share.
    ///
    /// # Errors
    /// `now` is outside the range of dates that can be written.
    pub fn new(
        event_id: EventId,
        cause: Cause<'_>,
        recipient: &Customer,
        now: Millis,
    ) -> Result<Occasion, jiff::Error> {
        let created_at = jiff::Timestamp::from_millisecond(now)?;
        let [mut recipient_member, mut tail] = [MEMBER_BYTES; 2].map(Vec::with_capacity);
        write_member("recipient", &Recipient::of(recipient), &mut recipient_member);
        let event = Hex::of(*event_id.as_bytes());
        write_member("cause", &CauseMember { event_id: event.as_str(), cause }, &mut tail);
        write_member("createdAt", &created_at, &mut tail);
        tail.push(b'}');
        Ok(Occasion { event_id, recipient: recipient_member.into(), tail: tail.into(), now })
    }
}

/// Writes a member of an object, with a comma before it.
fn write_member(name: &str, value: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    write_value(value, out);
}

fn write_value(value: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("writing to memory cannot fail");
}

/// The hexadecimal digits of an id.
struct Hex([u8; 2 * ID_BYTES]);

impl Hex {
    fn of(bytes: [u8; ID_BYTES]) -> Hex {
        let mut digits = [0; 2 * ID_BYTES];
        hex::encode_to_slice(bytes, &mut digits).expect("two digits fit for each byte");
        Hex(digits)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recipient<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_group_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mobile_device_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CauseMember<'a> {
    event_id: &'a str,
    #[serde(flatten)]
    cause: Cause<'a>,
}

impl Recipient<'_> {
    fn of(customer: &Customer) -> Recipient<'_> {
        Recipient {
            customer_id: customer.customer_id.as_deref(),
            account_group_id: customer.account_group_id.as_deref(),
            customer_uid: customer.customer_uid.as_deref(),
            mobile_device_id: customer.mobile_device_id.as_deref(),
            identifier_id: customer.identifier_id.as_deref(),
            application_id: customer.application_id.as_deref(),
        }
    }
}
