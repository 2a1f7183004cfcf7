//! Finds the places on the tape to which the paths of a shape lead.
//!
//! Each trie node comes before its children, so one loop finds every place: when the loop reaches a
//! node, the place of the node is final. **If several members have one name, the last wins, and
//! only that one is searched.** So the members of an earlier one are never mixed in.

use super::encode::Unusable;
use super::plan::{Query, Shape};
use super::tape::{Document, Kind, Value};

/// The place of a member that does not exist.
const NOWHERE: u32 = u32::MAX;
/// The place of a member whose parent is present and is not an object.
const IN_NO_OBJECT: u32 = u32::MAX - 1;

/// The places of a shape's trie nodes, on a stack. Inside a list, the places of the outer shapes
/// are below them.
#[derive(Debug, Default)]
pub(super) struct Located {
    places: Vec<u32>,
}

impl Located {
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.places.capacity()
    }

    /// Finds the places of all paths of `shape` in `object`. They are valid until [`Self::leave`].
    pub(super) fn enter(&mut self, shape: &Shape, object: Value<'_>) {
        let outer = self.places.len();
        self.places.resize(outer + shape.trie.len(), NOWHERE);
        let places = &mut self.places[outer..];
        let Some(root) = places.first_mut() else { return };
        *root = object.index();
        for (index, node) in shape.trie.iter().enumerate() {
            if node.is_leaf() || places[index] == NOWHERE {
                continue;
            }
            let holder =
                (places[index] != IN_NO_OBJECT).then(|| object.document().value(places[index]));
            if holder.is_none_or(|holder| holder.kind() != Kind::Object && !holder.is_absent()) {
                node.children().for_each(|child| places[child as usize] = IN_NO_OBJECT);
                continue;
            }
            for member in holder.into_iter().flat_map(Value::members) {
                if let Some(child) = node.child(member.key) {
                    places[child as usize] = member.value.index();
                }
            }
        }
    }

    pub(super) fn leave(&mut self, shape: &Shape) {
        self.places.truncate(self.places.len() - shape.trie.len());
    }

    /// Returns the first alternative of a query that is present and not empty, in the shape that
    /// was entered last.
    ///
    /// # Errors
    /// When there is none: `None` if the value is absent, or the reason if its parent is not an
    /// object.
    pub(super) fn find<'a>(
        &self,
        document: Document<'a>,
        shape: &Shape,
        query: &Query,
    ) -> Result<Value<'a>, Option<Unusable>> {
        let places = &self.places[self.places.len() - shape.trie.len()..];
        let mut why = None;
        for &node in &query.alternatives {
            match places[node as usize] {
                NOWHERE => {}
                IN_NO_OBJECT => why = Some(Unusable::InNoObject),
                place => {
                    let value = document.value(place);
                    if !value.is_absent() {
                        return Ok(value);
                    }
                }
            }
        }
        Err(why)
    }
}
