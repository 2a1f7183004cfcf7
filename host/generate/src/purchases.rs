//! Baskets, and the two largest events: a purchase and its refund.

use super::customer::{Customer, Purchase};
use super::goods::{BONUS, BRAND_IDS, GOODS, MERCHANT_UID, MONEY, OFFER_IDS, PARTNER_ID, SHOPS};
use super::line::Writer;
use super::random::Random;

/// One line of a receipt. Amounts and quantities are in ten-thousandths.
#[derive(Clone, Copy, Debug)]
struct Item {
    goods: usize,
    quantity: i64,
    amount: i64,
}

/// The goods of a purchase, with discount and bonus points.
#[derive(Clone, Debug)]
pub(super) struct Basket {
    items: Vec<Item>,
    /// The amount paid with bonus points.
    withdrawn: i64,
    discount: i64,
    bonus: i64,
    shop: usize,
    brand: usize,
}

impl Basket {
    pub(super) fn amount(&self) -> i64 {
        self.items.iter().map(|item| item.amount).sum()
    }
}

/// A random basket: usually a few goods, sometimes many.
pub(super) fn basket(random: &mut Random) -> Basket {
    let count = if random.one_in(50) { random.between(15, 40) } else { 1 + random.rank(7) };
    let items: Vec<Item> = (0..count).map(|_| item(random)).collect();
    let amount: i64 = items.iter().map(|item| item.amount).sum();
    let percent = |share: u32| amount / 100 * i64::from(share);
    let withdrawn = if random.one_in(6) { percent(random.between(1, 30)) } else { 0 };
    let discount = if random.one_in(3) { percent(random.between(1, 25)) } else { 0 };
    let bonus = if random.one_in(5) { 0 } else { percent(random.between(1, 10)) };
    let (shop, brand) =
        (random.below(SHOPS.len() as u32) as usize, random.below(BRAND_IDS.len() as u32) as usize);
    Basket { items, withdrawn, discount, bonus, shop, brand }
}

fn item(random: &mut Random) -> Item {
    let goods = random.below(GOODS.len() as u32) as usize;
    let (_, price, weighed) = GOODS[goods];
    let quantity = if weighed {
        i64::from(random.between(80, 2500)) * 10
    } else {
        i64::from(1 + random.rank(10)) * 10_000
    };
    // Rounded to the kopeck, as tills do.
    Item { goods, quantity, amount: (price * quantity / 10_000 / 100).max(1) * 100 }
}

/// A refund of a part or all of a purchase; sometimes of more than it, which the source has, too.
pub(super) fn refunded(amount: i64, random: &mut Random) -> Basket {
    let share = match random.below(20) {
        0..8 => 100,
        8..19 => random.between(5, 99),
        _ => random.between(101, 120),
    };
    let amount = (amount / 100 * i64::from(share) / 100).max(1) * 100;
    let goods = random.below(GOODS.len() as u32) as usize;
    let withdrawn = if random.one_in(3) { amount / 20 } else { 0 };
    let bonus = if random.one_in(2) { amount / 25 } else { 0 };
    let items = vec![Item { goods, quantity: 10_000, amount }];
    Basket {
        items,
        withdrawn,
        discount: 0,
        bonus,
        shop: random.below(SHOPS.len() as u32) as usize,
        brand: 0,
    }
}

/// Writes `purchaseOperationInfo` of a purchase.
pub(super) fn write_purchase(
    (customer, purchase, basket): (&Customer, &Purchase, &Basket),
    now_ms: i64,
    random: &mut Random,
    writer: &mut Writer<'_>,
) {
    writer.name("purchaseOperationInfo").raw("{");
    write_operation(customer, basket, SHOPS[basket.shop].2, now_ms, random, writer);
    writer.name("purchaseData").raw("{");
    writer.number_text("chequeNumber", purchase.cheque.into(), 1);
    write_amounts(purchase, "currencyExternalId", writer);
    write_items(basket, writer);
    write_withdraws(basket, 4, writer);
    write_rewards(basket, random, writer);
    writer.flag("isRefund", false).name("purchaseAttributes").raw("[]}}");
}

