//! The second pass: what a plan asks for, as MessagePack, in one buffer that is used for event after event.

use std::ops::Range;

use super::encode::{Encoder, Unusable};
use super::envelope::Event;
use super::locate::Located;
use super::plan::{Plan, Slot};

/// The values of one event. Make one a shard and use it for every event: once warm, it allocates nothing.
#[derive(Debug, Default)]
pub struct Projection {
    slots: Vec<Placed>,
    /// The values of all slots, one after another.
    bytes: Vec<u8>,
    located: Located,
    members: Vec<u32>,
    mismatches: u32,
}

/// Where a slot's value is; an empty range if it is absent.
#[derive(Debug)]
struct Placed {
    range: Range<usize>,
    lacks: Option<Lack>,
    spoiled: Option<Lack>,
    unusable: Option<Unusable>,
    mismatches: u32,
}

/// What an element of a list lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The index of the sub-field, of those of the list.
    pub sub_field: usize,
    /// Why its value can't be used, if there is one.
    pub unusable: Option<Unusable>,
}

impl Projection {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value's MessagePack; `None` if it is absent. The slot must be one of the plan that was projected last; of any
    /// other, the value is absent or another's.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&[u8]> {
        let placed = self.slots.get(slot.0 as usize)?;
        self.bytes.get(placed.range.clone()).filter(|value| !value.is_empty())
    }

    /// What an element lacks, if it is a list with an element without a required sub-field.
    #[must_use]
    pub fn lacks(&self, slot: Slot) -> Option<Lack> {
        self.slots.get(slot.0 as usize)?.lacks
    }

    /// The first sub-field, required or not, that is there in an element of a list and can't be used.
    #[must_use]
    pub fn spoiled(&self, slot: Slot) -> Option<Lack> {
        self.slots.get(slot.0 as usize)?.spoiled
    }

    /// Why the value can't be used, if there is one and it can't.
    #[must_use]
    pub fn unusable(&self, slot: Slot) -> Option<Unusable> {
        self.slots.get(slot.0 as usize)?.unusable
    }

    /// How many values of this slot were of another kind than asked for, or out of range; of a list also those inside.
    #[must_use]
    pub fn mismatches_of(&self, slot: Slot) -> u32 {
        self.slots.get(slot.0 as usize).map_or(0, |placed| placed.mismatches)
    }

    /// How many values of the last event were of another kind than asked for, or out of range.
    #[must_use]
    pub fn mismatches(&self) -> u32 {
        self.mismatches
    }

    #[cfg(test)]
    pub(super) fn capacities(&self) -> [usize; 4] {
        [self.slots.capacity(), self.bytes.capacity(), self.located.capacity(), self.members.capacity()]
    }
}

impl Plan {
    /// Fetches the plan's fields from an event, in place of what `out` held.
    pub fn project(&self, event: &Event, out: &mut Projection) {
        let Projection { slots, bytes, located, members, mismatches } = out;
        slots.clear();
        bytes.clear();
        located.clear();
        members.clear();
        let document = event.document();
        let mut encoder = Encoder { document, out: bytes, located, members, mismatches: 0, lacks: None, spoiled: None };
        encoder.located.enter(&self.shape, document.root());
        for query in &self.shape.queries {
            let start = encoder.out.len();
            let mismatches_before = encoder.mismatches;
            (encoder.lacks, encoder.spoiled) = (None, None);
            let found = encoder.field(&self.shape, query);
            slots.push(Placed {
                range: start..encoder.out.len(),
                lacks: encoder.lacks.filter(|_| found.is_ok()),
                spoiled: encoder.spoiled.filter(|_| found.is_ok()),
                unusable: found.err().flatten(),
                mismatches: encoder.mismatches - mismatches_before,
            });
        }
        *mismatches = encoder.mismatches;
    }
}
