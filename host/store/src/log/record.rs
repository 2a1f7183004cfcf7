//! A record of the log: a head with a number and a checksum, then the rows of one commit.
//!
//! ```text
//! magic u32 · payload bytes u32 · number u64 · checksum u64 · payload
//! ```
//! Numbers are little-endian. The payload is [`Rows`].

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{BLOCK_BYTES, Nonce};
use crate::Changes;
use crate::rows::Rows;
use crate::sealed::Sealer;

const MAGIC: u32 = 0x4c41_5768;
const HEAD_BYTES: usize = 24;

/// A record with a valid checksum.
pub(super) struct Found<'log> {
    pub(super) number: u64,
    pub(super) payload: &'log [u8],
    /// The length of the record with its head, in bytes.
    pub(super) bytes: usize,
}

/// Builds records one after another in the same buffers.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The record, padded with zeros to whole blocks.
    blocks: Vec<u8>,
    /// The length of the record without the padding, in bytes.
    bytes: usize,
    sealer: Sealer,
}

impl Record {
    /// Builds the record of a commit over the last one. It keeps at most `kept_max` bytes of the
    /// last record's buffer.
    pub(super) fn write(&mut self, nonce: Nonce, number: u64, changes: &Changes, kept_max: usize) {
        let Record { blocks, bytes, sealer } = self;
        blocks.clear();
        blocks.shrink_to(kept_max);
        blocks.resize(HEAD_BYTES, 0);
        Rows::write(changes, sealer, blocks);
        *bytes = blocks.len();
        let payload_bytes = (blocks.len() - HEAD_BYTES) as u32;
        let sum = checksum(&blocks[HEAD_BYTES..], nonce, number);
        blocks[..4].copy_from_slice(&MAGIC.to_le_bytes());
        blocks[4..8].copy_from_slice(&payload_bytes.to_le_bytes());
        blocks[8..16].copy_from_slice(&number.to_le_bytes());
        blocks[16..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
        blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
    }

    pub(super) fn blocks(&self) -> &[u8] {
        &self.blocks
    }

    pub(super) fn rows(&self) -> Rows<'_> {
        Rows::trusted(&self.blocks[HEAD_BYTES..self.bytes])
    }
}

/// Reads the record at the beginning of these bytes; `None` if there is no valid one.
pub(super) fn find(bytes: &[u8], nonce: Nonce) -> Option<Found<'_>> {
    let mut head = Reader(bytes);
    if head.u32()? != MAGIC {
        return None;
    }
    let payload_bytes = head.u32()? as usize;
    let (number, sum) = (head.u64()?, head.u64()?);
    let payload = head.take(payload_bytes)?;
    (sum == checksum(payload, nonce, number)).then_some(Found {
        number,
        payload,
        bytes: HEAD_BYTES + payload_bytes,
    })
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

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}
