//! The second pass: what a plan asks for, as MessagePack, in one buffer that is used for event after event.

use std::ops::Range;

use super::encode::Encoder;
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
    missing_inside: bool,
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

    /// Whether it is a list with an element that lacks a required sub-field.
    #[must_use]
    pub fn missing_inside(&self, slot: Slot) -> bool {
        self.slots.get(slot.0 as usize).is_some_and(|placed| placed.missing_inside)
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
        let mut encoder =
            Encoder { document: event.document(), out: bytes, located, members, mismatches: 0, lacks: false };
        encoder.located.enter(&self.shape, event.document().root());
        for query in &self.shape.queries {
            let start = encoder.out.len();
            encoder.lacks = false;
            let present = encoder.field(&self.shape, query);
            slots.push(Placed { range: start..encoder.out.len(), missing_inside: present && encoder.lacks });
        }
        *mismatches = encoder.mismatches;
    }
}
