//! Thanks for the third purchase within thirty days, or for another number and period that the
//! campaign sets. After the message, the count starts again.
//!
//! These messages must not be sent: thanks for purchases that were returned, and a second message
//! for a purchase that the till sent twice. So **a refund removes its purchase from the count**, by
//! its id. If the event does not name the purchase, the latest one is removed. A refund of a
//! purchase that is not in the count changes nothing.

use hailer_sdk::prelude::*;

/// Thanks customers for every n-th purchase within a number of days.
#[rule]
pub struct NthPurchase {
    /// The number of purchases for a message.
    #[param(default = 3, min = 1, max = 50)]
    purchases: u32,
    /// The number of days within which the purchases must be.
    #[param(default = 30, min = 1, max = 3650)]
    days: u32,
    /// Purchases below this amount do not count.
    #[param(default = "0.01", min = 0)]
    minimum: Decimal,
    /// The template of the push message. Its data is `purchases`, the number of purchases.
    #[param(default = "nth-purchase", min = 1, max = 128)]
    template: String,
}

/// The purchases that count, the oldest first; always fewer than the number for a message.
#[derive(Debug, Default, State)]
struct Counted {
    purchases: Vec<Bought>,
}

#[derive(Clone, Debug, Default, PartialEq, State)]
struct Bought {
    id: String,
    at: Option<Timestamp>,
}

#[handlers]
impl NthPurchase {
    fn bought(
        &self,
        Purchase { amount, purchase_id, date_time, date_time_text, .. }: Purchase,
        state: &mut Counted,
        ctx: &mut Context,
    ) {
        // A purchase counts at its own time, even if the event arrives late.
        let at = date_time.unwrap_or(ctx.now()).min(ctx.now());
        state.forget_before(ctx.now() - days(self.days));
        if date_time.is_none() && date_time_text.is_some() {
            return ctx.note("not counted: the purchase's time cannot be read");
        }
        if amount < self.minimum {
            return ctx.note("not counted: too small an amount");
        }
        if at < ctx.now() - days(self.days) {
            return ctx.note("not counted: too long ago");
        }
        if purchase_id.is_some_and(|id| state.purchases.iter().any(|bought| bought.id == id)) {
            return ctx.note("not counted: counted already");
        }
        state.add(Bought { id: purchase_id.unwrap_or_default().to_owned(), at: Some(at) });
        let count = state.purchases.len() as u32;
        if count < self.purchases {
            return ctx.note("counted");
        }
        state.purchases.clear();
        ctx.send(Push::template(&self.template).data("purchases", count));
        ctx.note("thanked");
    }

    fn refunded(
        &self,
        PurchaseRefund { refunded_purchase_id, .. }: PurchaseRefund,
        state: &mut Counted,
        ctx: &mut Context,
    ) {
        state.forget_before(ctx.now() - days(self.days));
        let of_id = |id: &str| state.purchases.iter().position(|bought| bought.id == id);
        let at = match refunded_purchase_id {
            Some(id) => of_id(id),
            None => state.purchases.len().checked_sub(1),
        };
        match at {
            Some(at) => {
                state.purchases.remove(at);
                ctx.note("removed from the count: the purchase was refunded");
            }
            None => ctx.note("a refund of a purchase that does not count"),
        }
    }

    /// The purchases of both customers count, each once.
    #[merge]
    fn merge(&self, state: &mut Counted, other: Counted) {
        for bought in other.purchases {
            if bought.id.is_empty() || !state.purchases.iter().any(|known| known.id == bought.id) {
                state.add(bought);
            }
        }
    }
}

impl Counted {
    /// Inserts a purchase in the order of time.
    fn add(&mut self, bought: Bought) {
        let at = self.purchases.iter().take_while(|known| known.at <= bought.at).count();
        self.purchases.insert(at, bought);
    }

    fn forget_before(&mut self, oldest: Timestamp) {
        self.purchases.retain(|bought| bought.at >= Some(oldest));
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    fn purchase(id: &str) -> Event {
        Event::of("Purchase").set("purchase_id", id).without("date_time")
    }

    fn refund(id: &str) -> Event {
        Event::of("PurchaseRefund").set("refunded_purchase_id", id)
    }

    fn thanks(purchases: u32) -> hailer_sdk::Message<'static> {
        Push::template("nth-purchase").data("purchases", purchases)
    }

