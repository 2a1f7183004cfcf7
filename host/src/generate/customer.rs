//! A customer and their cards: what may happen to them next depends on how they stand.

use super::random::Random;

/// How far somebody has come in the programme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Has begun to register.
    Registering,
    /// Has registered and has no card.
    Registered,
    /// Has a card, which is not active yet.
    Linked,
    /// Buys.
    Active,
}

/// Categories of cards, a ladder. The source's examples know `VIP` only; the others are made up.
pub(super) const CATEGORIES: [&str; 4] = ["Standard", "Silver", "Gold", "VIP"];

/// The purchases of a customer that a refund may still refer to.
pub(super) const PURCHASES_KEPT: usize = 3;

#[derive(Clone, Debug)]
pub(super) struct Customer {
    pub(super) id: u32,
    pub(super) uid: u128,
    pub(super) standing: Standing,
    pub(super) card: Card,
    pub(super) phone: u64,
    pub(super) purchases: [Option<Purchase>; PURCHASES_KEPT],
    /// One bit a channel and subscription.
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

/// What a refund needs to know of a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Purchase {
    pub(super) id: u32,
    pub(super) external_id: u64,
    pub(super) cheque: u32,
    /// In ten-thousandths, as all amounts here.
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
