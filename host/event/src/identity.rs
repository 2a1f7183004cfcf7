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
//!
//! **The content is hashed with XXH3, which is fast and not collision resistant.** That is enough,
//! because the customer's key goes into the deduplication key beside the content's hash, and the
//! two are hashed with BLAKE3. Somebody who can make two bodies with one XXH3 hash makes two events
//! of one customer equal, and the engine takes the second for a copy of the first. Events of two
//! customers never have the same key. An event without a customer has nothing beside its content,
//! so its content is hashed with BLAKE3.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

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

/// Room for the parts of most lists.
const PARTS_BYTES: usize = 128;

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
        let customer = self.customer_key().map_or([0; 16], |customer| *customer.as_bytes());
        DedupKey::new(customer, self.content_hash(kind, id), kind != b'-')
    }

    /// The hash of what the event says.
    pub(super) fn content_hash(&self, kind: u8, id: &str) -> [u8; 16] {
        if self.customer_key().is_none() {
            let mut parts = Parts::new("hailer content 1");
            self.say(kind, id, &mut |part| parts.add(part));
            return parts.finish();
        }
        let mut hasher = Xxh3::new();
        self.say(kind, id, &mut |part| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        });
        hasher.digest128().to_be_bytes()
    }

    /// Calls `say` with each part of what the event says.
    fn say(&self, kind: u8, id: &str, say: &mut dyn FnMut(&[u8])) {
        say(&[kind]);
        say(id.as_bytes());
        say(self.code().as_bytes());
        let root = self.document().root();
        // A sender may send a message with an id again, in another spelling. A copy from the
        // broker, or from the same line of a file, has the same bytes.
        if matches!(kind, b'm' | b'e') {
            let mut content = Vec::with_capacity(self.raw().len());
            canonical::append_body(root, is_of_a_retry, &mut content);
            say(&content);
        } else {
            let members = root.members().filter(|member| !is_of_a_retry(member.key));
            members.for_each(|member| say(member.source()));
        }
    }
}

fn is_of_a_retry(name: Text<'_>) -> bool {
    RETRY_NAMES.iter().any(|known| name.is_ignoring_case(known))
}

impl DedupKey {
    /// The key of an event with this content. `customer` is zeros if the event has no customer.
    pub(super) fn new(customer: [u8; 16], content: [u8; 16], has_id: bool) -> DedupKey {
        DedupKey { hash: hash_of_block(b"hailer dedup key", &[&customer, &content]), has_id }
    }

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
        EventId(hash_of_block(b"hailer event id ", &[&self.hash, &occurrence.to_be_bytes()]))
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

/// A BLAKE3 hash of values of fixed lengths, which fit into one block of the hash: it then costs a
/// tenth of a microsecond. The purpose distinguishes kinds of hashes.
///
/// # Panics
/// When the values do not fit into a block.
#[must_use]
pub fn hash_of_block(purpose: &[u8; 16], values: &[&[u8]]) -> [u8; 16] {
    let mut block = [0; blake3::BLOCK_LEN];
    let mut end = 0;
    for value in std::iter::once(&&purpose[..]).chain(values) {
        block[end..end + value.len()].copy_from_slice(value);
        end += value.len();
    }
    first_half(&blake3::hash(&block[..end]))
}

/// A BLAKE3 hash of a list of parts. The length of each part is hashed, too, so that different
/// lists have different hashes. The first part is a purpose, so that different kinds of hashes
/// differ.
pub(super) struct Parts(Vec<u8>);

impl Parts {
    pub(super) fn new(purpose: &str) -> Parts {
        let mut parts = Parts(Vec::with_capacity(PARTS_BYTES));
        parts.add(purpose.as_bytes());
        parts
    }

    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.0.extend_from_slice(part);
    }

    /// Hashes all parts at once: the state of an incremental hash takes 2 KiB, and nearly every
    /// list is much shorter.
    pub(super) fn finish(&self) -> [u8; 16] {
        first_half(&blake3::hash(&self.0))
    }
}

fn first_half(hash: &blake3::Hash) -> [u8; 16] {
    *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
}
