//! Recorded events made safe to be looked at elsewhere: whatever says who somebody is, or may, is replaced by something of the same shape, under a key.
//!
//! The same value always becomes the same pseudonym under one key, wherever it stands, as a number or as a text: customers stay told apart, refunds find
//! their purchases, and rules decide as before, unless they read what is personal. **What the catalogue does not know is taken for personal.** Without the key
//! no pseudonym leads back; but a customer's story is still a story: pseudonymised data is personal data still, and this room does not claim otherwise.

mod key;
mod known;
mod shape;

#[cfg(test)]
mod tests;

use crate::event::{Event, Rewrite};
pub use key::{Key, KeyError};
use known::{Known, Place, Treatment};
use shape::Shapes;

/// Replaces what is personal.
#[derive(Debug)]
pub struct Pseudonyms {
    shapes: Shapes,
    known: Known,
}

impl Pseudonyms {
    /// Under a key. `kept` are JSON Pointers of members to be left as they are, though nothing is known of them; `*` stands for every element of a list.
    #[must_use]
    pub fn new(key: &Key, kept: &[String]) -> Pseudonyms {
        Pseudonyms { shapes: Shapes::new(key), known: Known::new(kept) }
    }

    /// Appends an event's body without what is personal.
    pub fn replace(&self, event: &Event, out: &mut Vec<u8>) {
        event.rewrite(&OfCode { pseudonyms: self, root: self.known.root(event.code()) }, out);
    }

    /// Another id for a message.
    #[must_use]
    pub fn id(&self, id: &str) -> String {
        self.shapes.text(id)
    }
}

/// For events of one code.
struct OfCode<'a> {
    pseudonyms: &'a Pseudonyms,
    root: Place,
}

impl Rewrite for OfCode<'_> {
    type Place = Place;

    fn root(&self) -> Place {
        self.root
    }

    fn member(&self, object: Place, name: &str) -> Place {
        self.pseudonyms.known.member(object, name)
    }

    fn element(&self, array: Place) -> Place {
        self.pseudonyms.known.element(array)
    }

    fn name(&self, object: Place, name: &str) -> Option<String> {
        let Pseudonyms { shapes, known } = self.pseudonyms;
        // Somebody may have keyed a list by phone numbers.
        let treatment = known.treatment(known.member(object, name));
        (treatment != Treatment::Keep && is_telling(name)).then(|| shapes.text(name))
    }

    fn text(&self, place: Place, text: &str) -> Option<String> {
        let Pseudonyms { shapes, known } = self.pseudonyms;
        (known.treatment(place) != Treatment::Keep).then(|| shapes.text(text))
    }

    fn number(&self, place: Place, literal: &str) -> Option<String> {
        let Pseudonyms { shapes, known } = self.pseudonyms;
        let is_replaced = match known.treatment(place) {
            Treatment::Keep => false,
            Treatment::Replace => true,
            Treatment::Unknown => is_telling(literal),
        };
        is_replaced.then(|| shapes.number(literal))
    }
}

/// Whether a text or a number could be somebody's: it has an `@`, or as many digits as a phone number of a small country.
fn is_telling(text: &str) -> bool {
    text.contains('@') || text.bytes().filter(u8::is_ascii_digit).count() >= 6
}
