//! What was accepted, kept so that a restart runs it again whatever the directory holds then: the ledger of campaigns,
//! and the bytes of their files and modules, each under its digest.
//!
//! **A ledger or a file that is not byte for byte what was written is refused (G9).** The ledger is replaced as a
//! whole, after the bytes that it names are on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ReloadError;
use super::private_dir::PrivateDir;
use super::store_copy::StoreCopy;
use crate::clock::Millis;
use crate::engine::digest_of;
use crate::store::Store;

const LEDGER: &str = "active";
const LOCK: &str = "lock";
const FORMAT: u32 = 1;
const LEDGER_BYTES_MAX: usize = 16 << 20;
/// Longer than any file of the directory may be.
const KEPT_BYTES_MAX: usize = 256 << 20;

/// Everything that outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ledger {
    pub(super) format: u32,
    /// The number of the last rule set.
    pub(super) rule_set: u64,
    pub(super) campaigns: BTreeMap<String, KeptCampaign>,
    /// By name, and beyond a removal: putting a file back does not undo a pause.
    pub(super) paused: BTreeSet<String>,
    /// Paused by `pause --all`, and not by name: what `resume --all` lifts.
    #[serde(default)]
    pub(super) paused_by_all: BTreeSet<String>,
    /// The rules directory that the campaigns are of; `None` if that was not noted yet.
    #[serde(default)]
    pub(super) directory: Option<KeptDirectory>,
}

/// A rules directory, so that it is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptDirectory {
    /// As it was named, from the root.
    named: PathBuf,
    /// Where that leads.
    canonical: Option<PathBuf>,
}

impl KeptDirectory {
    pub(super) fn of(path: &Path) -> KeptDirectory {
        let named = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        KeptDirectory { canonical: std::fs::canonicalize(path).ok(), named }
    }

    /// Whether both are one place: under one name, whatever that leads to now (a link to the newest release), or under two.
    pub(super) fn is_same(&self, other: &KeptDirectory) -> bool {
        self.named == other.named || self.canonical.is_some() && self.canonical == other.canonical
    }
}

/// One campaign's versions, and what was decided about them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptCampaign {
    pub(super) version: Version,
    /// What ran before the module changed.
    pub(super) previous: Option<Version>,
    /// Rolled back: the module that is kept out.
    pub(super) refused_digest: Option<String>,
    /// Why the engine suspended this version.
    pub(super) suspended: Option<String>,
    /// The terms under which this version was tried and has passed.
    #[serde(default)]
    pub(super) tried: Option<String>,
    /// When this code with these parameters was accepted; `None` if that was before the engine noted it, or after a rollback.
    #[serde(default)]
    pub(super) swapped_ms: Option<Millis>,
    /// The last version with other code or parameters that ran well: what the engine goes back to by itself.
    #[serde(default)]
    pub(super) ran_well: Option<Version>,
    /// The version that the engine went back from by itself. It is kept out, with its parameters.
    #[serde(default)]
    pub(super) refused: Option<Version>,
    /// Why the engine went back from it.
    #[serde(default)]
    pub(super) rolled_back: Option<String>,
}

/// One accepted pair of a campaign's file and its module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    /// From the directory's root.
    pub(super) file: String,
    /// The campaign file's digest; `None` for a bare module.
    pub(super) text_digest: Option<String>,
    pub(super) module_path: String,
    pub(super) module_digest: String,
}

impl KeptCampaign {
    /// A version that has just been accepted, and nothing beside it.
    pub(super) fn of(version: Version, tried: Option<String>) -> KeptCampaign {
        KeptCampaign {
            version,
            previous: None,
            refused_digest: None,
            suspended: None,
            tried,
            swapped_ms: None,
            ran_well: None,
            refused: None,
            rolled_back: None,
        }
    }

    /// Whether a version is kept out by a rollback.
    pub(super) fn keeps_out(&self, version: &Version) -> bool {
        self.refused_digest.as_ref() == Some(&version.module_digest) || self.refused.as_ref() == Some(version)
    }

    /// The versions whose bytes are kept.
    fn versions(&self) -> impl Iterator<Item = &Version> {
        [Some(&self.version), self.previous.as_ref(), self.ran_well.as_ref()].into_iter().flatten()
    }
}

impl Ledger {
    pub(super) fn empty() -> Ledger {
        Ledger { format: FORMAT, ..Ledger::default() }
    }
}

/// The place where it is kept, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Kept {
    directory: PrivateDir,
    copy: Option<StoreCopy>,
    _lock: File,
}

