//! The second pass: encodes the fields of a plan as MessagePack into one buffer, which is reused
//! for each event.

use std::ops::Range;

use super::encode::{Encoder, Unusable};
use super::envelope::Event;
use super::locate::Located;
use super::plan::{Plan, Slot};

/// The values of one event. Each shard has one and uses it for every event, so that it soon
/// allocates nothing.
#[derive(Debug, Default)]
pub struct Projection {
    slots: Vec<SlotResult>,
    /// The values of all slots, one after another.
    bytes: Vec<u8>,
    located: Located,
    members: Vec<u32>,
    mismatches: u32,
}

/// The result of a slot: the range of its value, which is empty if the value is absent.
#[derive(Debug)]
struct SlotResult {
    range: Range<usize>,
    lacks: Option<Lack>,
    unusable_sub_field: Option<Lack>,
    unusable: Option<Unusable>,
    mismatches: u32,
}

/// A sub-field that an element of a list lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The index of the sub-field among those of the list.
    pub sub_field: usize,
    /// The reason why its value cannot be used; `None` if there is no value.
    pub unusable: Option<Unusable>,
}

impl Projection {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the value as MessagePack; `None` if it is absent. The slot must belong to the plan
    /// that was projected last. With another slot the result has no meaning.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&[u8]> {
        let result = self.slots.get(slot.0 as usize)?;
        self.bytes.get(result.range.clone()).filter(|value| !value.is_empty())
    }

    /// The first required sub-field that an element of a list lacks; `None` if every element has
    /// all of them.
    #[must_use]
    pub fn lacks(&self, slot: Slot) -> Option<Lack> {
        self.slots.get(slot.0 as usize)?.lacks
    }

    /// The first sub-field, required or not, that is present in an element of a list and cannot be
    /// used; `None` if there is none.
    #[must_use]
    pub fn unusable_sub_field(&self, slot: Slot) -> Option<Lack> {
        self.slots.get(slot.0 as usize)?.unusable_sub_field
    }

    /// The reason why the value cannot be used; `None` if it is absent or can be used.
    #[must_use]
    pub fn unusable(&self, slot: Slot) -> Option<Unusable> {
        self.slots.get(slot.0 as usize)?.unusable
    }

    /// The number of values of this slot that were present and could not be used. For a list it
    /// includes the values in its elements.
    #[must_use]
    pub fn mismatches_of(&self, slot: Slot) -> u32 {
        self.slots.get(slot.0 as usize).map_or(0, |result| result.mismatches)
    }

    /// The number of values of the last event that were present and could not be used.
    #[must_use]
    pub fn mismatches(&self) -> u32 {
        self.mismatches
    }

    #[cfg(test)]
    pub(super) fn capacities(&self) -> [usize; 4] {
        [
            self.slots.capacity(),
            self.bytes.capacity(),
            self.located.capacity(),
            self.members.capacity(),
        ]
    }
}

impl Plan {
    /// Reads the plan's fields from an event into `out`, replacing its contents.
    pub fn project(&self, event: &Event, out: &mut Projection) {
        let Projection { slots, bytes, located, members, mismatches } = out;
        slots.clear();
        bytes.clear();
        located.clear();
        members.clear();
        let document = event.document();
        let mut encoder = Encoder {
            document,
            out: bytes,
            located,
            members,
            mismatches: 0,
            lacks: None,
            unusable_sub_field: None,
        };
        encoder.located.enter(&self.shape, document.root());
        for query in &self.shape.queries {
            let start = encoder.out.len();
            let mismatches_before = encoder.mismatches;
            (encoder.lacks, encoder.unusable_sub_field) = (None, None);
            let found = encoder.field(&self.shape, query);
            slots.push(SlotResult {
                range: start..encoder.out.len(),
                lacks: encoder.lacks.filter(|_| found.is_ok()),
                unusable_sub_field: encoder.unusable_sub_field.filter(|_| found.is_ok()),
                unusable: found.err().flatten(),
                mismatches: encoder.mismatches - mismatches_before,
            });
        }
        *mismatches = encoder.mismatches;
    }
}
