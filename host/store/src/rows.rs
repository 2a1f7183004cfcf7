//! The rows of one commit as bytes. They are the payload of a record of the log, and the tree
//! inserts its rows from them.
//!
//! ```text
//! row: key bytes u16 · value bytes u32 · table u8 · key · sealed value
//! ```
//! Numbers are little-endian. The length of the key includes the byte of the table. A value length
//! of 2³² - 1 means that there is no value and the key is deleted. Reading refuses everything else.

use super::sealed::{SEALED_BYTES_MAX, Sealer};
use super::{Changes, KEY_BYTES_MAX, Table};

/// The value length of a deleted row.
const DELETED: u32 = u32::MAX;

/// The rows of one commit, in the order of their tables and keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'bytes>(&'bytes [u8]);

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowChange<'bytes> {
    /// The number of the table, followed by the key in that table.
    pub(super) key: &'bytes [u8],
    /// The new value in sealed form; `None` deletes the key.
    pub(super) sealed: Option<&'bytes [u8]>,
}

impl<'bytes> Rows<'bytes> {
    /// Appends the rows of a commit to `out`.
    pub(super) fn write(changes: &Changes, sealer: &mut Sealer, out: &mut Vec<u8>) {
        for table in Table::ALL {
            for (key, value) in changes.of(table) {
                // `Changes::check` bounds both lengths below what their fields hold.
                out.extend_from_slice(&(1 + key.len() as u16).to_le_bytes());
                let place = out.len();
                out.extend_from_slice(&DELETED.to_le_bytes());
                out.push(table.index() as u8);
                out.extend_from_slice(key);
                if let Some(value) = value {
                    let start = out.len();
                    sealer.seal(table, key, value, out);
                    let bytes = (out.len() - start) as u32;
                    out[place..place + 4].copy_from_slice(&bytes.to_le_bytes());
                }
            }
        }
    }

    /// Reads rows from bytes; `None` if the bytes are anything but whole rows.
    pub(super) fn read(bytes: &'bytes [u8]) -> Option<Rows<'bytes>> {
        let mut rest = bytes;
        while !rest.is_empty() {
            next(&mut rest)?;
        }
        Some(Rows(bytes))
    }

    /// The rows in bytes that [`Self::write`] has just written, without a check.
    pub(super) fn trusted(bytes: &'bytes [u8]) -> Rows<'bytes> {
        Rows(bytes)
    }
}

impl<'bytes> Iterator for Rows<'bytes> {
    type Item = RowChange<'bytes>;

    fn next(&mut self) -> Option<RowChange<'bytes>> {
        next(&mut self.0)
    }
}

fn next<'bytes>(rest: &mut &'bytes [u8]) -> Option<RowChange<'bytes>> {
    let key_bytes = usize::from(u16::from_le_bytes(take(rest)?));
    let sealed_bytes = u32::from_le_bytes(take(rest)?);
    let key = split(rest, key_bytes)?;
    let (table, own) = key.split_first()?;
    if usize::from(*table) >= Table::ALL.len() || own.len() > KEY_BYTES_MAX {
        return None;
    }
    let sealed = match sealed_bytes {
        DELETED => None,
        bytes => {
            Some(split(rest, bytes as usize).filter(|sealed| sealed.len() <= SEALED_BYTES_MAX)?)
        }
    };
    Some(RowChange { key, sealed })
}

fn take<const BYTES: usize>(rest: &mut &[u8]) -> Option<[u8; BYTES]> {
    split(rest, BYTES)?.try_into().ok()
}

fn split<'bytes>(rest: &mut &'bytes [u8], bytes: usize) -> Option<&'bytes [u8]> {
    let (taken, behind) = rest.split_at_checked(bytes)?;
    *rest = behind;
    Some(taken)
}
