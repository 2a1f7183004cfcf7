//! The identity of a store: one row with its format, environment and id. Every later format must
//! keep this row in its place. Then each version of hailer can refuse the store of another version
//! by its format number.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::StoreError;
use super::log::Nonce;

/// The key of the identity row in `Meta`. No commit may change this row.
pub(super) const IDENTITY_KEY: &[u8] = b"store";

/// The store format that this version writes, and the only one that it reads.
pub(super) const FORMAT: u32 = 10;

/// The identity of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    pub format: u32,
    pub environment: String,
    /// 32 random hexadecimal digits, made with the store. A backup has the id of its original.
    pub id: String,
    pub created_at: Timestamp,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Identity {
    /// Makes the identity of a new store from random bytes.
    pub(super) fn new(environment: &str, unique: [u8; 16]) -> Identity {
        Identity {
            format: FORMAT,
            environment: environment.to_owned(),
            id: hex::encode(unique),
            created_at: Timestamp::now(),
        }
    }

    /// Whether the id has the form that [`Self::new`] makes.
    pub(super) fn has_id(&self) -> bool {
        self.id.len() == 32 && self.id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// The nonce of the log that belongs to this store.
    pub(super) fn nonce(&self) -> Nonce {
        xxh3_64(self.id.as_bytes())
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings are always json")
    }

    /// Reads the identity row of `file`. The format is checked before any other member.
    pub(super) fn read(bytes: &[u8], file: &Path) -> Result<Identity, StoreError> {
        let damaged = |error| StoreError::Damaged {
            file: file.to_owned(),
            reason: format!("its identity row cannot be read: {error}"),
        };
        let FormatOnly { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format != FORMAT {
            let file = file.to_owned();
            return Err(StoreError::OtherFormat { file, found: format, known: FORMAT });
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}
