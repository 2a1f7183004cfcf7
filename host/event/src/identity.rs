//! Deduplication keys and event ids.
//!
//! The source gives an event no id and mostly no time, so two equal messages may be two events.
//! Some messages have an id of their own: AMQP's `message_id`, else the body's `externalId`, else
//! their line in a file. The key of such a message covers its id and its content. The key of any
//! other message covers its content only, and the engine has to count the occurrences of that
//! content.
//!
//! For a message with a `message_id` or an `externalId`, the content is the canonical form of its
//! body (`canonical.rs`): spaces, the order of members, `150.00` for `150.0`, an additional null
//! member, and the type of a customer's id do not matter. For any other message, the bytes count.
//! The content includes `externalId`. It leaves out `tryCount`, `delaySecond` and `toErrorQueue`,
//! which a retry of the same message may change.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::canonical;
use super::envelope::Event;
use super::text::Text;
use hailer_base::clock::Millis;

/// A deduplication key. Two messages that may be one event have equal keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DedupKey {
    hash: [u8; 16],
    has_id: bool,
}

/// The id of an event. Everything that the event causes refers to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(#[serde(with = "super::hash")] [u8; 16]);

/// The members that a retry of a message may change. This is an assumption: the source documents
/// none of them.
const RETRY_NAMES: [&str; 3] = ["tryCount", "delaySecond", "toErrorQueue"];

impl Event {
    /// Returns the deduplication key of the event. `position` is its place in a source where places
    /// are identities, such as `file:line`.
    #[must_use]
    pub fn dedup_key(&self, message_id: Option<&str>, position: Option<&str>) -> DedupKey {
        let ids = [(b'm', message_id), (b'e', self.external_id()), (b'p', position)];
        let mut present =
            ids.into_iter().filter_map(|(kind, id)| Some((kind, id.filter(|id| !id.is_empty())?)));
        let (kind, id) = present.next().unwrap_or((b'-', ""));
        let is_sent_again = matches!(kind, b'm' | b'e');
        let mut hasher =
            Parts::new(if is_sent_again { PURPOSE_OF_CONTENT } else { PURPOSE_OF_BYTES });
        hasher.add(&[kind]);
        hasher.add(id.as_bytes());
        hasher.add(self.code().as_bytes());
        hasher.add(self.customer_key().as_ref().map_or(&[], |key| key.as_bytes().as_slice()));
        let root = self.document().root();
        if is_sent_again {
            let mut content = Vec::with_capacity(self.raw().len());
            canonical::append_body(root, is_of_a_retry, &mut content);
            hasher.add(&content);
        } else {
            root.members()
                .filter(|member| !is_of_a_retry(member.key))
                .for_each(|member| hasher.add(member.source()));
        }
        DedupKey { hash: hasher.finish(), has_id: kind != b'-' }
    }
}

fn is_of_a_retry(name: Text<'_>) -> bool {
    RETRY_NAMES.iter().any(|known| name.is_ignoring_case(known))
}

/// The purpose of keys that hash the canonical form: the message has an id, and its sender may send
/// it again in another spelling.
const PURPOSE_OF_CONTENT: &str = "hailer deduplication key 2";
/// The purpose of keys that hash the bytes: a copy from the broker, or from the same line of a
/// file, has the same bytes.
const PURPOSE_OF_BYTES: &str = "hailer deduplication key 1";

impl DedupKey {
    /// Whether the message had an id of its own. Without one, equal keys may be two events.
    #[must_use]
    pub fn has_id(self) -> bool {
        self.has_id
    }

    /// Returns the id of the event. If the message had no id of its own, `occurrence` counts the
    /// events with this key, from 0 on.
    #[must_use]
    pub fn event_id(self, occurrence: u64) -> EventId {
        let occurrence = if self.has_id { 0 } else { occurrence };
        let mut hasher = Parts::new("hailer event id 1");
        hasher.add(&self.hash);
        hasher.add(&occurrence.to_be_bytes());
        EventId(hasher.finish())
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.hash
    }
}

impl EventId {
    /// The id of work that has no event id yet.
    pub const NONE: EventId = EventId([0; 16]);

    /// The id of the firing of a timer. It is a hash of the event that set the timer, the campaign,
    /// the timer and its due time, so every retry has the same id.
    #[must_use]
    pub fn of_timer(set_by: EventId, campaign: &str, timer: &str, due: Millis) -> EventId {
        let mut hasher = Parts::new("hailer timer id 1");
        hasher.add(&set_by.0);
        hasher.add(campaign.as_bytes());
        hasher.add(timer.as_bytes());
        hasher.add(&due.to_be_bytes());
        EventId(hasher.finish())
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EventId({self})")
    }
}

impl fmt::Debug for DedupKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "DedupKey({:032x}, has_id: {})",
            u128::from_be_bytes(self.hash),
            self.has_id
        )
    }
}

/// A hash of a list of parts. The length of each part is hashed, too, so that different lists have
/// different hashes. The first part is a purpose, so that different kinds of hashes differ.
pub(super) struct Parts(blake3::Hasher);

impl Parts {
    pub(super) fn new(purpose: &str) -> Parts {
        let mut parts = Parts(blake3::Hasher::new());
        parts.add(purpose.as_bytes());
        parts
    }

    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    pub(super) fn finish(&self) -> [u8; 16] {
        let mut hash = [0; 16];
        self.0.finalize_xof().fill(&mut hash);
        hash
    }
}
