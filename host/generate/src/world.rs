//! The simulated loyalty programme: its customers, and the next event.

use super::customer::{CATEGORIES, Card, Customer, PURCHASES_KEPT, Purchase, Standing};
use super::purchases::{self, Basket};
use super::random::Random;

/// One event in this many is a new customer, as long as the maximum is not reached.
const NEWCOMER_ONE_IN: u32 = 20;
/// Identifiers do not start at 1, because a real programme has a history.
const FIRST_CUSTOMER_ID: u32 = 101;
const FIRST_CARD_ID: u32 = 5001;
const FIRST_PURCHASE_ID: u32 = 70_001;

/// An event of the programme, with the data that its message needs.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    RegistrationBegun(Customer),
    RegistrationFinished(Customer),
    CardLinked { customer: Customer, old: Option<Card>, kind: &'static str },
    CardActivated(Customer),
    CardBlockChanged { customer: Customer, blocked: bool },
    CardDeleteChanged { customer: Customer, deleted: bool },
    CategoryChanged(Customer),
    AttributeUpdated { customer: Customer, phone_before: Option<u64> },
    SubscriptionChanged { customer: Customer, kind: u8 },
    Merged { from: Customer, to: Customer },
    Bought { customer: Customer, purchase: Purchase, basket: Basket },
    Refunded { customer: Customer, of: Purchase, refund: Purchase, basket: Basket },
}

/// All customers, and the time.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// Customers in the order of their activity, the most active first.
    customers: Vec<Customer>,
    customers_max: u32,
    customers_made: u32,
    cards_made: u32,
    purchases_made: u32,
    pub(super) now_ms: i64,
}

impl World {
    pub(super) fn new(customers_max: u32, start_ms: i64) -> World {
        let customers_max = customers_max.max(1);
        World {
            customers: Vec::new(),
            customers_max,
            customers_made: 0,
            cards_made: 0,
            purchases_made: 0,
            now_ms: start_ms,
        }
    }

    pub(super) fn next(&mut self, random: &mut Random) -> Happening {
        // On average one event in two seconds of simulated time.
        self.now_ms += i64::from(random.between(1, 4000));
        let may_grow = self.customers_made < self.customers_max;
        if self.customers.is_empty() || (may_grow && random.one_in(NEWCOMER_ONE_IN)) {
            return self.newcomer(random);
        }
        let rank = random.rank(self.customers.len() as u32) as usize;
        match self.customers[rank].standing {
            // Some customers never finish, and start again later.
            Standing::Registering if random.one_in(8) => {
                Happening::RegistrationBegun(self.customers[rank].clone())
            }
            Standing::Registering => {
                self.customers[rank].standing = Standing::Registered;
                Happening::RegistrationFinished(self.customers[rank].clone())
            }
            Standing::Registered => {
                let card = self.new_card(random);
                let customer = &mut self.customers[rank];
                (customer.card, customer.standing) = (card, Standing::Linked);
                Happening::CardLinked { customer: customer.clone(), old: None, kind: "SetCard" }
            }
            Standing::Linked => {
                let customer = &mut self.customers[rank];
                (customer.card.activated, customer.standing) = (true, Standing::Active);
                Happening::CardActivated(customer.clone())
            }
            Standing::Active => self.act(rank, random),
        }
    }

    fn newcomer(&mut self, random: &mut Random) -> Happening {
        let customer = Customer {
            id: FIRST_CUSTOMER_ID + self.customers_made,
            uid: u128::from(random.next()) << 64 | u128::from(random.next()),
            standing: Standing::Registering,
            card: Card {
                id: 0,
                number: 0,
                category: 0,
                blocked: false,
                deleted: false,
                activated: false,
            },
            phone: 79_000_000_000 + u64::from(random.below(999_999_999)),
            purchases: [None; PURCHASES_KEPT],
            subscriptions: random.next() as u32,
        };
        self.customers_made += 1;
        self.customers.push(customer.clone());
        Happening::RegistrationBegun(customer)
    }

    fn new_card(&mut self, random: &mut Random) -> Card {
        let card = Card::new(FIRST_CARD_ID + self.cards_made, random);
        self.cards_made += 1;
        card
    }

