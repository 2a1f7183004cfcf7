//! Which store this is: one row that every later format has to keep where it is, so that each version of hailer can at least
//! refuse another's store by its number.

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StoreError;

/// The row's key in `Meta`. No commit may change it.
pub(super) const IDENTITY_KEY: &[u8] = b"store";

/// The key in `Meta` of what says that the tables are not whole without the log; a store that was closed has no such row.
pub(super) const LOG_KEY: &[u8] = b"log";

/// What this version writes. Since 2 a store that was not closed may have commits in its log; since 4 a key of the trail has a period,
/// and since 6 a key of what was seen.
pub(super) const FORMAT: u32 = 6;
/// What a store is while it is brought to this version's: older versions must leave it alone, and no version may use it as it is. So it is more than any
/// older format, and less than this one.
pub(super) const ON_THE_WAY: u32 = 5;
/// What a store is that an older version was bringing to its own.
pub(super) const ON_THE_WAY_TO_4: u32 = 3;
const OLDEST_FORMAT: u32 = 1;

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

    /// The same store, with the number of another format.
    pub(super) fn of_format(&self, format: u32) -> Identity {
        Identity { format, ..self.clone() }
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
        if format < OLDEST_FORMAT {
            return Err(StoreError::Older { file: file.to_owned(), found: format, oldest: OLDEST_FORMAT });
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}
