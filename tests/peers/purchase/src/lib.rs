//! The rule by hand: the few fields of a purchase that it reads, borrowed from the body, and its
//! decision. It is the lower limit for all contenders, and the code of the guests of the other
//! sandboxes.
//!
//! It has every advantage: texts without escapes, amounts as floats, and no check of skipped parts.

use serde::{Deserialize, Serialize};

/// The code of the event that the rule handles.
pub const CODE: &str = "OnPurchaseConfirm";

/// The message of a purchase.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Purchase<'a> {
    pub event_code: &'a str,
    #[serde(borrow)]
    pub customer_info: CustomerInfo<'a>,
    #[serde(borrow)]
    pub purchase_operation_info: OperationInfo<'a>,
}

/// The customer, with the source's field names.
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

/// The parameters that the decision uses.
#[derive(Debug, Deserialize, Serialize)]
pub struct Rule {
    pub threshold: f64,
    pub brand: String,
}

/// The data for the message's template.
#[derive(Debug, Serialize)]
pub struct Data<'a> {
    pub amount: f64,
    pub cheque: &'a str,
}

/// The answer of a guest: the recipient and the data.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    customer_info: CustomerInfo<'a>,
    data: Data<'a>,
}

impl<'a> Purchase<'a> {
    /// # Errors
    /// When the body is not a purchase.
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
        let Purchase {
            event_code,
            purchase_operation_info: OperationInfo { brand_id, purchase_data },
            ..
        } = purchase;
        purchase_data.amount >= self.threshold
            && *brand_id == self.brand
            && !purchase_data.is_refund
            && *event_code == CODE
    }

    /// The guest's function on an event's bytes: it writes its answer, or nothing.
    ///
    /// # Errors
    /// When the body is not a purchase.
    pub fn answer(&self, body: &[u8], answer: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let purchase = Purchase::read(body)?;
        if self.matches(&purchase) {
            let data = purchase.data();
            serde_json::to_writer(answer, &Answer { customer_info: purchase.customer_info, data })?;
        }
        Ok(())
    }
}
