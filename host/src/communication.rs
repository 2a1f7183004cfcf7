//! What leaves the engine: communications for SMC, and dead letters for whoever looks after the source. Plain data;
//! the bytes are made once, so that a repeat is the same byte for byte (G3).

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use hailer_abi::wire::Channel;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::event::{Customer, EventId};

/// How a body begins: with the version of its own shape, and the name of its id.
const BEGINNING: &[u8] = br#"{"schema":1,"id":""#;
/// What a body takes beside its parts, in bytes, unless something has to be escaped.
const AROUND_BYTES: usize = 128;
/// What an occasion writes of each kind, in bytes, as a rule.
const MEMBER_BYTES: usize = 160;
/// Of an event's id, and of a communication's.
const ID_BYTES: usize = 16;

/// A communication as a sink sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Communication {
    /// H(event id, campaign, index) in hexadecimal; goes out as `message_id`.
    pub id: Box<str>,
    /// `communication.<channel>.<campaign>`.
    pub routing_key: Arc<str>,
    /// One JSON object, without a line break.
    pub body: Bytes,
    /// `createdAt` of the body; a broker's timestamp is made of it, so that a repeat has the same one.
    pub created_ms: Millis,
}

/// An event that can't be read, on its way to where somebody will look at it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The message as it came.
    pub body: Bytes,
    /// Why it can't be read: path, kind and offset, never a value.
    pub reason: String,
    pub message_id: Option<Box<str>>,
    pub routing_key: Option<Box<str>>,
    /// Where it stood, for a source that has places: `file:line`.
    pub position: Option<Box<str>>,
    pub received_ms: Millis,
    /// What the producer said of the message beside; `None` if it said nothing.
    pub origin: Option<Box<Origin>>,
}

/// Properties of a message as its producer set them. They are kept for dead letters and never decided on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Seconds since 1970, as AMQP has them.
    pub timestamp_s: Option<u64>,
    /// The AMQP property `type`.
    pub kind: Option<Box<str>>,
    pub content_type: Option<Box<str>>,
    pub content_encoding: Option<Box<str>>,
    pub correlation_id: Option<Box<str>>,
    pub headers: Option<lapin::types::FieldTable>,
}

/// What all communications of one campaign have in common, written once.
#[derive(Debug)]
pub struct Sender {
    campaign: Box<str>,
    /// The body's members from `campaign` on to `channel`, whose value follows.
    head: Box<[u8]>,
    /// By channel.
    routing_keys: [Arc<str>; Channel::ALL.len()],
}

/// What all communications of one event, or of one firing of a timer, have in common, written once.
#[derive(Debug)]
pub struct Occasion {
    event_id: EventId,
    /// The member `recipient`.
    recipient: Box<[u8]>,
    /// All after `data`.
    tail: Box<[u8]>,
    now: Millis,
}

/// What a rule asks for, beyond to whom and what for.
#[derive(Clone, Copy, Debug)]
pub struct Proposal<'a> {
    /// Its place among the communications of this event and campaign, from 0 on.
    pub index: u32,
    pub channel: Channel,
    pub template: &'a str,
    /// One JSON object.
    pub data: &'a str,
}

/// What a communication is sent for.
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
        for (name, value) in [("campaign", campaign), ("version", version), ("environment", environment)] {
            write_member(name, &value, &mut head);
        }
        head.extend_from_slice(b",\"channel\":\"");
        let routing_keys =
            Channel::ALL.map(|channel| ["communication.", channel.name(), ".", campaign].concat().into());
        Sender { campaign: campaign.into(), head: head.into(), routing_keys }
    }

    /// Makes a communication: its id is a function of its cause, its bytes of everything that is handed over.
    #[must_use]
    pub fn send(&self, occasion: &Occasion, proposal: Proposal<'_>) -> Communication {
        let Proposal { index, channel, template, data } = proposal;
        let id = Hex::of(self.id(occasion.event_id, index));
        let parts = [&*self.head, template.as_bytes(), &*occasion.recipient, data.as_bytes(), &*occasion.tail];
        let mut body = Vec::with_capacity(parts.map(<[u8]>::len).iter().sum::<usize>() + AROUND_BYTES);
        body.extend_from_slice(BEGINNING);
        body.extend_from_slice(id.as_str().as_bytes());
        body.push(b'"');
        body.extend_from_slice(&self.head);
        body.extend_from_slice(channel.name().as_bytes());
        body.push(b'"');
        write_member("template", &template, &mut body);
        body.extend_from_slice(&occasion.recipient);
        body.extend_from_slice(b",\"data\":");
        body.extend_from_slice(data.as_bytes());
        body.extend_from_slice(&occasion.tail);
        let routing_key = Arc::clone(&self.routing_keys[channel as usize]);
        Communication {
            id: id.as_str().into(),
            routing_key,
            body: body.into_boxed_slice().into(),
            created_ms: occasion.now,
        }
    }

    /// H(event id, campaign, index).
    fn id(&self, event_id: EventId, index: u32) -> [u8; ID_BYTES] {
        // Its purpose is in it: to begin with that each time would cost as much as the rest.
        static WITH_PURPOSE: LazyLock<blake3::Hasher> =
            LazyLock::new(|| blake3::Hasher::new_derive_key("hailer communication id 1"));
        let mut hasher = WITH_PURPOSE.clone();
        hasher.update(event_id.as_bytes()).update(&index.to_be_bytes()).update(self.campaign.as_bytes());
        let mut id = [0; ID_BYTES];
        hasher.finalize_xof().fill(&mut id);
        id
    }
}

impl Occasion {
    /// # Errors
    /// When `now` is no date that can be written.
    pub fn new(
        event_id: EventId,
        cause: Cause<'_>,
        recipient: &Customer,
        now: Millis,
    ) -> Result<Occasion, jiff::Error> {
        let created_at = jiff::Timestamp::from_millisecond(now)?;
        let [mut of_recipient, mut tail] = [MEMBER_BYTES; 2].map(Vec::with_capacity);
        write_member("recipient", &Recipient::of(recipient), &mut of_recipient);
        let event = Hex::of(*event_id.as_bytes());
        write_member("cause", &SentFor { event_id: event.as_str(), cause }, &mut tail);
        write_member("createdAt", &created_at, &mut tail);
        tail.push(b'}');
        Ok(Occasion { event_id, recipient: of_recipient.into(), tail: tail.into(), now })
    }
}

/// A member of an object that has members before it.
fn write_member(name: &str, value: &impl Serialize, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    serde_json::to_writer(out, value).expect("texts are written to memory");
}

/// An id's bytes in hexadecimal.
struct Hex([u8; 2 * ID_BYTES]);

impl Hex {
    fn of(bytes: [u8; ID_BYTES]) -> Hex {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut digits = [0; 2 * ID_BYTES];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 0xf)];
        }
        Hex(digits)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are ASCII")
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
struct SentFor<'a> {
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
