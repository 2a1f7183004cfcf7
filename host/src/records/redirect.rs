//! The redirect of a customer who was merged into another.
//!
//! A row is two values, one after the other: the key, and the ids. Versions that knew the key alone wrote the first, and read the first of both.

use super::{decode, encode, encode_to};
use crate::event::{Customer, CustomerKey};
use hailer_store::{StoreError, Table};

/// The customer whom an old id means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectRow {
    pub to: CustomerKey,
    /// The ids of that customer as the merge named them: communications go there. `None` if the row is of a version that kept the key alone.
    pub customer: Option<Customer>,
}

impl RedirectRow {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = encode(&self.to);
        if let Some(customer) = &self.customer {
            encode_to(customer, &mut bytes);
        }
        bytes
    }

    /// Reads a row.
    ///
    /// # Errors
    /// When these are not the bytes of such a row.
    pub fn decode(bytes: &[u8]) -> Result<RedirectRow, StoreError> {
        let to: CustomerKey = decode(Table::Redirects, bytes)?;
        let ids = bytes.get(encode(&to).len()..).unwrap_or_default();
        let customer = if ids.is_empty() { None } else { Some(decode(Table::Redirects, ids)?) };
        Ok(RedirectRow { to, customer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_comes_back_and_so_does_one_of_the_key_alone() {
        let customer = Customer { customer_id: Some("7".into()), ..Customer::default() };
        let to = customer.key().unwrap();
        let row = RedirectRow { to, customer: Some(customer) };
        assert_eq!(RedirectRow::decode(&row.encode()).unwrap(), row);
        assert_eq!(RedirectRow::decode(&encode(&to)).unwrap(), RedirectRow { to, customer: None });
        // A version that knows the key alone reads a row with both.
        assert_eq!(decode::<CustomerKey>(Table::Redirects, &row.encode()).unwrap(), to);
        assert!(RedirectRow::decode(&[]).is_err() && RedirectRow::decode(b"\xc0").is_err());
        assert!(RedirectRow::decode(&[encode(&to), vec![0xc3]].concat()).is_err());
    }
}
