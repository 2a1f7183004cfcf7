//! Writes a happening as a message of the source: usually with the key order of the source's
//! sample, and with its irregularities.

use super::customer::{Card, Customer};
use super::line::Writer;
use super::purchases::{write_purchase, write_refund};
use super::random::Random;
use super::world::Happening;

/// The position of `eventCode` in the message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CodePlace {
    First,
    /// The code stands before the customer.
    Middle,
    Last,
}

impl Happening {
    /// The event code, the routing key, and the code's position in the sample.
    fn kind(&self) -> (&'static str, &'static str, CodePlace) {
        use CodePlace::{First, Last, Middle};
        match self {
            Happening::RegistrationBegun(_) => {
                ("OnBeginRegistration", "customer.registration.begin", First)
            }
            Happening::RegistrationFinished(_) => {
                ("OnEndRegistration", "customer.registration.finish", First)
            }
            Happening::CardLinked { .. } => ("OnCardReplace", "customer.card.link", Last),
            Happening::CardActivated(_) => ("OnCardActivation", "customer.card.changeState", Last),
            Happening::CardBlockChanged { .. } => {
                ("OnBlockCard", "customer.card.changeBlockState", Last)
            }
            Happening::CardDeleteChanged { .. } => {
                ("OnDeleteCard", "customer.card.changeDeleteState", Last)
            }
            // The first letter is Cyrillic, as in the source.
            Happening::CategoryChanged(_) => {
                ("OnChangeCategoryCard", "\u{441}ustomer.card.changeCategory", Last)
            }
            Happening::AttributeUpdated { .. } => {
                ("OnCustomerAttributeUpdate", "customer.attribute.update", Middle)
            }
            Happening::SubscriptionChanged { .. } => {
                ("OnCustomerSubscriptionChange", "customer.subscription.update", Middle)
            }
            Happening::Merged { .. } => ("MergeCustomersProfiles", "customer.profile.merge", Last),
            Happening::Bought { .. } => {
                ("OnPurchaseConfirm", "purchases.confirm.modelUpdate", Last)
            }
            Happening::Refunded { .. } => ("OnPurchaseRefund", "purchases.refundModelUpdate", Last),
        }
    }

    fn customer(&self) -> Option<&Customer> {
        match self {
            Happening::RegistrationBegun(customer)
            | Happening::RegistrationFinished(customer)
            | Happening::CardActivated(customer)
            | Happening::CategoryChanged(customer)
            | Happening::CardLinked { customer, .. }
            | Happening::CardBlockChanged { customer, .. }
            | Happening::CardDeleteChanged { customer, .. }
            | Happening::AttributeUpdated { customer, .. }
            | Happening::SubscriptionChanged { customer, .. }
            | Happening::Bought { customer, .. }
            | Happening::Refunded { customer, .. } => Some(customer),
            Happening::Merged { .. } => None,
        }
    }
}

/// Appends the event's body.
pub(super) fn write(happening: &Happening, now_ms: i64, random: &mut Random, line: &mut Vec<u8>) {
    let (code, _, usual_place) = happening.kind();
    let place = match random.below(16) {
        0 => CodePlace::First,
        1 => CodePlace::Middle,
        2 => CodePlace::Last,
        _ => usual_place,
    };
    line.push(b'{');
    // The line may contain earlier events; this writer only sees what it writes itself.
    let mut writer = Writer::new(line);
    if place == CodePlace::First {
        writer.text("eventCode", code);
    }
    write_details(happening, now_ms, random, &mut writer);
    if place == CodePlace::Middle {
        writer.text("eventCode", code);
    }
    if let Some(customer) = happening.customer() {
        write_customer("customerInfo", customer, happening, random, &mut writer);
    }
    if place == CodePlace::Last {
        writer.text("eventCode", code);
    }
    // The source's sample of a block has these members; any other event may have them, too.
    if matches!(happening, Happening::CardBlockChanged { .. }) || random.one_in(40) {
        write_retry(random, &mut writer);
    }
    writer.raw("}");
}

/// Appends the body in the envelope of a file's line.
pub(super) fn wrap(
    happening: &Happening,
    body: &[u8],
    now_ms: i64,
    random: &mut Random,
    line: &mut Vec<u8>,
) {
    let (_, routing_key, _) = happening.kind();
    line.push(b'{');
    let mut writer = Writer::new(line);
    writer.text("routingKey", routing_key);
    writer.uuid("messageId", wide(random));
    writer.time("timestamp", now_ms).name("headers").raw("{}").name("body").bytes(body).raw("}");
}

