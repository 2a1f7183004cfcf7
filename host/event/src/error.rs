//! The reason why a body is not an event. **An error never contains a value of the body, nor a
//! member name that is not of the envelope.** Either may be personal, and errors appear in logs,
//! headers and dead letters.

use std::fmt::Write as _;

use super::tape::{Kind, Node};
use super::text::Text;

/// The member names that the path of an error may contain.
pub(super) const ENVELOPE_NAMES: [&str; 16] = [
    "eventCode",
    "customerInfo",
    "fromCustomerInfo",
    "toCustomerInfo",
    "customerId",
    "accountgroupId",
    "accountfroupId",
    "customerUid",
    "customerCode",
    "mobileDeviceId",
    "identifierId",
    "applicationId",
    "externalId",
    "tryCount",
    "delaySecond",
    "toErrorQueue",
];

/// The number of steps of a path that an error shows.
const PATH_STEPS_MAX: usize = 8;

/// The reason why a body is not an event, and the place of the problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at {}, byte {offset}", if path.is_empty() { "the top of the body" } else { path })]
pub struct EventError {
    /// A JSON Pointer. `*` replaces every name that is not of the envelope. Empty for the root.
    pub path: String,
    pub kind: EventErrorKind,
    /// The offset in the body, in bytes.
    pub offset: usize,
}

/// The kind of problem of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventErrorKind {
    #[error("nothing but whitespace")]
    Empty,
    #[error("more bytes than an event may have")]
    TooLarge,
    #[error("bytes that are not utf-8")]
    NotUtf8,
    /// The text names the unexpected or missing token.
    #[error("{0}")]
    Syntax(&'static str),
    #[error("an escape that json does not have, or half of a surrogate pair")]
    Escape,
    #[error("nesting deeper than 128")]
    TooDeep,
    #[error("an event must be an object")]
    NotAnObject,
    #[error("no eventCode, or an empty one")]
    NoEventCode,
    #[error("eventCode must be a string")]
    EventCodeNotText,
    #[error("eventCode is longer than 128 bytes")]
    EventCodeTooLong,
    #[error("the customer must be an object")]
    CustomerNotAnObject,
    #[error("the customer's id must be a string or a whole number, of at most 4096 bytes")]
    CustomerIdUnusable,
}

/// The path to the place where the scanner stopped, computed from the unfinished tape. `open` has
/// the containers that are not closed, outermost first. The index in an array is that of the last
/// element that has begun. If the next token is no value, it is that of the last element that has
/// ended.
pub(super) fn path_of_stop(body: &[u8], nodes: &[Node], open: &[u32]) -> String {
    let mut path = String::new();
    for (depth, &container) in open.iter().enumerate() {
        if depth == PATH_STEPS_MAX {
            path.push_str("/…");
            break;
        }
        let container = container as usize;
        let inner = open.get(depth + 1).map(|&inner| inner as usize);
        let Some((ordinal, child)) = last_child(nodes, container, inner) else { break };
        if nodes[container].kind() == Kind::Array {
            let _ = write!(path, "/{ordinal}");
        } else {
            let key = Text::of(body, nodes[child]);
            let known = ENVELOPE_NAMES.iter().find(|name| key.is(name));
            let _ = write!(path, "/{}", known.unwrap_or(&"*"));
        }
    }
    path
}

/// Returns the number of the last child of an open container, counted from 0, and the index of its
/// node. For a member this is the node of its key. `inner` is the child that is open, if there is
/// one.
fn last_child(nodes: &[Node], container: usize, inner: Option<usize>) -> Option<(usize, usize)> {
    let in_object = nodes[container].kind() == Kind::Object;
    let (mut ordinal, mut child) = (0, container + 1);
    loop {
        let value = child + usize::from(in_object);
        let next = nodes.get(value).filter(|_| Some(value) != inner).map(|node| node.after(value));
        match next {
            Some(next) if next < nodes.len() => (ordinal, child) = (ordinal + 1, next),
            _ => return (child < nodes.len()).then_some((ordinal, child)),
        }
    }
}
