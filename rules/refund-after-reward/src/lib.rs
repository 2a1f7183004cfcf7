//! Tells a customer who returns a purchase that the bonuses earned with it are taken back, too. The
//! customer then knows it before the next visit to the till.
//!
//! The refund's event says which bonuses are taken back, but not which ones the purchase had
//! earned. So the rule keeps the purchases that earned bonuses, by id, for as long as goods are
//! usually returned. **Each purchase gets one message**, however many refunds name it. A purchase
//! or a refund without an id gets none.

use hailer_sdk::prelude::*;

/// Tells customers that the bonuses of a returned purchase are taken back.
#[rule]
pub struct RefundAfterReward {
    /// The kind of reward that counts (`rewardType`).
    #[param(default = "Bonus", min = 1)]
    reward_type: String,
    /// The smallest amount of bonuses that counts.
    #[param(default = "10.00", min = 0)]
    minimum: Decimal,
    /// The number of days for which purchases are kept.
    #[param(default = 30, min = 1, max = 3650)]
    days: u32,
    /// The e-mail's template. Its data is `bonuses`, the bonuses that the purchase had earned, and
    /// `purchase`, its id.
    #[param(default = "refund-after-reward", min = 1, max = 128)]
    template: String,
}

/// The purchases that earned bonuses, the oldest first.
#[derive(Debug, Default, State)]
struct Remembered {
    rewarded: Vec<Rewarded>,
}

#[derive(Debug, Default, State)]
struct Rewarded {
    id: String,
    bonuses: Decimal,
    at: Option<Timestamp>,
}

/// The largest number of purchases that are kept; the oldest are dropped. Only a reseller has more.
const REMEMBERED_MAX: usize = 50;

#[handlers]
impl RefundAfterReward {
    fn bought(
        &self,
        Purchase { purchase_id, rewards: [Reward { amount, reward_type, .. }], .. }: Purchase,
        state: &mut Remembered,
        ctx: &mut Context,
    ) {
        state.forget_before(ctx.now() - days(self.days));
        let Some(id) = purchase_id else {
            return ctx.note("not remembered: the purchase has no id");
        };
        let counts = rewards.iter().filter(|reward| reward.reward_type == Some(&self.reward_type));
        let bonuses: Decimal = counts.map(|reward| reward.amount).sum();
        if bonuses < self.minimum || !bonuses.is_positive() {
            return ctx.note("not remembered: it earned too little");
        }
        state.rewarded.retain(|rewarded| rewarded.id != id);
        state.add(Rewarded { id: id.to_owned(), bonuses, at: Some(ctx.now()) });
        ctx.note("remembered: it earned bonuses");
    }

    fn refunded(
        &self,
        PurchaseRefund { refunded_purchase_id, .. }: PurchaseRefund,
        state: &mut Remembered,
        ctx: &mut Context,
    ) {
        state.forget_before(ctx.now() - days(self.days));
        let Some(id) = refunded_purchase_id else {
            return ctx.note("not sent: the event does not say which purchase was refunded");
        };
        let Some(at) = state.rewarded.iter().position(|rewarded| rewarded.id == id) else {
            return ctx.note("not sent: the purchase earned nothing, or has its message already");
        };
        let rewarded = state.rewarded.remove(at);
        ctx.send(
            Mail::template(&self.template).data("bonuses", rewarded.bonuses).data("purchase", id),
        );
        ctx.note("sent: the bonuses are taken back");
    }

    #[merge]
    fn merge(&self, state: &mut Remembered, other: Remembered) {
        other.rewarded.into_iter().for_each(|rewarded| state.add(rewarded));
    }
}

impl Remembered {
    fn add(&mut self, rewarded: Rewarded) {
        let at = self.rewarded.iter().take_while(|known| known.at <= rewarded.at).count();
        self.rewarded.insert(at, rewarded);
        let too_many = self.rewarded.len().saturating_sub(REMEMBERED_MAX);
        self.rewarded.drain(..too_many);
    }

    fn forget_before(&mut self, oldest: Timestamp) {
        self.rewarded.retain(|rewarded| rewarded.at >= Some(oldest));
    }
}

