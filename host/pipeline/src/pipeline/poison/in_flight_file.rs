//! The file that names the work in flight: one slot for each shard, and the suspects.
//!
//! The file survives any end of the process, because written bytes belong to the operating system.
//! It need not survive a power cut, as no event causes one, so it is never synced.
//!
//! Only the header is checked. A torn name matches no event. An end in the middle of a write was
//! not caused by a rule, because the slot is written before the rule runs. A file that this version
//! did not write is refused, and replaced by the caller.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The id of an event, timer or retry in the file. It is a hash, so it is not personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InFlightId([u8; ID_BYTES]);

/// An id, and how often the engine ended while it was decided alone.
pub(super) type Suspect = (InFlightId, u32);

/// The contents of the file that the previous run left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PreviousRun {
    pub(super) suspects: Vec<Suspect>,
    /// The slots that contain ids.
    pub(super) slots: Vec<Slot>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) is_alone: bool,
    pub(super) ids: Vec<InFlightId>,
}

/// The open file of this run. Every shard writes only its own slot, each time with a single system
/// call, so shards do not wait for each other.
#[derive(Debug)]
pub(super) struct InFlightFile {
    file: File,
    suspects: usize,
    ids_max: usize,
}

const MAGIC: &[u8; 16] = b"hailer in flight";
const FORMAT: u32 = 1;
const ID_BYTES: usize = 16;
/// The magic bytes, the format, and the number of suspects, shards and ids per slot.
const HEAD_BYTES: usize = 32;
/// An id, whether it is still a suspect, and its number of ends. The size divides a page, so no row
/// is torn.
const SUSPECT_BYTES: usize = 32;
/// The number of ids, and whether they are decided alone.
const SLOT_HEAD_BYTES: usize = 16;
/// More than any file that is written.
const FILE_BYTES_MAX: u64 = 256 << 20;
const UNFINISHED: &str = "in-flight.unfinished";

impl InFlightId {
    pub(super) fn new(bytes: [u8; ID_BYTES]) -> InFlightId {
        InFlightId(bytes)
    }
}

impl InFlightFile {
    /// Reads the file of the previous run; empty if there is no file.
    pub(super) fn read(path: &Path) -> io::Result<PreviousRun> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(PreviousRun::default());
            }
            opened => opened?,
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        parse(&bytes).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "the file is damaged or of another version")
        })
    }

    /// Replaces the file with one for a new run, with empty slots.
    pub(super) fn create(
        path: &Path,
        shards: usize,
        ids_max: usize,
        suspects: &[Suspect],
    ) -> io::Result<InFlightFile> {
        let unfinished = path.with_file_name(UNFINISHED);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(&encoded(shards, ids_max, suspects))?;
        fs::rename(&unfinished, path)?;
        Ok(InFlightFile { file, suspects: suspects.len(), ids_max })
    }

    /// Writes the ids that a shard decides from now on; an empty list clears the slot. The slot has
    /// room for `ids_max` ids.
    pub(super) fn write_slot(
        &self,
        shard: usize,
        is_alone: bool,
        ids: &[InFlightId],
    ) -> io::Result<()> {
        let offset = HEAD_BYTES + self.suspects * SUSPECT_BYTES + shard * slot_bytes(self.ids_max);
        self.file.write_all_at(&slot(is_alone, ids), offset as u64)
    }

    /// Updates a suspect in the file: its number of ends, or `None` if it is cleared.
    pub(super) fn write_suspect(
        &self,
        index: usize,
        id: InFlightId,
        ends: Option<u32>,
    ) -> io::Result<()> {
        self.file.write_all_at(&suspect(id, ends), (HEAD_BYTES + index * SUSPECT_BYTES) as u64)
    }
}

fn slot_bytes(ids_max: usize) -> usize {
    SLOT_HEAD_BYTES + ids_max * ID_BYTES
}

fn encoded(shards: usize, ids_max: usize, suspects: &[Suspect]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for number in [FORMAT, suspects.len() as u32, shards as u32, ids_max as u32] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for &(id, ends) in suspects {
        bytes.extend_from_slice(&suspect(id, Some(ends)));
    }
    bytes.resize(bytes.len() + shards * slot_bytes(ids_max), 0);
    bytes
}

