//! A customer and their cards; the state decides what may happen next.

use super::random::Random;

/// The progress of a customer in the programme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Has started the registration.
    Registering,
    /// Has finished the registration and has no card.
    Registered,
    /// Has a card that is not active yet.
    Linked,
    /// Has an active card.
    Active,
}

/// Card categories in ascending order. The source's samples have only `VIP`; the others are
/// invented.
pub(super) const CATEGORIES: [&str; 4] = ["Standard", "Silver", "Gold", "VIP"];

/// Number of latest purchases to which a refund may refer.
pub(super) const PURCHASES_KEPT: usize = 3;

#[derive(Clone, Debug)]
pub(super) struct Customer {
    pub(super) id: u32,
    pub(super) uid: u128,
    pub(super) standing: Standing,
    pub(super) card: Card,
    pub(super) phone: u64,
    pub(super) purchases: [Option<Purchase>; PURCHASES_KEPT],
    /// One bit for each channel and subscription.
    pub(super) subscriptions: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) id: u32,
    /// Sixteen digits; or nine that begin with a zero.
    pub(super) number: u64,
    pub(super) category: u8,
    pub(super) blocked: bool,
    pub(super) deleted: bool,
    pub(super) activated: bool,
}

/// The data of a purchase that its refund needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Purchase {
    pub(super) id: u32,
    pub(super) external_id: u64,
    pub(super) cheque: u32,
    /// The total in ten-thousandths, as all amounts in this crate.
    pub(super) amount: i64,
}

impl Card {
    pub(super) fn new(id: u32, random: &mut Random) -> Card {
        let number = if random.one_in(4) {
            u64::from(20_000_000 + random.below(9_999_999))
        } else {
            4_000_000_000_000_000 + random.next() % 1_999_999_999_999_999
        };
        Card { id, number, category: 0, blocked: false, deleted: false, activated: false }
    }

    pub(super) fn category_name(&self) -> &'static str {
        CATEGORIES[usize::from(self.category) % CATEGORIES.len()]
    }
}
