//! A look at the file's first bytes before redb gets it. redb has no checksum over some of them, so it can't tell that
//! the bit which names one of the two last commits as the last has flipped, and it makes a new database of an empty file.
//!
//! The layout is that of redb's file format 3 (`header.rs` there), which is checked.

use std::path::Path;

use crate::store::StoreError;

const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
pub(super) const FLAGS_AT: u64 = 9;
pub(super) const SECOND_IS_PRIMARY: u8 = 1;
pub(super) const NOT_CLOSED: u8 = 2;
pub(super) const TWO_PHASES: u8 = 4;
const FLAGS_KNOWN: u8 = 0b1111;
const PAGE_BYTES_AT: usize = 12;
const SLOTS_AT: [usize; 2] = [64, 192];
const SLOT_VERSION: u8 = 3;
const SLOT_COMMIT_AT: usize = 104;

pub(super) const HEADER_BYTES: usize = 320;

/// What the header says of how the file was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Whoever had it open ended without closing it.
    pub(super) left_open: bool,
    /// The flags with which redb takes the newest of the last two commits that is whole. They are needed when the one that is not named the
    /// last is newer: either the process ended just before naming it, when taking it is as good as not, or the bit that names it
    /// has flipped. That the file looks closed says nothing about which: redb closes it before the commit with which an opening ends.
    pub(super) undecided: Option<u8>,
}

/// Reads a header. `start` is what the file begins with, up to [`HEADER_BYTES`].
pub(super) fn read(start: &[u8], bytes: u64, file: &Path) -> Result<Header, StoreError> {
    let file = file.to_owned();
    let not_a_store = |reason: &str| StoreError::NotAStore { file: file.clone(), reason: reason.to_owned() };
    if !start.starts_with(&MAGIC[..start.len().min(MAGIC.len())]) {
        return Err(not_a_store("it does not begin like a redb database"));
    }
    let Ok(start) = <&[u8; HEADER_BYTES]>::try_from(start) else {
        return Err(StoreError::Truncated { file, bytes, bytes_expected: HEADER_BYTES as u64 });
    };
    let number = |at: usize| u64::from(u32::from_le_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]));
    let commit = |slot: usize| {
        let at = SLOTS_AT[slot] + SLOT_COMMIT_AT;
        start[at..at + 8].iter().rev().fold(0_u64, |commit, &byte| commit << 8 | u64::from(byte))
    };
    let damaged = |reason: &str| StoreError::Damaged { file: file.clone(), reason: reason.to_owned() };
    let flags = start[FLAGS_AT as usize];
    if flags & !FLAGS_KNOWN != 0 {
        return Err(damaged("its header has flags that redb does not write"));
    }
    let primary = usize::from(flags & SECOND_IS_PRIMARY != 0);
    if start[SLOTS_AT[primary]] != SLOT_VERSION {
        return Err(not_a_store(&format!(
            "it is of redb's file format {}, not {SLOT_VERSION}",
            start[SLOTS_AT[primary]]
        )));
    }
    let left_open = flags & NOT_CLOSED != 0;
    let newer_beside = commit(primary) < commit(1 - primary);
    let [page, region_header, region_max, regions, trailing] = [0, 4, 8, 12, 16].map(|at| number(PAGE_BYTES_AT + at));
    let trailing = if trailing > 0 { region_header + trailing } else { 0 };
    let pages = regions.saturating_mul(region_header + region_max).saturating_add(trailing).saturating_add(1);
    let bytes_expected = pages.saturating_mul(page);
    if !left_open && bytes < bytes_expected {
        return Err(StoreError::Truncated { file, bytes, bytes_expected });
    }
    Ok(Header { left_open, undecided: newer_beside.then_some(flags & !TWO_PHASES) })
}
