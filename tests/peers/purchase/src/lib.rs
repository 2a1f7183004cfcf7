//! The rule by hand: the few fields of a purchase that it reads, borrowed from the body, and what it decides by them. It is the floor that
//! everybody is measured against, and what the guests of the other sandboxes are made of.
//!
//! It is given every advantage: texts without escapes, amounts as floats, and nothing checked of what it skips.

use serde::{Deserialize, Serialize};

/// The code of the event that the rule takes.
pub const CODE: &str = "OnPurchaseConfirm";

/// A purchase's message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Purchase<'a> {
    pub event_code: &'a str,
    #[serde(borrow)]
    pub customer_info: CustomerInfo<'a>,
    #[serde(borrow)]
    pub purchase_operation_info: OperationInfo<'a>,
}

/// Whom it is about, under the source's names.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomerInfo<'a> {
    pub customer_id: u64,
    #[serde(rename = "accountfroupId")]
    pub account_group_id: &'a str,
    pub customer_uid: &'a str,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationInfo<'a> {
    pub brand_id: &'a str,
    #[serde(borrow)]
    pub purchase_data: PurchaseData<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PurchaseData<'a> {
    pub amount: f64,
    pub cheque_number: &'a str,
    #[serde(default)]
    pub is_refund: bool,
}

/// The rule's parameters, as far as it decides by them.
#[derive(Debug, Deserialize, Serialize)]
pub struct Rule {
    pub threshold: f64,
    pub brand: String,
}

/// What the message's template is filled with.
#[derive(Debug, Serialize)]
pub struct Data<'a> {
    pub amount: f64,
    pub cheque: &'a str,
}

/// What a guest answers with: whom to write to, and what with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    customer_info: CustomerInfo<'a>,
    data: Data<'a>,
}

impl<'a> Purchase<'a> {
    /// # Errors
    /// When the body is no purchase's.
    pub fn read(body: &'a [u8]) -> Result<Purchase<'a>, serde_json::Error> {
        serde_json::from_slice(body)
    }

    #[must_use]
    pub fn data(&self) -> Data<'a> {
        let PurchaseData { amount, cheque_number, .. } = self.purchase_operation_info.purchase_data;
        Data { amount, cheque: cheque_number }
    }
}

impl Rule {
    #[must_use]
    pub fn matches(&self, purchase: &Purchase<'_>) -> bool {
        let Purchase { event_code, purchase_operation_info: OperationInfo { brand_id, purchase_data }, .. } = purchase;
        purchase_data.amount >= self.threshold
            && *brand_id == self.brand
            && !purchase_data.is_refund
            && *event_code == CODE
    }

    /// What a guest does with an event's bytes: its answer is written, or nothing.
    ///
    /// # Errors
    /// When the body is no purchase's.
    pub fn answer(&self, body: &[u8], answer: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let purchase = Purchase::read(body)?;
        if self.matches(&purchase) {
            let data = purchase.data();
            serde_json::to_writer(answer, &Answer { customer_info: purchase.customer_info, data })?;
        }
        Ok(())
    }
}