/// Writes `refundedPurchaseViewModel` and `refundOperationInfo` of a refund.
pub(super) fn write_refund(
    (customer, of, refund, basket): (&Customer, &Purchase, &Purchase, &Basket),
    now_ms: i64,
    random: &mut Random,
    writer: &mut Writer<'_>,
) {
    writer.name("refundedPurchaseViewModel").raw("{");
    writer.number("refundedPurchaseId", of.id.into());
    writer.number_text("refundedPurchaseExternalId", of.external_id, 1).raw("}");
    writer.name("refundOperationInfo").raw("{");
    write_operation(customer, basket, "Refund. Test store", now_ms, random, writer);
    writer.name("purchaseData").raw("{");
    // The source's sample has the misspelt name; the source may correct it any day.
    let currency =
        if random.one_in(16) { "currencyExternalId" } else { "currencyDeviceExternalId" };
    write_amounts(refund, currency, writer);
    write_items(basket, writer);
    write_withdraws(basket, 2, writer);
    write_rewards(basket, random, writer);
    writer.flag("isRefund", true).number_text("chequeNumber", refund.cheque.into(), 1);
    writer.name("purchaseAttributes").raw("[]}}");
}

fn write_operation(
    customer: &Customer,
    basket: &Basket,
    description: &str,
    now_ms: i64,
    random: &mut Random,
    writer: &mut Writer<'_>,
) {
    let (device, cashier, _) = SHOPS[basket.shop];
    writer.number("merchantId", 1 + basket.shop as u64);
    writer.uuid("merchantUid", MERCHANT_UID + basket.shop as u128);
    writer.plain("merchantCode", "null").text("deviceCode", device).time("dateTime", now_ms);
    writer.text("type", "PurchaseData");
    if random.one_in(10) {
        writer.number_text("identity", customer.phone, 11);
    } else {
        writer.number_text("identity", customer.card.number, 9);
    }
    writer.text("cashierIdentifier", cashier).text("description", description);
    if random.one_in(4) {
        writer.number("locationId", 10 + basket.shop as u64);
    } else {
        writer.plain("locationId", "null");
    }
    writer.text("partnerId", PARTNER_ID).text("brandId", BRAND_IDS[basket.brand]);
}

fn write_amounts(purchase: &Purchase, currency: &str, writer: &mut Writer<'_>) {
    writer.number("purchaseId", purchase.id.into());
    writer.number_text("externalPurchaseId", purchase.external_id, 1);
    writer.amount("amount", purchase.amount).text(currency, MONEY);
}

fn write_items(basket: &Basket, writer: &mut Writer<'_>) {
    writer.name("chequeItems").raw("[");
    for (position, item) in basket.items.iter().enumerate() {
        let (description, _, weighed) = GOODS[item.goods];
        writer
            .comma()
            .raw("{")
            .number("positionId", 1 + position as u64)
            .text("description", description);
        writer.amount("quantity", item.quantity);
        if weighed {
            writer.text("unit", "кг");
        } else {
            writer.plain("unit", "null");
        }
        writer
            .amount("amount", item.amount)
            .number_text("itemId", 1 + item.goods as u64, 1)
            .raw("}");
    }
    writer.raw("]");
}

fn write_withdraws(basket: &Basket, decimals: u32, writer: &mut Writer<'_>) {
    writer.name("withdraws").raw("[");
    if basket.withdrawn > 0 {
        writer.raw("{").name("moneyAmount").decimals(basket.withdrawn, decimals);
        writer.plain("description", "null");
        write_positions(basket, -basket.withdrawn, writer);
        writer
            .amount("amount", -basket.withdrawn)
            .text("withdrawType", "Bonus")
            .text("currencyExternalId", BONUS)
            .raw("}");
    }
    writer.raw("]");
}

fn write_rewards(basket: &Basket, random: &mut Random, writer: &mut Writer<'_>) {
    writer.name("rewards").raw("[");
    for (amount, kind, currency) in
        [(basket.discount, "Discount", MONEY), (basket.bonus, "Bonus", BONUS)]
    {
        if amount == 0 {
            continue;
        }
        writer.comma().raw("{");
        if random.one_in(8) {
            writer.plain("offerExternalId", "null");
        } else {
            writer.text("offerExternalId", random.pick(&OFFER_IDS));
        }
        writer.plain("description", "null");
        write_positions(basket, amount, writer);
        writer
            .amount("amount", amount)
            .text("rewardType", kind)
            .text("currencyExternalId", currency)
            .raw("}");
    }
    writer.raw("]");
}

/// Distributes an amount over the receipt lines by their cost; the parts add up to the amount.
fn write_positions(basket: &Basket, amount: i64, writer: &mut Writer<'_>) {
    let total = basket.amount().max(1);
    let (mut cost, mut spread) = (0, 0);
    writer.name("positionInfo").raw("{");
    for (position, item) in basket.items.iter().enumerate() {
        cost += item.amount;
        let upto = (i128::from(amount) * i128::from(cost) / i128::from(total)) as i64;
        writer
            .comma()
            .raw("\"")
            .digits(1 + position as u64, 1)
            .raw("\":")
            .decimals(upto - spread, 4);
        spread = upto;
    }
    writer.raw("}");
}
