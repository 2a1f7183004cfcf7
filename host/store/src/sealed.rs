//! The stored form of a value: long values are compressed (LZ4), and every value has a checksum
//! over its table, its key and itself.
//!
//! A value is compressed once, before it goes to the log. So the log, the memory and the tables
//! hold fewer bytes, and neither a flush nor a merge compresses it again. Most bytes that the store
//! writes are rows of the journal and of the outbox, and their text repeats itself.
//!
//! lsm-tree checks the blocks of its tables. This checksum also finds a value that changed in
//! memory, or that is stored under the key of another value. It finds accidents; it is no
//! protection from a person who can write the file.
//!
//! ```text
//! sealed: value · 0 · checksum u64
//!         bytes of the value u32 · LZ4 block · 1 · checksum u64
//! ```

use std::borrow::Cow;
use std::fmt;

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{StoreError, Table, VALUE_BYTES_MAX};

/// Values of fewer bytes are not compressed, because short values have few repetitions.
const COMPRESSED_FROM: usize = 256;
/// Values of fewer bytes use the small table of LZ4.
const SMALL_BELOW: usize = u16::MAX as usize;
const PLAIN: u8 = 0;
const COMPRESSED: u8 = 1;
const CHECKSUM_BYTES: usize = 8;
/// The bytes that sealing adds to a value that is not compressed.
pub(super) const SEAL_BYTES: usize = 1 + CHECKSUM_BYTES;
/// The length of the longest sealed value in bytes.
pub(super) const SEALED_BYTES_MAX: usize = VALUE_BYTES_MAX + SEAL_BYTES;

/// Seals values. It reuses the tables of LZ4, because making them takes longer than compressing a
/// row.
pub(super) struct Sealer {
    small: CompressTable,
    large: CompressTable,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Default for Sealer {
    fn default() -> Self {
        Sealer { small: CompressTable::small(), large: CompressTable::large() }
    }
}

impl Sealer {
    /// Appends the sealed form of a value to `out`.
    pub(super) fn seal(&mut self, table: Table, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        if !self.compress(value, out) {
            out.truncate(start);
            out.extend_from_slice(value);
            out.push(PLAIN);
        }
        let sum = checksum(table, key, &out[start..]);
        out.extend_from_slice(&sum);
    }

    /// Appends the compressed value to `out`, and returns whether it is shorter than the value.
    fn compress(&mut self, value: &[u8], out: &mut Vec<u8>) -> bool {
        if value.len() < COMPRESSED_FROM {
            return false;
        }
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        let start = out.len();
        out.resize(start + get_maximum_output_size(value.len()), 0);
        // The small table is faster to clear.
        let table = if value.len() < SMALL_BELOW { &mut self.small } else { &mut self.large };
        let Ok(bytes) = compress_into_with_table(value, &mut out[start..], table) else {
            return false;
        };
        out.truncate(start + bytes);
        out.push(COMPRESSED);
        size_of::<u32>() + bytes < value.len()
    }
}

/// Checks a sealed value and returns the value in it.
pub(super) fn unseal<'sealed>(
    table: Table,
    key: &[u8],
    sealed: &'sealed [u8],
) -> Result<Cow<'sealed, [u8]>, StoreError> {
    let value = sealed.split_last_chunk::<CHECKSUM_BYTES>().and_then(|(value, sum)| {
        let value = (*sum == checksum(table, key, value)).then_some(value)?;
        match value.split_last()? {
            (&PLAIN, value) => Some(Cow::Borrowed(value)),
            (&COMPRESSED, value) => decompress(value).map(Cow::Owned),
            _ => None,
        }
    });
    value.ok_or_else(|| StoreError::DamagedRow { table: table.name(), key_hash: key_hash(key) })
}

fn decompress(compressed: &[u8]) -> Option<Vec<u8>> {
    let (bytes, block) = compressed.split_first_chunk()?;
    let bytes = u32::from_le_bytes(*bytes) as usize;
    if bytes > VALUE_BYTES_MAX {
        return None;
    }
    let mut value = vec![0; bytes];
    let written = decompress_into(block, &mut value).ok()?;
    (written == bytes).then_some(value)
}

/// A hash that names a key in an error without showing it.
fn key_hash(key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, 0)
}