#[cfg(test)]
mod tests {
    use hailer_sdk::testing::{Event, Scenario};

    use super::*;

    fn purchase(id: &str, bonuses: &str) -> Event {
        let rewards = format!(
            r#"[{{"rewardType": "Bonus", "amount": {bonuses}}},
                {{"rewardType": "Discount", "amount": 500}}]"#
        );
        Event::of("Purchase").set("purchase_id", id).set_json("rewards", &rewards)
    }

    fn refund(id: &str) -> Event {
        Event::of("PurchaseRefund").set("refunded_purchase_id", id)
    }

    fn told(id: &str, bonuses: Decimal) -> hailer_sdk::Message<'_> {
        Mail::template("refund-after-reward").data("bonuses", bonuses).data("purchase", id)
    }

    #[test]
    fn a_returned_purchase_with_bonuses_gets_one_message() {
        Scenario::new(RefundAfterReward::default())
            .event(purchase("7", "12.5000"))
            .expect_nothing()
            .advance(days(3))
            .event(refund("7"))
            .expect_sent(told("7", dec!(12.5000)))
            .expect_nothing()
            .event(refund("7"))
            .expect_nothing()
            .expect_note("has its message already")
            .expect_state(|remembered: &Remembered| remembered.rewarded.is_empty());
    }

    #[test]
    fn a_purchase_that_earned_nothing_or_too_little_is_not_kept() {
        Scenario::new(RefundAfterReward::default())
            .event(purchase("7", "9.99"))
            .expect_note("too little")
            .event(purchase("8", "-20"))
            .expect_note("too little")
            .event(Event::of("Purchase").without("rewards"))
            .expect_note("too little")
            .event(refund("7"))
            .expect_nothing();
        Scenario::new(RefundAfterReward { minimum: dec!(0), ..RefundAfterReward::default() })
            .event(purchase("7", "0"))
            .expect_note("too little");
    }

    #[test]
    fn purchases_and_refunds_without_an_id_get_no_message() {
        Scenario::new(RefundAfterReward::default())
            .event(purchase("7", "20").without("purchase_id"))
            .expect_note("no id")
            .event(Event::of("PurchaseRefund").without("refunded_purchase_id"))
            .expect_nothing()
            .expect_note("which purchase");
    }

    #[test]
    fn a_purchase_is_dropped_after_thirty_days() {
        Scenario::new(RefundAfterReward::default())
            .event(purchase("7", "20"))
            .advance(days(30))
            .event(purchase("8", "20"))
            .advance(seconds(1))
            .event(refund("7"))
            .expect_nothing()
            .event(refund("8"))
            .expect_sent(told("8", dec!(20)));
    }

    #[test]
    fn a_purchase_that_is_sent_again_replaces_the_first() {
        Scenario::new(RefundAfterReward::default())
            .event(purchase("7", "20"))
            .event(purchase("7", "30"))
            .event(refund("7"))
            .expect_sent(told("7", dec!(30)))
            .event(refund("7"))
            .expect_nothing();
    }

    #[test]
    fn the_number_of_kept_purchases_is_bounded() {
        let mut scenario = Scenario::new(RefundAfterReward::default());
        for number in 0..60 {
            scenario.event(purchase(&number.to_string(), "20"));
        }
        scenario.expect_state(|remembered: &Remembered| remembered.rewarded.len() == 50);
        scenario
            .event(refund("9"))
            .expect_nothing()
            .event(refund("10"))
            .expect_sent(told("10", dec!(20)));
    }

    #[test]
    fn purchases_of_a_merged_customer_are_kept() {
        let of = |event: Event, customer: i64| event.set("/customerInfo/customerId", customer);
        Scenario::new(RefundAfterReward::default())
            .event(of(purchase("7", "20"), 1))
            .event(of(purchase("8", "20"), 2))
            .event(Event::of("ProfilesMerged").set("from_customer_id", 1).set("to_customer_id", 2))
            .event(of(refund("7"), 2))
            .expect_sent(told("7", dec!(20)));
    }
}
