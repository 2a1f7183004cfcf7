//! A record of the log: a head with a number and a checksum, and the rows of one commit.
//!
//! ```text
//! magic u32 · payload bytes u32 · number u64 · checksum u64 · payload
//! ```
//! Numbers are little-endian; the payload is [`Rows`].

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{BLOCK_BYTES, Nonce};
use crate::Changes;
use crate::rows::Rows;
use crate::sealed::Sealer;

const MAGIC: u32 = 0x4c41_5768;
const HEAD_BYTES: usize = 24;

/// A record whose checksum is right.
pub(super) struct Found<'log> {
    pub(super) number: u64,
    pub(super) payload: &'log [u8],
    /// Of the record, with its head.
    pub(super) bytes: usize,
}

/// A record in the making, with what the next can use again.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Filled up with zeros to whole blocks.
    blocks: Vec<u8>,
    /// How long it is without them.
    bytes: usize,
    sealer: Sealer,
}

impl Record {
    /// Writes the record of a commit over the last one. It keeps no more memory than `kept_max` bytes of the last.
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
        Rows::written(&self.blocks[HEAD_BYTES..self.bytes])
    }
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
