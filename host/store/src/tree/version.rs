//! The check of the list of tables, which lsm-tree does not make when it opens a tree.
//!
//! The file `current` names the list (`v` and its number) and has its checksum, which lsm-tree
//! ignores. One flipped bit in the list could remove tables from it without an error, and lsm-tree
//! would then delete their files.

use std::fs;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use crate::StoreError;

/// The file that names the list of tables.
pub(super) const CURRENT: &str = "current";
/// The length of `current`: a number, a checksum, and the kind of the checksum.
const CURRENT_BYTES: usize = 8 + 16 + 1;

/// Checks the list of a tree's tables.
pub(super) fn check_version(tree: &Path) -> Result<(), StoreError> {
    let current = tree.join(CURRENT);
    let damaged =
        |reason: &str| StoreError::Damaged { file: current.clone(), reason: reason.to_owned() };
    let bytes = read(&current)?;
    let bytes: [u8; CURRENT_BYTES] =
        bytes.try_into().map_err(|_| damaged("it has a wrong length"))?;
    let (number, rest) = bytes.split_first_chunk::<8>().expect("it has more bytes");
    let (sum, kind) = rest.split_first_chunk::<16>().expect("it has more bytes");
    if *kind != [0] {
        return Err(damaged("its checksum has an unknown kind"));
    }
    let list = tree.join(format!("v{}", u64::from_le_bytes(*number)));
    if xxh3_128(&read(&list)?) != u128::from_le_bytes(*sum) {
        let reason = format!("its checksum does not match `{CURRENT}`; one of the two is damaged");
        return Err(StoreError::Damaged { file: list, reason });
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            StoreError::Damaged { file: path.to_owned(), reason: "it is missing".to_owned() }
        }
        _ => StoreError::Io { path: path.to_owned(), error },
    })
}
