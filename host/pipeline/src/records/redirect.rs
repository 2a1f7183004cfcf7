//! The redirect from a merged customer to the one that remains.
//!
//! A row is two values in sequence: the key, and the ids.

use super::{decode, encode, encode_to};
use hailer_event::{Customer, CustomerKey};
use hailer_store::{StoreError, Table};

/// The customer to whom an old id resolves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectRow {
    pub to: CustomerKey,
    /// The ids of that customer as the merge named them. Communications are sent to these ids.
    pub customer: Customer,
}

impl RedirectRow {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = encode(&self.to);
        encode_to(&self.customer, &mut bytes);
        bytes
    }

    /// Decodes a row.
    ///
    /// # Errors
    /// The bytes are no such row.
    pub fn decode(bytes: &[u8]) -> Result<RedirectRow, StoreError> {
        let to: CustomerKey = decode(Table::Redirects, bytes)?;
        let ids = bytes.get(encode(&to).len()..).unwrap_or_default();
        Ok(RedirectRow { to, customer: decode(Table::Redirects, ids)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_read_back_and_one_without_ids_is_refused() {
        let customer = Customer { customer_id: Some("7".into()), ..Customer::default() };
        let to = customer.key().unwrap();
        let row = RedirectRow { to, customer };
        assert_eq!(RedirectRow::decode(&row.encode()).unwrap(), row);
        assert!(RedirectRow::decode(&encode(&to)).is_err());
        assert!(RedirectRow::decode(&[]).is_err() && RedirectRow::decode(b"\xc0").is_err());
        assert!(RedirectRow::decode(&[encode(&to), vec![0xc3]].concat()).is_err());
    }
}