fn write_details(happening: &Happening, now_ms: i64, random: &mut Random, writer: &mut Writer<'_>) {
    match happening {
        Happening::RegistrationBegun(_) | Happening::RegistrationFinished(_) => {}
        Happening::CardLinked { customer, old, kind } => {
            write_card("newCard", &customer.card, now_ms, writer);
            match old {
                Some(old) => write_card("oldCard", old, now_ms, writer),
                None => {
                    writer.plain("oldCard", "null");
                }
            }
            let source = random.pick(&["UserPortal", "MobileApplication", "CashDesk"]);
            writer.text("linkSource", source).text("linkCardType", kind);
        }
        Happening::CardActivated(customer) => {
            write_card("cardInfo", &customer.card, now_ms, writer);
            writer.text("targetState", "Activated");
        }
        Happening::CardBlockChanged { customer, blocked } => {
            writer.flag("targetBlockState", *blocked).name("cardInfo").raw("{");
            write_card_name(&customer.card, writer);
            writer.raw("}");
        }
        Happening::CardDeleteChanged { customer, deleted } => {
            writer.flag("targetDeleteState", *deleted);
            write_card_name(&customer.card, writer);
        }
        Happening::CategoryChanged(customer) => {
            write_card_name(&customer.card, writer);
            writer.text("newcardCategory", customer.card.category_name());
        }
        Happening::AttributeUpdated { customer, phone_before } => {
            write_attribute(customer, *phone_before, now_ms, random, writer);
        }
        Happening::SubscriptionChanged { customer, kind } => {
            write_subscription(customer, *kind, writer)
        }
        Happening::Merged { from, to } => {
            write_customer("fromCustomerInfo", from, happening, random, writer);
            write_customer("toCustomerInfo", to, happening, random, writer);
        }
        Happening::Bought { customer, purchase, basket } => {
            write_purchase((customer, purchase, basket), now_ms, random, writer);
        }
        Happening::Refunded { customer, of, refund, basket } => {
            write_refund((customer, of, refund, basket), now_ms, random, writer);
        }
    }
}

fn write_customer(
    name: &str,
    customer: &Customer,
    happening: &Happening,
    random: &mut Random,
    writer: &mut Writer<'_>,
) {
    let registration =
        matches!(happening, Happening::RegistrationBegun(_) | Happening::RegistrationFinished(_));
    let attribute = matches!(happening, Happening::AttributeUpdated { .. });
    let unusual = random.one_in(16);
    writer.name(name).raw("{").number("customerId", customer.id.into());
    let misspelt = matches!(happening, Happening::Bought { .. }) && !unusual;
    let group = if misspelt { "accountfroupId" } else { "accountgroupId" };
    writer.number_text(group, u64::from(customer.id) + 4, 1);
    let code = (registration || attribute) != unusual;
    writer.uuid(if code { "customerCode" } else { "customerUid" }, customer.uid);
    if customer.id.is_multiple_of(5) && !unusual {
        writer.name("mobileDeviceId").raw("\"").hex(customer.uid, 16, &[]).raw("\"");
    } else if attribute {
        writer.text("mobileDeviceId", "");
    } else {
        writer.plain("mobileDeviceId", "null");
    }
    if registration || customer.id.is_multiple_of(7) {
        writer.number("identifierId", 700 + u64::from(customer.id));
    } else {
        writer.plain("identifierId", "null");
    }
    writer
        .plain("applicationId", if customer.id.is_multiple_of(3) { "1" } else { "null" })
        .raw("}");
}

fn write_card_name(card: &Card, writer: &mut Writer<'_>) {
    writer.number("cardId", card.id.into()).number_text("cardNumber", card.number, 9);
}

fn write_card(name: &str, card: &Card, now_ms: i64, writer: &mut Writer<'_>) {
    writer.name(name).raw("{");
    write_card_name(card, writer);
    let state = match card {
        Card { deleted: true, .. } => "Replaced",
        Card { activated: true, .. } => "Activated",
        _ => "NotActivated",
    };
    writer.text("cardState", state);
    if card.activated && !card.deleted {
        writer.time("activationDate", now_ms);
    } else {
        writer.plain("activationDate", "null");
    }
    writer.text("cardType", if card.number < 1_000_000_000 { "Virtual" } else { "General" });
    writer.text("cardCategory", card.category_name());
    let number = card.number;
    writer.number_text("barCode", number, 9).number_text("strip1", number, 9);
    writer.name("strip2").raw("\"").digits(number, 9).raw("=").digits(number, 9).raw("\"");
    writer.name("strip3").raw("\"strip=").digits(number, 9).raw("\"");
    writer.flag("isBlocked", card.blocked).flag("isDeleted", card.deleted).raw("}");
}

