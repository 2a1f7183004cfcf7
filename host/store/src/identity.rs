//! Which store this is: one row that every later format has to keep where it is, so that each version of hailer can at least
//! refuse another's store by its number.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::StoreError;
use super::log::Nonce;

/// The row's key in `Meta`. No commit may change it.
pub(super) const IDENTITY_KEY: &[u8] = b"store";

/// What this version writes, and the only format that it reads. Up to 6 the tables were in a file of another kind; with 7 no value was compressed.
pub(super) const FORMAT: u32 = 8;
/// The rows of formats from this one on say the same, so the export of a store of one is imported into a store of another.
pub(super) const ROWS_SINCE: u32 = 7;

/// What tells a store from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub format: u32,
    pub environment: String,
    /// Made up when the store was; a backup has its original's.
    pub id: String,
    pub created_at: Timestamp,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Identity {
    /// Of a store that is being made, from bytes that nobody had before.
    pub(super) fn new(environment: &str, unique: [u8; 16]) -> Identity {
        let id = unique.iter().map(|byte| format!("{byte:02x}")).collect();
        Identity { format: FORMAT, environment: environment.to_owned(), id, created_at: Timestamp::now() }
    }

    /// Whether its id is one that [`Self::new`] makes.
    pub(super) fn has_id(&self) -> bool {
        self.id.len() == 32 && self.id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// Which log belongs to it.
    pub(super) fn nonce(&self) -> Nonce {
        xxh3_64(self.id.as_bytes())
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings are always json")
    }

    /// Reads the row of a file. A format that is not ours is told before anything else in it is looked at.
    pub(super) fn read(bytes: &[u8], file: &Path) -> Result<Identity, StoreError> {
        let damaged = |error| StoreError::Damaged {
            file: file.to_owned(),
            reason: format!("the row that says which store it is can't be read: {error}"),
        };
        let FormatOnly { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format > FORMAT {
            return Err(StoreError::Newer { file: file.to_owned(), found: format, known: FORMAT });
        }
        if format < FORMAT {
            return Err(StoreError::OfOlderVersion { file: file.to_owned() });
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}