impl Kept {
    /// Opens `rules` under the data directory, and reads the ledger. Where there is none, that of the store counts: it has been restored.
    pub(super) fn open(data: &Path, store: Option<Arc<dyn Store>>) -> Result<(Kept, Ledger), ReloadError> {
        let path = data.join("rules");
        let unusable = |error| ReloadError::Kept { path: path.clone(), error };
        let directory = PrivateDir::open(path.clone()).map_err(unusable)?;
        let lock = File::create(directory.file(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ReloadError::InUse { path: data.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let copy = store.as_ref().map(StoreCopy::open).transpose()?;
        let mut found = directory.read(LEDGER, LEDGER_BYTES_MAX).map_err(unusable)?;
        let restored = match (&found, &copy) {
            (None, Some(copy)) => copy.restore()?,
            _ => None,
        };
        let is_restored = restored.is_some();
        if let Some((ledger, files)) = restored {
            tracing::warn!(
                "nothing is kept in the data directory: the campaigns, pauses and rollbacks of the store's copy count"
            );
            for (digest, bytes) in &files {
                directory.write(digest, &[bytes]).map_err(unusable)?;
            }
            directory.write(LEDGER, &[&ledger]).map_err(unusable)?;
            found = Some(ledger);
        }
        let mut ledger = match found {
            None => Ledger::empty(),
            Some(bytes) => {
                read_ledger(&bytes).map_err(|reason| ReloadError::Damaged { path: directory.file(LEDGER), reason })?
            }
        };
        if is_restored {
            // Another host may have another path; its directory is held to the same rules.
            ledger.directory = None;
        }
        Ok((Kept { directory, copy, _lock: lock }, ledger))
    }

    /// Whether a ledger is kept under a data directory.
    pub(super) fn is_in(data: &Path) -> bool {
        data.join("rules").join(LEDGER).exists()
    }

    /// Writes the ledger and what it names for the first time, then forgets what it names no longer.
    pub(super) fn write<'bytes>(
        &mut self,
        ledger: &Ledger,
        new: impl IntoIterator<Item = (&'bytes str, &'bytes [u8])>,
    ) -> io::Result<()> {
        for (digest, bytes) in new {
            // Already there and whole: two campaigns may share a module.
            if self.read(digest).is_err() {
                self.directory.write(digest, &[bytes])?;
            }
        }
        let text = serde_json::to_vec(ledger)?;
        let checksum = digest_of(&text);
        let bytes = [checksum.as_bytes(), b"\n", &text].concat();
        // The file first: a disk without room must not take the store along.
        self.directory.write(LEDGER, &[&bytes])?;
        let named = named_in(ledger);
        if let Some(copy) = &mut self.copy {
            copy.write(&bytes, &named, &|digest| read(&self.directory, digest))?;
        }
        self.forget_unnamed(&named);
        Ok(())
    }

    /// Bytes kept under their digest.
    pub(super) fn read(&self, digest: &str) -> io::Result<Arc<[u8]>> {
        read(&self.directory, digest)
    }

    fn forget_unnamed(&self, named: &BTreeSet<&str>) {
        for name in self.directory.names().unwrap_or_default() {
            if name != LEDGER && name != LOCK && !named.contains(&*name) {
                self.directory.remove(&name);
            }
        }
    }
}

/// The digests of everything that a ledger needs.
fn named_in(ledger: &Ledger) -> BTreeSet<&str> {
    let versions = ledger.campaigns.values().flat_map(KeptCampaign::versions);
    let digests = versions.flat_map(|version| [Some(&version.module_digest), version.text_digest.as_ref()]);
    digests.flatten().map(String::as_str).collect()
}

fn read(directory: &PrivateDir, digest: &str) -> io::Result<Arc<[u8]>> {
    let bytes = directory.read(digest, KEPT_BYTES_MAX)?;
    let bytes = bytes.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is missing"))?;
    if *digest_of(&bytes) != *digest {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged"));
    }
    Ok(bytes.into())
}

fn read_ledger(bytes: &[u8]) -> Result<Ledger, String> {
    let split = bytes.iter().position(|&byte| byte == b'\n').ok_or("it has no checksum")?;
    let (checksum, text) = (&bytes[..split], &bytes[split + 1..]);
    if digest_of(text).as_bytes() != checksum {
        return Err("its checksum does not fit".into());
    }
    let ledger: Ledger = serde_json::from_slice(text).map_err(|error| format!("it can't be read: {error}"))?;
    if ledger.format != FORMAT {
        return Err(format!("it is of format {}, this version of hailer writes {FORMAT}", ledger.format));
    }
    Ok(ledger)
}