fn write_attribute(
    customer: &Customer,
    phone_before: Option<u64>,
    now_ms: i64,
    random: &mut Random,
    writer: &mut Writer<'_>,
) {
    writer.flag("fromBatchOperation", random.one_in(8));
    // Attributes other than the phone differ only in what a rule may read.
    let (code, kind, id) = random.pick(&[
        ("Phone", "Notifier", 3),
        ("Phone", "Notifier", 3),
        ("Email", "Notifier", 4),
        ("City", "Question", 11),
        ("BirthDay", "Question", 12),
    ]);
    writer.text("attributeCode", code).text("userAttributeType", kind).number("attributeId", id);
    match (code, phone_before) {
        ("Phone", Some(before)) => {
            writer.number_text("oldValue", before, 11);
        }
        _ => {
            writer.plain("oldValue", "null");
        }
    }
    writer.name("newValue").raw("\"");
    match code {
        "Phone" => writer.digits(customer.phone, 11),
        "Email" => writer.raw("customer").digits(customer.id.into(), 1).raw("@example.com"),
        "City" => {
            writer.raw(random.pick(&["Москва", "Санкт-Петербург", "Казань", "Нижний Новгород"]))
        }
        _ => writer
            .digits(u64::from(1950 + customer.id % 55), 4)
            .raw("-")
            .digits(u64::from(1 + customer.id % 12), 2)
            .raw("-15"),
    };
    writer.raw("\"").time("changeDateTime", now_ms).uuid("activityUid", wide(random));
}

/// The channels in a change of subscriptions. A later channel is not added here: the bytes for a
/// seed never change.
pub(super) const SUBSCRIPTION_CHANNELS: [&str; 6] =
    ["mail", "push", "sms", "viber", "chatBot", "socialNetworks"];

fn write_subscription(customer: &Customer, kind: u8, writer: &mut Writer<'_>) {
    const KINDS: [(&str, &str, &str); 4] = [
        ("Cashback", "DiscountOperation", "Discount accrual notifications"),
        ("Cashback", "BonusOperation", "Уведомления о начислении бонусов"),
        ("Marketing", "Promo", "Акции и предложения"),
        ("Service", "CardState", "Card notifications"),
    ];
    let kind = usize::from(kind) % KINDS.len();
    let (mailing, code, name) = KINDS[kind];
    writer.text("mailingSubscriptionType", mailing).number("subscriptionTypeId", 1 + kind as u64);
    writer.text("subscriptionTypeCode", code).text("subscriptionTypeName", name);
    writer.name("subscriptionInfo").raw("{");
    for (place, channel) in SUBSCRIPTION_CHANNELS.iter().enumerate() {
        let enabled =
            customer.subscriptions >> (kind * SUBSCRIPTION_CHANNELS.len() + place) & 1 == 1;
        writer.text(channel, if enabled { "Enabled" } else { "Disabled" });
    }
    writer.raw("}");
}

fn write_retry(random: &mut Random, writer: &mut Writer<'_>) {
    writer.name("externalId").raw("\"").hex(wide(random), 32, &[]).raw("\"");
    let tries = random.rank(4);
    writer.number("tryCount", tries.into());
    if tries == 0 {
        writer.plain("delaySecond", "null");
    } else {
        writer.number("delaySecond", 30 * u64::from(tries));
    }
    writer.flag("toErrorQueue", false);
}

fn wide(random: &mut Random) -> u128 {
    u128::from(random.next()) << 64 | u128::from(random.next())
}

/// Texts of goods and shops are written unchanged, so they must already be escaped for JSON.
#[cfg(test)]
#[test]
fn every_text_is_escaped_already() {
    let descriptions = super::goods::GOODS.iter().map(|(description, ..)| *description);
    for text in descriptions.chain(super::goods::SHOPS.iter().map(|(.., description)| *description))
    {
        assert!(serde_json::from_str::<String>(&format!("\"{text}\"")).is_ok(), "{text}");
    }
}
