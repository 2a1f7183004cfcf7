//! Where on the tape the paths of a shape lead.
//!
//! A trie's nodes stand before their children, so one loop over them finds every place: when a node's turn comes, its
//! own place is settled. **Of several members with one name the last wins, and only then is it looked into,** so what an earlier one
//! holds is never mixed in.

use super::plan::{Query, Shape};
use super::tape::{Document, Value};

/// No such member.
const NOWHERE: u32 = u32::MAX;

/// The places of a shape's trie nodes; below them those of the shapes around it, while inside of a list.
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

    /// Finds the paths of `shape` in `object`, until [`Self::leave`].
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
            for member in object.document().value(places[index]).members() {
                if let Some(child) = node.child(member.key) {
                    places[child as usize] = member.value.index();
                }
            }
        }
    }

    pub(super) fn leave(&mut self, shape: &Shape) {
        self.places.truncate(self.places.len() - shape.trie.len());
    }

    /// The first alternative that is present and not empty, in the shape that was entered last.
    pub(super) fn answer<'a>(&self, document: Document<'a>, shape: &Shape, query: &Query) -> Option<Value<'a>> {
        let places = &self.places[self.places.len() - shape.trie.len()..];
        let places = query.alternatives.iter().map(|&node| places[node as usize]);
        places.filter(|&place| place != NOWHERE).map(|place| document.value(place)).find(|value| !value.is_absent())
    }
}
