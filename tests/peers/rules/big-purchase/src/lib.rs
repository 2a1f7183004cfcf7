//! The rule of all contenders, as a Hailer rule: a push for a purchase of one brand from an amount
//! on, unless it is a refund.

use hailer_sdk::prelude::*;

/// Sends a message to customers who spent much.
#[rule]
pub struct BigPurchase {
    /// The smallest amount that gets a message.
    #[param(default = "100.00", min = 0)]
    threshold: Decimal,
    /// The brand whose purchases count.
    #[param(default = "")]
    brand: String,
    /// The push message's template.
    #[param(default = "big-purchase", min = 1)]
    template: String,
}

#[handlers]
impl BigPurchase {
    #[when(
        amount >= self.threshold
            && brand_id == self.brand
            && (is_refund.is_none() || !is_refund)
    )]
    fn purchase(
        &self,
        Purchase { amount, brand_id, is_refund, cheque_number, .. }: Purchase,
        ctx: &mut Context,
    ) {
        ctx.send(
            Push::template(&self.template).data("amount", amount).data("cheque", cheque_number),
        );
    }
}
