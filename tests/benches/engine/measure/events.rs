//! Purchases: the event that most rules read, and the largest.

use hailer::generate::{Generator, Options};

const PURCHASE: &str = include_str!("../../../../guest-sdk/abi/events/OnPurchaseConfirm.json");

/// Generated purchases of up to `customers` customers, some of whom come often; the same in every
/// run, and all different.
pub(crate) fn purchases(customers: u32) -> impl Iterator<Item = Vec<u8>> {
    Generator::new(1, &Options { customers, ..Options::default() })
        .filter(|event| is_purchase(event))
}

fn is_purchase(event: &[u8]) -> bool {
    let code = b"\"OnPurchaseConfirm\"";
    event.windows(code.len()).any(|window| window == code)
}

/// The source's example of a purchase, with this customer and number.
pub(crate) fn purchase_of(customer: u64, number: usize) -> String {
    let event = PURCHASE.replace("\"customerId\":107", &format!("\"customerId\":{customer}"));
    let event = event.replace("6c0b4b64-ebd8-4397-a6f5-d6f3eb32cd2c", &format!("{customer:032x}"));
    event
        .replace("\"accountfroupId\":\"111\"", &format!("\"accountfroupId\":\"{customer}\""))
        .replace("\"purchaseId\":512", &format!("\"purchaseId\":{number}"))
}

pub(crate) fn mean_bytes(events: &[Vec<u8>]) -> usize {
    events.iter().map(Vec::len).sum::<usize>() / events.len()
}