    /// An action of a customer with an active card.
    fn act(&mut self, rank: usize, random: &mut Random) -> Happening {
        let chance = random.below(1000);
        let customer = &mut self.customers[rank];
        if customer.card.deleted || customer.card.blocked {
            return self.mend(rank, chance, random);
        }
        match chance {
            0..60 => match customer
                .purchases
                .iter_mut()
                .find(|kept| kept.is_some())
                .and_then(Option::take)
            {
                Some(of) => self.refund(rank, of, random),
                None => self.purchase(rank, random),
            },
            60..100 => {
                let phone = 79_000_000_000 + u64::from(random.below(999_999_999));
                let phone_before = random.one_in(2).then_some(customer.phone);
                customer.phone = phone;
                Happening::AttributeUpdated { customer: customer.clone(), phone_before }
            }
            100..130 => {
                let kind = random.below(4) as u8;
                customer.subscriptions ^= 1 << random.below(24);
                Happening::SubscriptionChanged { customer: customer.clone(), kind }
            }
            130..145 => {
                // Usually one category up, sometimes down, never unchanged.
                let steps = if random.one_in(5) { CATEGORIES.len() as u8 - 1 } else { 1 };
                customer.card.category = (customer.card.category + steps) % CATEGORIES.len() as u8;
                Happening::CategoryChanged(customer.clone())
            }
            145..157 => {
                customer.card.blocked = true;
                Happening::CardBlockChanged { customer: customer.clone(), blocked: true }
            }
            157..163 => {
                customer.card.deleted = true;
                Happening::CardDeleteChanged { customer: customer.clone(), deleted: true }
            }
            163..171 => self.replace_card(rank, random),
            171..176 => self.attach_card(rank, random),
            176..179 if self.customers.len() > 1 => self.merge(rank, random),
            _ => self.purchase(rank, random),
        }
    }

    /// A blocked or deleted card is restored or replaced.
    fn mend(&mut self, rank: usize, chance: u32, random: &mut Random) -> Happening {
        if chance < 350 {
            return self.replace_card(rank, random);
        }
        let customer = &mut self.customers[rank];
        if customer.card.deleted {
            customer.card.deleted = false;
            Happening::CardDeleteChanged { customer: customer.clone(), deleted: false }
        } else {
            customer.card.blocked = false;
            Happening::CardBlockChanged { customer: customer.clone(), blocked: false }
        }
    }

    fn replace_card(&mut self, rank: usize, random: &mut Random) -> Happening {
        let card = self.new_card(random);
        let customer = &mut self.customers[rank];
        let old = Card { blocked: true, deleted: true, ..customer.card };
        customer.card = Card { category: old.category, activated: true, ..card };
        Happening::CardLinked { customer: customer.clone(), old: Some(old), kind: "ReplaceCard" }
    }

    /// Adds a card, which the customer uses from now on.
    fn attach_card(&mut self, rank: usize, random: &mut Random) -> Happening {
        let card = self.new_card(random);
        let customer = &mut self.customers[rank];
        customer.card = Card { category: customer.card.category, activated: true, ..card };
        Happening::CardLinked { customer: customer.clone(), old: None, kind: "AttachCard" }
    }

    /// Merges a random customer into this one; the merged customer has no further events.
    fn merge(&mut self, rank: usize, random: &mut Random) -> Happening {
        let to = self.customers[rank].clone();
        let others = self.customers.len() as u32 - 1;
        let mut other = random.below(others) as usize;
        if other >= rank {
            other += 1;
        }
        Happening::Merged { from: self.customers.swap_remove(other), to }
    }

    fn purchase(&mut self, rank: usize, random: &mut Random) -> Happening {
        let basket = purchases::basket(random);
        let purchase = self.operation(basket.amount(), random);
        let customer = &mut self.customers[rank];
        customer.purchases.rotate_right(1);
        customer.purchases[0] = Some(purchase);
        Happening::Bought { customer: customer.clone(), purchase, basket }
    }

    fn refund(&mut self, rank: usize, of: Purchase, random: &mut Random) -> Happening {
        let basket = purchases::refunded(of.amount, random);
        let refund = Purchase { cheque: of.cheque, ..self.operation(basket.amount(), random) };
        Happening::Refunded { customer: self.customers[rank].clone(), of, refund, basket }
    }

    fn operation(&mut self, amount: i64, random: &mut Random) -> Purchase {
        let id = FIRST_PURCHASE_ID + self.purchases_made;
        self.purchases_made += 1;
        let external_id = 1_000_000_000 + random.next() % 8_999_999_999;
        Purchase { id, external_id, cheque: 1 + random.below(999), amount }
    }
}
