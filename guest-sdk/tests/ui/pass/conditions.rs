//! Every form of a condition.
#![deny(warnings)]

use hailer_sdk::prelude::*;
use hailer_sdk::testing::{Event, Scenario};

#[rule]
pub struct Choosy {
    #[param(default = "100.00")]
    threshold: Decimal,
    #[param(default = 3)]
    tries: u8,
    #[param(default = "")]
    brand: String,
    #[param(default = true)]
    on: bool,
}

#[handlers]
impl Choosy {
    /// A field that only the condition uses causes no warning about an unused variable.
    #[when(
        (total >= self.threshold || total < -99_999.5)
            && !(is_refund.is_some() && is_refund)
            && (self.brand == "" || self.brand == brand_id)
            && self.on
            && (try_count.is_none() || try_count < self.tries)
            && operation_type != "Gift"
            && date_time.is_some()
            && "a" <= cheque_number
    )]
    fn purchase(
        &self,
        Purchase {
            amount: total,
            is_refund,
            brand_id,
            try_count,
            operation_type,
            date_time,
            cheque_number,
            items: [ChequeItem { item_id, .. }],
            ..
        }: Purchase,
        ctx: &mut Context,
    ) {
        ctx.note(format!("{total}, {}", items.iter().filter(|item| item.item_id.is_some()).count()));
    }

    #[on("OnSomething")]
    #[when(code != "OnOther")]
    fn something(&self, AnyEvent { code, .. }: AnyEvent, ctx: &mut Context) {
        ctx.note("something");
    }

    #[when(refunded_purchase_id.is_some())]
    fn refunded(&self, PurchaseRefund { refunded_purchase_id, .. }: PurchaseRefund, ctx: &mut Context) {
        ctx.note(refunded_purchase_id.unwrap_or_default());
    }
}

fn purchase(amount: Decimal) -> Event {
    Event::of("Purchase").set("amount", amount).set("cheque_number", "b")
}

fn main() {
    let mut scenario = Scenario::new(Choosy::default());
    scenario.event(purchase(dec!(100))).expect_note("100, 2").event(purchase(dec!(-99999.51))).expect_note("-99999.51");
    let text = r#"its condition `(amount >= 100.00 || amount < -99999.5) && !(is_refund.is_some() && is_refund)"#;
    for missed in [
        purchase(dec!(99.9999)),
        purchase(dec!(100)).set("is_refund", true),
        purchase(dec!(100)).set("try_count", 3),
        purchase(dec!(100)).set("operation_type", "Gift"),
        purchase(dec!(100)).without("operation_type"),
        purchase(dec!(100)).without("date_time"),
        purchase(dec!(100)).set("cheque_number", "B"),
        purchase(dec!(100)).without("amount"),
    ] {
        scenario.event(missed).expect_nothing().expect_note(text);
    }
    scenario.event(r#"{"eventCode": "OnSomething"}"#).expect_note("something");
    scenario.event("PurchaseRefund").expect_note("512");
    scenario.event(Event::of("PurchaseRefund").without("refunded_purchase_id"));
    scenario.expect_note("`refunded` was not called: its condition `refunded_purchase_id.is_some()` did not match");
    let mut of_brand = Scenario::<Choosy>::with_params(r#"{"brand": "7", "tries": 2}"#).unwrap();
    of_brand.event(purchase(dec!(100)).set("brand_id", 7)).expect_note("100");
    of_brand.event(purchase(dec!(100)).without("brand_id")).expect_note(r#""7" == brand_id"#);
}
