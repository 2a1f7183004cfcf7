//! A small file with the number of the last acknowledged commit. It is written after every commit
//! and never synced. It survives the end of the process, but may be older after a loss of power.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

pub(crate) const NAME: &str = "hailer.end";

pub(crate) struct EndFile {
    file: File,
}

impl EndFile {
    pub(crate) fn open(directory: &Path) -> Result<EndFile, String> {
        let path = directory.join(NAME);
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        opened
            .map(|file| EndFile { file })
            .map_err(|error| format!("cannot open {}: {error}", path.display()))
    }

    pub(crate) fn write(&self, number: u64) -> Result<(), String> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..].copy_from_slice(&xxh3_64(&number.to_le_bytes()).to_le_bytes());
        self.file.write_all_at(&bytes, 0).map_err(|error| format!("cannot write {NAME}: {error}"))
    }
}

/// Reads the number of the last acknowledged commit; `None` if the file is missing or damaged.
pub(crate) fn read(directory: &Path) -> Option<u64> {
    let bytes = std::fs::read(directory.join(NAME)).ok()?;
    let (number, sum) = bytes.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    (*sum == xxh3_64(&number.to_le_bytes()).to_le_bytes()).then_some(number)
}
