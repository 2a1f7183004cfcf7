//! Pseudonymises recorded events: values that identify a person, or may, are replaced by values of
//! the same shape, under a key.
//!
//! Under one key, the same value always becomes the same pseudonym, at any place, as a number or as
//! a text. So different customers stay different, refunds still match their purchases, and rules
//! decide as before, unless they read personal fields. **Everything that the catalogue does not
//! know counts as personal**, unless the operator lists it as kept. Without the key, a pseudonym
//! cannot be resolved. But the events of one customer still belong together: pseudonymised data
//! remains personal data, and this module does not claim otherwise.

mod key;
mod known;
mod shape;

#[cfg(test)]
mod tests;

use crate::event::{Event, Rewrite};
pub use key::{Key, KeyError};
use known::{Known, Place, Treatment};
use shape::Shapes;

/// Replaces personal values.
#[derive(Debug)]
pub struct Pseudonyms {
    shapes: Shapes,
    known: Known,
}

impl Pseudonyms {
    /// Creates the replacement under a key. `kept` lists JSON Pointers of members to keep although
    /// the catalogue does not know them; `*` stands for every element of a list.
    #[must_use]
    pub fn new(key: &Key, kept: &[String]) -> Pseudonyms {
        Pseudonyms { shapes: Shapes::new(key), known: Known::new(kept) }
    }

    /// Appends an event's body with its personal values replaced.
    pub fn replace(&self, event: &Event, out: &mut Vec<u8>) {
        event.rewrite(&CodeRewrite { pseudonyms: self, root: self.known.root(event.code()) }, out);
    }

    /// The pseudonym of a message id.
    #[must_use]
    pub fn id(&self, id: &str) -> String {
        self.shapes.text(id)
    }
}

/// The rewriting rules for events of one code.
struct CodeRewrite<'a> {
    pseudonyms: &'a Pseudonyms,
    root: Place,
}

impl Rewrite for CodeRewrite<'_> {
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
        // Member names may be personal, too: a map may be keyed by phone numbers.
        let treatment = known.treatment(known.member(object, name));
        (treatment != Treatment::Keep && may_identify(name)).then(|| shapes.text(name))
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
            Treatment::Unknown => may_identify(literal),
        };
        is_replaced.then(|| shapes.number(literal))
    }
}

/// Whether a text or a number may identify a person: it contains an `@`, or as many digits as a
/// short phone number.
fn may_identify(text: &str) -> bool {
    text.contains('@') || text.bytes().filter(u8::is_ascii_digit).count() >= 6
}
