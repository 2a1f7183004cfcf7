//! A checksum in every value, over its table, its key and itself.
//!
//! lsm-tree checks the blocks of its tables by itself. With this one a value that changed in memory, or that stands under another key than it was
//! written for, is an error at the moment when it is read, too.
//! It finds accidents, and does not stop anybody who can write the file.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{StoreError, Table};

/// How much longer a sealed value is.
pub(super) const SEAL_BYTES: usize = 8;

/// Writes a value and its checksum over whatever was in `sealed`.
pub(super) fn seal(table: Table, key: &[u8], value: &[u8], sealed: &mut Vec<u8>) {
    sealed.clear();
    sealed.extend_from_slice(value);
    sealed.extend_from_slice(&checksum(table, key, value));
}

/// The value of a sealed one.
pub(super) fn unseal<'sealed>(table: Table, key: &[u8], sealed: &'sealed [u8]) -> Result<&'sealed [u8], StoreError> {
    match sealed.split_last_chunk::<SEAL_BYTES>() {
        Some((value, seal)) if *seal == checksum(table, key, value) => Ok(value),
        _ => Err(StoreError::DamagedRow { table: table.name(), key_hash: key_hash(key) }),
    }
}

/// Names a key without showing it.
fn key_hash(key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, 0)
}

fn checksum(table: Table, key: &[u8], value: &[u8]) -> [u8; SEAL_BYTES] {
    // Never 0, so that neither an empty key nor a page of zeros looks right.
    let seed = xxh3_64_with_seed(key, table.index() as u64 + 1);
    xxh3_64_with_seed(value, seed).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_under_its_own_table_and_key_only() {
        let mut sealed = vec![9; 3];
        seal(Table::Seen, b"key", b"value", &mut sealed);
        assert_eq!(unseal(Table::Seen, b"key", &sealed).unwrap(), b"value");
        assert!(unseal(Table::Trail, b"key", &sealed).is_err());
        assert!(unseal(Table::Seen, b"kez", &sealed).is_err());
        let refused = unseal(Table::Seen, b"", &sealed).unwrap_err().to_string();
        assert!(refused.contains("`seen`"), "{refused}");
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_found() {
        let mut sealed = Vec::new();
        seal(Table::Outbox, b"k", b"some value", &mut sealed);
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(Table::Outbox, b"k", &flipped).is_err(), "bit {bit}");
        }
        for bytes in 0..sealed.len() {
            assert!(unseal(Table::Outbox, b"k", &sealed[..bytes]).is_err(), "{bytes} bytes");
        }
    }

    #[test]
    fn the_checksum_stays_as_it_is_in_files() {
        let mut sealed = Vec::new();
        seal(Table::Customers, &[7, 1, 2], b"state", &mut sealed);
        assert_eq!(sealed[5..], [134, 73, 28, 94, 3, 161, 93, 91]);
    }
}