fn checksum(table: Table, key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    // The seed is never 0, so that neither an empty key nor a page of zeros has a valid checksum.
    let seed = xxh3_64_with_seed(key, table.index() as u64 + 1);
    xxh3_64_with_seed(value, seed).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(table: Table, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut sealed = b"before".to_vec();
        Sealer::default().seal(table, key, value, &mut sealed);
        sealed.split_off(6)
    }

    #[test]
    fn a_value_is_read_only_under_its_own_table_and_key() {
        for value in [&b"value"[..], &[7; 1000]] {
            let sealed = sealed(Table::Dedup, b"key", value);
            assert_eq!(unseal(Table::Dedup, b"key", &sealed).unwrap(), value);
            assert!(unseal(Table::Trail, b"key", &sealed).is_err());
            assert!(unseal(Table::Dedup, b"kez", &sealed).is_err());
            let refused = unseal(Table::Dedup, b"", &sealed).unwrap_err().to_string();
            assert!(refused.contains("`seen`"), "{refused}");
        }
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_found() {
        let long: Vec<u8> = (0..300u32).map(|number| (number / 10) as u8).collect();
        for value in [&b"some value"[..], &long] {
            let sealed = sealed(Table::Outbox, b"k", value);
            for bit in 0..sealed.len() * 8 {
                let mut flipped = sealed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(unseal(Table::Outbox, b"k", &flipped).is_err(), "bit {bit}");
            }
            for bytes in 0..sealed.len() {
                assert!(unseal(Table::Outbox, b"k", &sealed[..bytes]).is_err(), "{bytes} bytes");
            }
        }
    }

    #[test]
    fn a_value_is_compressed_only_if_that_makes_it_shorter() {
        let noise: Vec<u8> = (0..1000u64).map(|at| key_hash(&at.to_le_bytes()) as u8).collect();
        for (value, is_shorter) in
            [(vec![7; 1000], true), (vec![7; COMPRESSED_FROM - 1], false), (noise, false)]
        {
            let sealed = sealed(Table::Outbox, b"k", &value);
            assert_eq!(sealed.len() < value.len(), is_shorter);
            assert!(sealed.len() <= value.len() + SEAL_BYTES);
        }
    }

    /// A program that can write the file can also make a checksum. A value with a wrong length is
    /// refused before memory is allocated for it.
    #[test]
    fn a_malformed_value_with_a_valid_checksum_is_refused() {
        let with_sum = |value: &[u8]| [value, &checksum(Table::Outbox, b"k", value)].concat();
        let whole = sealed(Table::Outbox, b"k", &[7; 1000]);
        let (value, _) = whole.split_last_chunk::<CHECKSUM_BYTES>().unwrap();
        assert!(unseal(Table::Outbox, b"k", &with_sum(value)).is_ok());
        let changed = |at: usize, byte: u8| {
            let mut value = value.to_vec();
            value[at] = byte;
            with_sum(&value)
        };
        let cases = [
            with_sum(&[]),
            with_sum(&[2]),
            with_sum(&[COMPRESSED]),
            with_sum(&[&u32::MAX.to_le_bytes()[..], &[COMPRESSED]].concat()),
            // The stated length is longer or shorter than that of the block.
            changed(0, value[0] + 1),
            changed(1, 0),
            changed(value.len() - 1, 2),
        ];
        for sealed in cases {
            assert!(unseal(Table::Outbox, b"k", &sealed).is_err(), "{sealed:?}");
        }
    }

    #[test]
    fn the_stored_form_of_a_value_never_changes() {
        let short = sealed(Table::Customers, &[7, 1, 2], b"state");
        assert_eq!(short, [b's', b't', b'a', b't', b'e', 0, 129, 168, 181, 95, 55, 74, 25, 54]);
        // One nine, a repetition of 294 nines, and five literal nines. LZ4 can write a value in
        // several ways, so only reading is fixed.
        let mut long = [&[44, 1, 0, 0, 0x1f, 9, 1, 0, 255, 20, 0x50][..], &[9; 5], &[1]].concat();
        long.extend_from_slice(&checksum(Table::Customers, &[7, 1, 2], &long));
        assert_eq!(unseal(Table::Customers, &[7, 1, 2], &long).unwrap(), &[9; 300][..]);
    }

    proptest! {
        #[test]
        fn any_value_is_read_back(value in prop::collection::vec(0u8..4, 0..2000), key: [u8; 4]) {
            let sealed = sealed(Table::Journal, &key, &value);
            prop_assert_eq!(unseal(Table::Journal, &key, &sealed).unwrap(), value);
        }
    }
}
