//! A record of the log: a head with a number and a checksum, and the rows of one commit.
//!
//! ```text
//! magic u32 · payload bytes u32 · number u64 · checksum u64 · payload
//! payload: for each table that changes: table u8 · rows u32 · (key bytes u16 · value bytes u32 · key · value)…
//! ```
//! Numbers are little-endian; a value of 2³² - 1 bytes is none, and takes the key away. It refuses whatever is not exactly so.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Nonce;
use crate::store::{Changes, KEY_BYTES_MAX, Table, VALUE_BYTES_MAX};

const MAGIC: u32 = 0x4c41_5768;
const HEAD_BYTES: usize = 24;
const TAKEN_AWAY: u32 = u32::MAX;

/// A record whose checksum is right.
pub(super) struct Found<'log> {
    pub(super) number: u64,
    pub(super) payload: &'log [u8],
    /// Of the record, with its head.
    pub(super) bytes: usize,
}

pub(super) fn write(out: &mut Vec<u8>, nonce: Nonce, number: u64, changes: &Changes) {
    out.resize(HEAD_BYTES, 0);
    for table in Table::ALL {
        let rows = changes.of(table);
        if rows.len() == 0 {
            continue;
        }
        out.push(table.index() as u8);
        out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
        for (key, value) in rows {
            // Both were checked to be shorter than what their numbers can say.
            out.extend_from_slice(&(key.len() as u16).to_le_bytes());
            out.extend_from_slice(&value.map_or(TAKEN_AWAY, |value| value.len() as u32).to_le_bytes());
            out.extend_from_slice(key);
            out.extend_from_slice(value.unwrap_or_default());
        }
    }
    let payload_bytes = (out.len() - HEAD_BYTES) as u32;
    let sum = checksum(&out[HEAD_BYTES..], nonce, number);
    out[..4].copy_from_slice(&MAGIC.to_le_bytes());
    out[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
    out[8..16].copy_from_slice(&number.to_le_bytes());
    out[16..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
}

/// The record with which these bytes begin, if they begin with a sound one.
pub(super) fn find(bytes: &[u8], nonce: Nonce) -> Option<Found<'_>> {
    let mut head = Reader(bytes);
    if head.u32()? != MAGIC {
        return None;
    }
    let payload_bytes = head.u32()? as usize;
    let (number, sum) = (head.u64()?, head.u64()?);
    let payload = head.take(payload_bytes)?;
    (sum == checksum(payload, nonce, number)).then_some(Found { number, payload, bytes: HEAD_BYTES + payload_bytes })
}

/// The changes in a payload.
pub(super) fn read(payload: &[u8]) -> Option<Changes> {
    let mut changes = Changes::new();
    let mut reader = Reader(payload);
    while !reader.0.is_empty() {
        let table = *Table::ALL.get(usize::from(reader.take(1)?[0]))?;
        for _ in 0..reader.u32()? {
            let (key_bytes, value_bytes) = (usize::from(reader.u16()?), reader.u32()?);
            let key = reader.take(key_bytes).filter(|key| key.len() <= KEY_BYTES_MAX)?;
            if value_bytes == TAKEN_AWAY {
                changes.delete(table, key);
            } else {
                changes.put(
                    table,
                    key,
                    reader.take(value_bytes as usize).filter(|value| value.len() <= VALUE_BYTES_MAX)?,
                );
            }
        }
    }
    Some(changes)
}

fn checksum(payload: &[u8], nonce: Nonce, number: u64) -> u64 {
    xxh3_64_with_seed(payload, xxh3_64_with_seed(&number.to_le_bytes(), nonce))
}

struct Reader<'bytes>(&'bytes [u8]);

impl<'bytes> Reader<'bytes> {
    fn take(&mut self, bytes: usize) -> Option<&'bytes [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        self.take(BYTES)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