fn slot(is_alone: bool, ids: &[InFlightId]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT_HEAD_BYTES + ids.len() * ID_BYTES);
    for number in [ids.len() as u32, u32::from(is_alone), 0, 0] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend(ids.iter().flat_map(|id| id.0));
    bytes
}

fn suspect(id: InFlightId, ends: Option<u32>) -> [u8; SUSPECT_BYTES] {
    let mut bytes = [0; SUSPECT_BYTES];
    bytes[..ID_BYTES].copy_from_slice(&id.0);
    bytes[16..20].copy_from_slice(&u32::from(ends.is_some()).to_le_bytes());
    bytes[20..24].copy_from_slice(&ends.unwrap_or_default().to_le_bytes());
    bytes
}

/// Reads a whole file; `None` if it has not the form that [`encoded`] and later updates give it.
fn parse(bytes: &[u8]) -> Option<PreviousRun> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let [format, suspects, shards, ids_max] =
        [16, 20, 24, 28].map(|at| number(head, at).unwrap_or(u32::MAX) as usize);
    if !head.starts_with(MAGIC) || format != FORMAT as usize {
        return None;
    }
    let (suspects, slots) = rest.split_at_checked(suspects.checked_mul(SUSPECT_BYTES)?)?;
    let slot_bytes = slot_bytes(ids_max);
    if Some(slots.len()) != shards.checked_mul(slot_bytes) {
        return None;
    }
    let mut left = PreviousRun::default();
    for row in suspects.chunks_exact(SUSPECT_BYTES) {
        match number(row, 16)? {
            0 => {}
            1 => left.suspects.push((InFlightId(*row.first_chunk()?), number(row, 20)?)),
            _ => return None,
        }
    }
    for slot in slots.chunks_exact(slot_bytes) {
        let (ids, is_alone) = (number(slot, 0)? as usize, number(slot, 4)?);
        if ids > ids_max || is_alone > 1 {
            return None;
        }
        let (ids, _) = slot[SLOT_HEAD_BYTES..].split_at(ids * ID_BYTES);
        let ids: Vec<InFlightId> = ids.as_chunks().0.iter().copied().map(InFlightId).collect();
        if !ids.is_empty() {
            left.slots.push(Slot { is_alone: is_alone == 1, ids });
        }
    }
    Some(left)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const A: InFlightId = InFlightId([1; 16]);
    const B: InFlightId = InFlightId([2; 16]);
    const C: InFlightId = InFlightId([3; 16]);

    #[test]
    fn the_next_run_reads_the_ids_that_a_run_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in-flight");
        assert_eq!(InFlightFile::read(&path).unwrap(), PreviousRun::default());
        let file = InFlightFile::create(&path, 3, 4, &[(A, 0), (B, 2)]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        file.write_slot(0, false, &[A, B, C, A]).unwrap();
        file.write_slot(0, false, &[]).unwrap();
        file.write_slot(1, true, &[B]).unwrap();
        file.write_slot(2, false, &[C, A]).unwrap();
        file.write_suspect(0, A, None).unwrap();
        file.write_suspect(1, B, Some(3)).unwrap();
        let [alone, others] =
            [(true, vec![B]), (false, vec![C, A])].map(|(is_alone, ids)| Slot { is_alone, ids });
        let left = PreviousRun { suspects: vec![(B, 3)], slots: vec![alone, others] };
        assert_eq!(InFlightFile::read(&path).unwrap(), left);
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let whole = encoded(2, 4, &[(A, 1)]);
        assert!(parse(&whole).is_some());
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), None, "cut at {cut}");
        }
        for (at, byte) in
            [(0, b'H'), (16, 2), (20, 200), (23, 255), (24, 3), (28, 5), (48, 7), (64, 5), (68, 2)]
        {
            let mut other = whole.clone();
            other[at] = byte;
            assert_eq!(parse(&other), None, "{byte} at {at}");
        }
    }
}