    #[test]
    fn the_third_purchase_within_thirty_days_gets_a_message_and_resets_the_count() {
        let mut scenario = Scenario::new(NthPurchase::default());
        for round in 0..2 {
            scenario
                .event(purchase(&format!("{round}-1")))
                .expect_nothing()
                .advance(days(15))
                .event(purchase(&format!("{round}-2")))
                .expect_nothing()
                .advance(days(15))
                .event(purchase(&format!("{round}-3")))
                .expect_sent(thanks(3))
                .expect_nothing()
                .expect_state(|counted: &Counted| counted.purchases.is_empty());
        }
    }

    #[test]
    fn a_purchase_of_more_than_thirty_days_ago_does_not_count() {
        Scenario::new(NthPurchase::default())
            .event(purchase("1"))
            .event(purchase("2"))
            .advance(days(30) + seconds(1))
            .event(purchase("3"))
            .expect_nothing()
            .expect_state(|counted: &Counted| counted.purchases.len() == 1);
    }

    #[test]
    fn a_refund_removes_its_purchase_from_the_count() {
        Scenario::new(NthPurchase::default())
            .event(purchase("1"))
            .event(purchase("2"))
            .event(refund("1"))
            .expect_note("removed from the count")
            .event(purchase("3"))
            .expect_nothing()
            // The first purchase is no longer in the count.
            .event(refund("1"))
            .expect_note("does not count")
            .event(purchase("4"))
            .expect_sent(thanks(3));
    }

    #[test]
    fn a_refund_that_names_no_purchase_removes_the_latest() {
        let unknown = Event::of("PurchaseRefund").without("refunded_purchase_id");
        Scenario::new(NthPurchase::default())
            .event(purchase("1"))
            .advance(days(1))
            .event(purchase("2"))
            .event(unknown.clone())
            .expect_state(|counted: &Counted| {
                counted.purchases.len() == 1 && counted.purchases[0].id == "1"
            })
            .event(unknown.clone())
            .event(unknown)
            .expect_note("does not count")
            .expect_state(|counted: &Counted| counted.purchases.is_empty());
    }

    #[test]
    fn a_purchase_that_is_sent_twice_counts_once() {
        Scenario::new(NthPurchase::default())
            .event(purchase("1"))
            .event(purchase("1"))
            .expect_note("counted already")
            .event(purchase("2"))
            .expect_nothing()
            // A purchase without an id cannot be recognised as a copy.
            .event(Event::of("Purchase").without("purchase_id").without("date_time"))
            .expect_sent(thanks(3));
    }

    #[test]
    fn a_late_event_counts_at_its_own_time() {
        let bought = |at: &str, id: &str| purchase(id).set("date_time", at);
        Scenario::new(NthPurchase::default())
            .at("2026-03-01T00:00:00Z")
            .event(bought("2026-02-20T10:00:00Z", "1"))
            .event(bought("2026-01-20T10:00:00Z", "2"))
            .expect_note("too long ago")
            .event(bought("2026-02-10T10:00:00Z", "3"))
            .expect_state(|counted: &Counted| {
                counted.purchases[0].id == "3" && counted.purchases[1].id == "1"
            });
    }

    #[test]
    fn the_campaign_sets_the_number_and_the_minimum_amount() {
        Scenario::new(NthPurchase { purchases: 2, minimum: dec!(100), ..NthPurchase::default() })
            .event(purchase("1").set("amount", dec!(100)))
            .event(purchase("2").set("amount", dec!(99.99)))
            .expect_note("too small")
            .event(purchase("3").set("amount", dec!(100)))
            .expect_sent(thanks(2));
    }

    #[test]
    fn purchases_of_merged_customers_are_counted_together() {
        let of = |customer: i64, id: &str| purchase(id).set("/customerInfo/customerId", customer);
        Scenario::new(NthPurchase::default())
            .event(of(1, "1"))
            .event(of(1, "both"))
            .event(of(2, "both"))
            .event(Event::of("ProfilesMerged").set("from_customer_id", 1).set("to_customer_id", 2))
            .expect_state(|counted: &Counted| counted.purchases.len() == 2)
            .event(of(2, "3"))
            .expect_sent(thanks(3));
    }
}
