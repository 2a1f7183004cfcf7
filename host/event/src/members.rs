//! Reads the members of an object that is not an event, with the same tolerance as for events.

use std::ops::Range;

use super::scan::scan;
use super::tape::{Document, Kind};

/// The name of a member, and the byte range of its value in the text.
type MemberRange = (Box<str>, Range<usize>);

/// Returns the members of an object that has a comma before a closing bracket, or a byte order
/// mark; `None` for any other text. All members are there in their order, also those with the same
/// name.
pub fn members_of(text: &[u8]) -> Option<Vec<MemberRange>> {
    let scanned = scan(text).ok().filter(|scanned| scanned.was_repaired)?;
    let document = Document { body: text, nodes: &scanned.nodes };
    let members = document.root().members().map(|member| {
        let value = member.value;
        (member.key.to_boxed_str(), value.offset()..value.end_offset())
    });
    (document.root().kind() == Kind::Object).then(|| members.collect())
}
