//! Why a body is not an event. **An error never contains a value of the body, nor the name of a member that the
//! envelope doesn't know:** either may be personal, and errors end in logs, headers and dead letters.

use std::fmt::Write as _;

use super::tape::{Kind, Node};
use super::text::Text;

/// The names that may stand in an error's path.
pub(super) const ENVELOPE_NAMES: [&str; 14] = [
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
];

/// How many steps of a path are shown.
const PATH_STEPS_MAX: usize = 8;

/// Why a body is not an event, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at {}, byte {offset}", if path.is_empty() { "the top of the body" } else { path })]
pub struct EventError {
    /// A JSON Pointer in which `*` stands for every name that is not the envelope's; empty for the root.
    pub path: String,
    pub kind: EventErrorKind,
    /// Bytes from the start of the body.
    pub offset: usize,
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventErrorKind {
    #[error("nothing but whitespace")]
    Empty,
    #[error("more bytes than an event may have")]
    TooLarge,
    #[error("bytes that are not utf-8")]
    NotUtf8,
    /// What stands there, or is missing.
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
}

/// The path of the value at which the scanner stopped: `open` are the containers that were not closed yet, outermost
/// first, as indices of `nodes`.
pub(super) fn path_of_stop(body: &[u8], nodes: &[Node], open: &[u32]) -> String {
    let mut path = String::new();
    for (depth, &container) in open.iter().enumerate() {
        if depth == PATH_STEPS_MAX {
            path.push_str("/…");
            break;
        }
        let container = container as usize;
        let stop = open.get(depth + 1).map_or(nodes.len(), |&inner| inner as usize);
        // The last child that begins before the next open container, or at it.
        let (mut index, mut last, mut ordinal) = (container + 1, None, 0);
        while index < nodes.len() && index <= stop {
            last = Some((index, ordinal));
            let value = if nodes[container].kind() == Kind::Object { index + 1 } else { index };
            let Some(node) = nodes.get(value).filter(|_| value < stop) else { break };
            index = node.after(value);
            ordinal += 1;
        }
        let Some((index, ordinal)) = last else { break };
        if nodes[container].kind() == Kind::Array {
            let _ = write!(path, "/{ordinal}");
        } else {
            let key = Text::of(body, nodes[index]);
            let known = ENVELOPE_NAMES.iter().find(|name| key.is(name));
            let _ = write!(path, "/{}", known.unwrap_or(&"*"));
        }
    }
    path
}
