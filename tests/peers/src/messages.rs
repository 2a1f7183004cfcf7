//! The input of all contenders: the source's example of a purchase, in 64 variants with different
//! customers, amounts, cheques and ids. So nothing that an engine keeps of one event helps with the
//! next.

use bytes::Bytes;

const SAMPLE: &str = include_str!("../../../guest-sdk/abi/events/OnPurchaseConfirm.json");
pub(crate) const VARIANTS: usize = 64;
/// The brand of the sample.
pub(crate) const BRAND: &str = "82013554-3dd3-4e08-5a73-e8354f45ffa6";
/// The smallest amount of all variants.
pub(crate) const AMOUNT_MIN: u32 = 200;
/// Larger than the amounts of all variants.
pub(crate) const AMOUNT_MAX: u32 = 1000;
/// 2025-12-01.
pub(crate) const BEGINS: i64 = 1_764_547_200_000;
/// Ten seconds between two events: an engine that keeps dedup entries for a day has some ten
/// thousand of them, and expires old ones.
const STEP_MS: i64 = 10_000;

/// A message as a broker delivers it.
pub(crate) struct Message {
    /// Different for every message.
    pub(crate) id: String,
    pub(crate) body: Bytes,
    pub(crate) now: i64,
    pub(crate) number: u64,
}

/// An endless stream of messages; each contender has one of its own.
pub(crate) struct Stream {
    bodies: Vec<Bytes>,
    sent: u64,
}

impl Stream {
    pub(crate) fn new() -> Stream {
        Stream { bodies: (0..VARIANTS).map(|variant| body(variant).into()).collect(), sent: 0 }
    }

    /// The next messages.
    pub(crate) fn next(&mut self, messages: usize) -> Vec<Message> {
        (0..messages).map(|_| self.message()).collect()
    }

    fn message(&mut self) -> Message {
        self.sent += 1;
        let number = self.sent;
        let body = self.bodies[number as usize % VARIANTS].clone();
        Message {
            id: format!("m-{number:012}"),
            body,
            now: BEGINS + number as i64 * STEP_MS,
            number,
        }
    }
}

fn body(variant: usize) -> String {
    let amount = AMOUNT_MIN as usize + variant * 12;
    let changes = [
        (r#""amount":135.0000"#, format!(r#""amount":{amount}.{:02}00"#, variant + 10)),
        (r#""chequeNumber":"123""#, format!(r#""chequeNumber":"{}""#, 1000 + variant)),
        (r#""purchaseId":512"#, format!(r#""purchaseId":{}"#, 5120 + variant)),
        (
            r#""externalPurchaseId":"5226324048""#,
            format!(r#""externalPurchaseId":"52263240{variant:02}""#),
        ),
        (r#""customerId":107"#, format!(r#""customerId":{}"#, 10_700 + variant)),
        (r#""accountfroupId":"111""#, format!(r#""accountfroupId":"{}""#, 11_100 + variant)),
        (
            "6c0b4b64-ebd8-4397-a6f5-d6f3eb32cd2c",
            format!("6c0b4b64-ebd8-4397-a6f5-d6f3eb32cd{variant:02}"),
        ),
    ];
    changes.iter().fold(SAMPLE.to_owned(), |body, (from, to)| {
        assert_eq!(body.matches(from).count(), 1, "the sample contains {from} once");
        body.replace(from, to)
    })
}
