//! The file that says what is being decided: a slot for each shard, and what is known of suspects. An end of the process leaves it as it was,
//! whatever ended it: what was written is the operating system's already. That is all it has to outlive, as no event is to blame for a power cut;
//! so it is never synced.
//!
//! Nothing in it carries a checksum beside its head. A name that is torn is the name of nobody, and whatever ended the process in the middle of a
//! write was not a rule at work: the slot is written before. A file that is not as this version writes it is refused, and its owner starts another.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// What an event or a timer is called in the file: a hash, so nothing personal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name([u8; NAME_BYTES]);

/// A name, and how often the engine ended while it was decided alone.
pub(super) type Suspect = (Name, u32);

/// What a run left behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) suspects: Vec<Suspect>,
    /// The slots that name something.
    pub(super) slots: Vec<Slot>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) alone: bool,
    pub(super) names: Vec<Name>,
}

/// The file of this run. Every shard writes its own slot; a write is a call of its own, so nobody waits for anybody.
#[derive(Debug)]
pub(super) struct Slots {
    file: File,
    suspects: usize,
    names_max: usize,
}

const MAGIC: &[u8; 16] = b"hailer in flight";
const FORMAT: u32 = 1;
const NAME_BYTES: usize = 16;
/// The magic, the format, and how much of what follows.
const HEAD_BYTES: usize = 32;
/// A name, whether it is still a suspect, and how often. It divides a page, so a row is never torn.
const SUSPECT_BYTES: usize = 32;
/// How many names, and whether it is decided alone.
const SLOT_HEAD_BYTES: usize = 16;
/// Larger than any that is written.
const FILE_BYTES_MAX: u64 = 256 << 20;
const UNFINISHED: &str = "in-flight.unfinished";

impl Name {
    pub(super) fn new(bytes: [u8; NAME_BYTES]) -> Name {
        Name(bytes)
    }
}

impl Slots {
    /// Reads what a run left; nothing if there is no file.
    pub(super) fn read(path: &Path) -> io::Result<Left> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Left::default()),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        read_all(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is not as the engine writes it"))
    }

    /// Replaces the file by that of a new run, with its slots empty.
    pub(super) fn create(path: &Path, shards: usize, names_max: usize, suspects: &[Suspect]) -> io::Result<Slots> {
        let unfinished = path.with_file_name(UNFINISHED);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(&written(shards, names_max, suspects))?;
        fs::rename(&unfinished, path)?;
        Ok(Slots { file, suspects: suspects.len(), names_max })
    }

    /// Names what a shard decides from now on, no more than the slot has room for; nothing any more if there are none.
    pub(super) fn name(&self, shard: usize, alone: bool, names: &[Name]) -> io::Result<()> {
        let place = HEAD_BYTES + self.suspects * SUSPECT_BYTES + shard * slot_bytes(self.names_max);
        self.file.write_all_at(&slot(alone, names), place as u64)
    }

    /// Says what is known of the suspect in this place: how often, or that it is none any more.
    pub(super) fn suspect(&self, place: usize, name: Name, ends: Option<u32>) -> io::Result<()> {
        self.file.write_all_at(&suspect(name, ends), (HEAD_BYTES + place * SUSPECT_BYTES) as u64)
    }
}

fn slot_bytes(names_max: usize) -> usize {
    SLOT_HEAD_BYTES + names_max * NAME_BYTES
}

fn written(shards: usize, names_max: usize, suspects: &[Suspect]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for number in [FORMAT, suspects.len() as u32, shards as u32, names_max as u32] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for &(name, ends) in suspects {
        bytes.extend_from_slice(&suspect(name, Some(ends)));
    }
    bytes.resize(bytes.len() + shards * slot_bytes(names_max), 0);
    bytes
}

fn slot(alone: bool, names: &[Name]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SLOT_HEAD_BYTES + names.len() * NAME_BYTES);
    for number in [names.len() as u32, u32::from(alone), 0, 0] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend(names.iter().flat_map(|name| name.0));
    bytes
}

fn suspect(name: Name, ends: Option<u32>) -> [u8; SUSPECT_BYTES] {
    let mut bytes = [0; SUSPECT_BYTES];
    bytes[..NAME_BYTES].copy_from_slice(&name.0);
    bytes[16..20].copy_from_slice(&u32::from(ends.is_some()).to_le_bytes());
    bytes[20..24].copy_from_slice(&ends.unwrap_or_default().to_le_bytes());
    bytes
}

/// Reads a whole file; `None` if it is not as [`written`] and its changes leave it.
fn read_all(bytes: &[u8]) -> Option<Left> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let [format, suspects, shards, names_max] =
        [16, 20, 24, 28].map(|at| number(head, at).unwrap_or(u32::MAX) as usize);
    if !head.starts_with(MAGIC) || format != FORMAT as usize {
        return None;
    }
    let (suspects, slots) = rest.split_at_checked(suspects.checked_mul(SUSPECT_BYTES)?)?;
    let slot_bytes = slot_bytes(names_max);
    if Some(slots.len()) != shards.checked_mul(slot_bytes) {
        return None;
    }
    let mut left = Left::default();
    for row in suspects.chunks_exact(SUSPECT_BYTES) {
        match number(row, 16)? {
            0 => {}
            1 => left.suspects.push((Name(*row.first_chunk()?), number(row, 20)?)),
            _ => return None,
        }
    }
    for slot in slots.chunks_exact(slot_bytes) {
        let (names, alone) = (number(slot, 0)? as usize, number(slot, 4)?);
        if names > names_max || alone > 1 {
            return None;
        }
        let (names, _) = slot[SLOT_HEAD_BYTES..].split_at(names * NAME_BYTES);
        let names: Vec<Name> = names.as_chunks().0.iter().copied().map(Name).collect();
        if !names.is_empty() {
            left.slots.push(Slot { alone: alone == 1, names });
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

    const A: Name = Name([1; 16]);
    const B: Name = Name([2; 16]);
    const C: Name = Name([3; 16]);

    #[test]
    fn what_a_run_names_is_what_the_next_one_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in-flight");
        assert_eq!(Slots::read(&path).unwrap(), Left::default());
        let slots = Slots::create(&path, 3, 4, &[(A, 0), (B, 2)]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        slots.name(0, false, &[A, B, C, A]).unwrap();
        slots.name(0, false, &[]).unwrap();
        slots.name(1, true, &[B]).unwrap();
        slots.name(2, false, &[C, A]).unwrap();
        slots.suspect(0, A, None).unwrap();
        slots.suspect(1, B, Some(3)).unwrap();
        let [alone, others] = [(true, vec![B]), (false, vec![C, A])].map(|(alone, names)| Slot { alone, names });
        let left = Left { suspects: vec![(B, 3)], slots: vec![alone, others] };
        assert_eq!(Slots::read(&path).unwrap(), left);
    }

    #[test]
    fn a_file_that_is_not_as_it_is_written_is_refused_and_never_too_large_to_read() {
        let whole = written(2, 4, &[(A, 1)]);
        assert!(read_all(&whole).is_some());
        for cut in 0..whole.len() {
            assert_eq!(read_all(&whole[..cut]), None, "cut at {cut}");
        }
        for (at, byte) in [(0, b'H'), (16, 2), (20, 200), (23, 255), (24, 3), (28, 5), (48, 7), (64, 5), (68, 2)] {
            let mut other = whole.clone();
            other[at] = byte;
            assert_eq!(read_all(&other), None, "{byte} at {at}");
        }
    }
}
