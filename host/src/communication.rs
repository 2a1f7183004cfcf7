//! What leaves the engine: communications for SMC, and dead letters for whoever looks after the source. Plain data;
//! the bytes are made once, so that a repeat is the same byte for byte (G3).

use std::sync::Arc;

use bytes::Bytes;
use hailer_abi::wire::Channel;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::clock::Millis;
use crate::event::{Customer, EventId};

/// The version of the communication's own shape.
const SCHEMA: u32 = 1;

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// A communication that a rule proposed and the policies let pass.
#[derive(Debug)]
pub struct Proposal<'a> {
    /// The event, or the firing of a timer.
    pub event_id: EventId,
    pub cause: Cause<'a>,
    pub campaign: &'a str,
    pub version: &'a str,
    pub environment: &'a str,
    /// Its place among the communications of this event and campaign, from 0 on.
    pub index: u32,
    pub channel: Channel,
    pub template: &'a str,
    pub recipient: &'a Customer,
    /// One JSON object.
    pub data: &'a RawValue,
    pub now: Millis,
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

impl Proposal<'_> {
    /// Makes the communication: its id is a function of its cause, its bytes of the proposal.
    ///
    /// # Errors
    /// When `now` is no date that can be written.
    pub fn compose(&self) -> Result<Communication, serde_json::Error> {
        let id = self.id();
        let body = serde_json::to_vec(&Body {
            schema: SCHEMA,
            id: &id,
            campaign: self.campaign,
            version: self.version,
            environment: self.environment,
            channel: self.channel.name(),
            template: self.template,
            recipient: Recipient {
                customer_id: self.recipient.customer_id.as_deref(),
                account_group_id: self.recipient.account_group_id.as_deref(),
                customer_uid: self.recipient.customer_uid.as_deref(),
                mobile_device_id: self.recipient.mobile_device_id.as_deref(),
                identifier_id: self.recipient.identifier_id.as_deref(),
                application_id: self.recipient.application_id.as_deref(),
            },
            data: self.data,
            cause: SentFor { event_id: self.event_id.to_string(), cause: self.cause },
            created_at: jiff::Timestamp::from_millisecond(self.now).map_err(serde::ser::Error::custom)?,
        })?;
        let routing_key = format!("communication.{}.{}", self.channel.name(), self.campaign).into();
        Ok(Communication { id, routing_key, body: body.into(), created_ms: self.now })
    }

    /// H(event id, campaign, index).
    fn id(&self) -> Box<str> {
        let mut hasher = blake3::Hasher::new_derive_key("hailer communication id 1");
        hasher.update(self.event_id.as_bytes());
        hasher.update(&self.index.to_be_bytes());
        hasher.update(self.campaign.as_bytes());
        let mut id = hasher.finalize().to_hex().to_string();
        id.truncate(32);
        id.into()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    schema: u32,
    id: &'a str,
    campaign: &'a str,
    version: &'a str,
    environment: &'a str,
    channel: &'a str,
    template: &'a str,
    recipient: Recipient<'a>,
    data: &'a RawValue,
    cause: SentFor<'a>,
    created_at: jiff::Timestamp,
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
    event_id: String,
    #[serde(flatten)]
    cause: Cause<'a>,
}
