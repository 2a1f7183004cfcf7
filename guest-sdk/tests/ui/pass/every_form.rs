//! Every form of a handler.
#![deny(warnings)]

use hailer_sdk::prelude::*;

/// Every type of parameter.
#[rule(name = "every-form")]
pub struct EveryForm {
    /// A parameter with a default.
    #[param(default = 60, min = 1, max = 100)]
    minutes: u32,
    #[param(default = -5)]
    delta: i64,
    #[param(default = true)]
    on: bool,
    #[param(default = 0.10)]
    share: Decimal,
    #[param(default = ["1", "2"])]
    goods: Vec<String>,
    #[param(default = ["1.50", 2])]
    steps: Vec<Decimal>,
    #[param(default = [("bronze", "silver")])]
    ladder: Map<String, String>,
    #[param(default = [("bronze", 100)])]
    limits: Map<String, Decimal>,
    #[param(default = [])]
    nothing: Map<String, String>,
    /// A parameter without a default.
    template: String,
}

#[handlers]
impl EveryForm {
    #[configure]
    fn check(&self) -> Result<(), String> {
        if self.steps.is_empty() { Err("no steps".into()) } else { Ok(()) }
    }

    fn purchase(
        &self,
        Purchase {
            amount: mut total,
            brand_id,
            is_refund: _,
            date_time,
            items: lines @ [ChequeItem { item_id, amount: price, position_id: _, .. }],
            rewards: [Reward { position_info, .. }],
            withdraws: [Withdraw { .. }],
            purchase_attributes,
            ..
        }: Purchase,
        context: &mut Context,
    ) {
        total += lines.iter().map(|line| line.price).sum::<Decimal>() * self.share;
        let known = lines.iter().filter(|line| line.item_id.is_some_and(|id| self.goods.iter().any(|good| good == id)));
        let spread: Decimal = rewards.iter().flat_map(|reward| reward.position_info.values()).sum();
        let late = date_time.is_some_and(|bought| context.now().since(bought) > minutes(self.minutes));
        context.send(
            Push::template(&self.template)
                .data("total", total)
                .data("brand", brand_id)
                .data("known", known.count())
                .data("spread", spread)
                .data("late", late && self.on)
                .data("withdraws", withdraws.len())
                .data("attributes", purchase_attributes.map(|all| all.elements().count()))
                .data("limits", &self.limits)
                .data("nothing", &self.nothing)
                .data("delta", self.delta),
        );
    }

    fn refunded(&self, _: hailer_sdk::events::PurchaseRefund, ctx: &mut Context) -> Result<(), &'static str> {
        if ctx.bucket("test") < 50 { Err("not in the test") } else { Ok(()) }
    }

    fn merged(&self, ProfilesMerged { from_customer_id, to_customer_id, .. }: ProfilesMerged, ctx: &mut Context) {
        if from_customer_id.is_some() && to_customer_id.is_some() {
            ctx.note(self.ladder.get("bronze").map_or("", String::as_str));
        }
    }

    #[on("OnCustomEvent", "OnOther")]
    fn custom(&self, AnyEvent { code, .. }: AnyEvent, ctx: &mut Context) {
        ctx.info(code);
    }

    fn rest(&self, AnyEvent { body, .. }: AnyEvent, ctx: &mut Context) {
        if let Some(name) = body.and_then(|body| body.get("eventCode")).and_then(|code| code.as_str()) {
            ctx.debug(name);
        }
    }
}

fn main() {
    let missing = hailer_sdk::testing::Scenario::<EveryForm>::with_params("{}").unwrap_err();
    assert_eq!(missing, "the parameter `template` is not set and has no default");
    let mut scenario = hailer_sdk::testing::Scenario::<EveryForm>::with_params(r#"{"template": "t"}"#).unwrap();
    scenario.event("Purchase");
    assert_eq!(scenario.sent()[0].to_string().matches("attributes: 0").count(), 1);
    scenario.in_bucket("test", 7).event("PurchaseRefund").expect_error("not in the test");
    scenario.in_bucket("test", 70).event("PurchaseRefund").expect_nothing();
    scenario.event("ProfilesMerged").expect_note("silver");
    scenario.event(r#"{"eventCode": "OnOther"}"#);
    assert_eq!(scenario.logs()[0].1, "OnOther");
    scenario.event("CardActivated");
    assert_eq!(scenario.logs()[0].1, "OnCardActivation");
    let refused = hailer_sdk::testing::Scenario::<EveryForm>::with_params(r#"{"template": "t", "steps": []}"#);
    assert_eq!(refused.unwrap_err(), "no steps");
    let list = hailer_sdk::testing::Scenario::<EveryForm>::with_params(r#"{"template": "t", "nothing": []}"#);
    assert!(list.unwrap_err().contains("`nothing` is not of type"));
}
