//! The members of an object that is no event, read as forgivingly as an event is.

use std::ops::Range;

use super::scan::scan;
use super::tape::{Document, Kind};

/// A member's name, and where its value stands in the text.
type Placed = (Box<str>, Range<usize>);

/// The members of an object with a comma before a closing bracket, or behind a byte order mark; `None` if the text is no such object. Of several with
/// one name all, in their order.
pub fn members_of(text: &[u8]) -> Option<Vec<Placed>> {
    let scanned = scan(text).ok().filter(|scanned| scanned.was_repaired)?;
    let document = Document { body: text, nodes: &scanned.nodes };
    let placed = document.root().members().map(|member| {
        let value = member.value;
        (member.key.to_boxed_str(), value.offset()..value.end_offset())
    });
    (document.root().kind() == Kind::Object).then(|| placed.collect())
}
