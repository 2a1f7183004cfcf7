//! Keeps the accepted campaigns and policies, so that a restart runs them whatever the directory
//! contains then: the ledger, and the bytes of their files and modules, each under its digest.
//!
//! **A ledger or a file that is not byte for byte what was written is refused (G9).** The ledger is
//! replaced as a whole, after the bytes that it names are durable.

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
/// The format of a ledger with policies. An engine that does not know policies refuses it, because
/// it would send what they forbid.
const FORMAT_WITH_POLICIES: u32 = 2;
/// The ledger of as many campaigns as may be, with the longest names and paths, has half of this.
const LEDGER_BYTES_MAX: usize = 64 << 20;
/// Maximum size of a stored file; larger than the limit for any file of the rules directory.
const STORED_BYTES_MAX: usize = 256 << 20;

/// The state that survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ledger {
    pub(super) format: u32,
    /// The number of the last rule set.
    pub(super) rule_set: u64,
    pub(super) campaigns: BTreeMap<String, AcceptedCampaign>,
    /// The accepted policies; `None` if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) policies: Option<AcceptedPolicies>,
    /// Campaigns paused by name. The names outlive a removal: putting a file back does not end a
    /// pause.
    pub(super) paused: BTreeSet<String>,
    /// Campaigns paused by `pause --all` and not by name; `resume --all` lifts these.
    #[serde(default)]
    pub(super) paused_by_all: BTreeSet<String>,
    /// The rules directory of these campaigns; `None` in ledgers of older versions.
    #[serde(default)]
    pub(super) directory: Option<RulesDirectory>,
}

/// Identity of a rules directory across restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RulesDirectory {
    /// The configured path, made absolute.
    named: PathBuf,
    /// The path with symbolic links resolved; `None` if the directory did not exist.
    canonical: Option<PathBuf>,
}

impl RulesDirectory {
    pub(super) fn of(path: &Path) -> RulesDirectory {
        let named = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        RulesDirectory { canonical: std::fs::canonicalize(path).ok(), named }
    }

    /// Whether both are the same directory: either the names are equal, even if a link now points
    /// to a newer release, or both resolve to the same path.
    pub(super) fn is_same(&self, other: &RulesDirectory) -> bool {
        self.named == other.named || self.canonical.is_some() && self.canonical == other.canonical
    }
}

/// One campaign's accepted version, and the decisions about its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AcceptedCampaign {
    pub(super) version: Version,
    /// The version that ran before the module changed.
    pub(super) previous: Option<Version>,
    /// The digest of the module that a rollback refused; `None` without a rollback.
    pub(super) refused_digest: Option<String>,
    /// Why the breaker suspended this version; `None` if it is not suspended.
    pub(super) suspended: Option<String>,
    /// The `Stage::terms` under which this version passed its test; `None` if it has not been
    /// tested.
    #[serde(default)]
    pub(super) tried: Option<String>,
    /// Time at which this code with these parameters was accepted, in Unix milliseconds; `None`
    /// after a rollback, or if an older engine accepted it.
    #[serde(default)]
    pub(super) swapped_ms: Option<Millis>,
    /// The last version with other code or parameters that ran well; automatic rollback goes back
    /// to it.
    #[serde(default)]
    pub(super) ran_well: Option<Version>,
    /// The version that automatic rollback left. It is refused, together with its parameters.
    #[serde(default)]
    pub(super) refused: Option<Version>,
    /// The reason of the automatic rollback.
    #[serde(default)]
    pub(super) rolled_back: Option<String>,
}

/// An accepted file `policies.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AcceptedPolicies {
    /// The file's digest, under which its bytes are stored.
    pub(super) digest: String,
}

/// An accepted pair of a campaign file and a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    /// Path of the campaign file or bare module, relative to the rules directory.
    pub(super) file: String,
    /// The campaign file's digest; `None` for a bare module.
    pub(super) text_digest: Option<String>,
    pub(super) module_path: String,
    pub(super) module_digest: String,
}

impl AcceptedCampaign {
    /// A version that has just been accepted, without a history.
    pub(super) fn of(version: Version, tried: Option<String>) -> AcceptedCampaign {
        AcceptedCampaign {
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

    /// Whether a rollback refuses this version.
    pub(super) fn refuses(&self, version: &Version) -> bool {
        self.refused_digest.as_ref() == Some(&version.module_digest)
            || self.refused.as_ref() == Some(version)
    }

    /// The versions whose bytes are stored.
    fn versions(&self) -> impl Iterator<Item = &Version> {
        [Some(&self.version), self.previous.as_ref(), self.ran_well.as_ref()].into_iter().flatten()
    }
}

impl Ledger {
    pub(super) fn empty() -> Ledger {
        Ledger { format: FORMAT, ..Ledger::default() }
    }

    /// The format in which the ledger is written.
    pub(super) fn format(&self) -> u32 {
        if self.policies.is_some() { FORMAT_WITH_POLICIES } else { FORMAT }
    }
}

/// The ledger's directory, locked as long as this value lives.
#[derive(Debug)]
pub(super) struct LedgerFiles {
    directory: PrivateDir,
    copy: Option<StoreCopy>,
    _lock: File,
}

impl LedgerFiles {
    /// Opens `rules` under the data directory and reads the ledger. If there is none, reads the
    /// copy in the store, because the store was restored from a backup.
    pub(super) fn open(
        data: &Path,
        store: Option<Arc<dyn Store>>,
    ) -> Result<(LedgerFiles, Ledger), ReloadError> {
        let path = data.join("rules");
        let unusable = |error| ReloadError::Ledger { path: path.clone(), error };
        let directory = PrivateDir::open(path.clone()).map_err(unusable)?;
        let lock = File::create(directory.file(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ReloadError::InUse { path: data.to_owned() });
            }
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
                "the data directory has no ledger: the campaigns, pauses and rollbacks come from \
                 the copy in the store"
            );
            for (digest, bytes) in &files {
                directory.write(digest, &[bytes]).map_err(unusable)?;
            }
            directory.write(LEDGER, &[&ledger]).map_err(unusable)?;
            found = Some(ledger);
        }
        let mut ledger = match found {
            None => Ledger::empty(),
            Some(bytes) => read_ledger(&bytes)
                .map_err(|reason| ReloadError::Damaged { path: directory.file(LEDGER), reason })?,
        };
        if is_restored {
            // Another host may use another path; the directory is checked by the same rules.
            ledger.directory = None;
        }
        Ok((LedgerFiles { directory, copy, _lock: lock }, ledger))
    }

    /// Whether a data directory contains a ledger.
    pub(super) fn is_in(data: &Path) -> bool {
        data.join("rules").join(LEDGER).exists()
    }

    /// Writes the ledger, after the `new` bytes that it names, and then deletes files that it no
    /// longer names.
    pub(super) fn write<'bytes>(
        &mut self,
        ledger: &Ledger,
        new: impl IntoIterator<Item = (&'bytes str, &'bytes [u8])>,
    ) -> io::Result<()> {
        for (digest, bytes) in new {
            // The file may exist already, because campaigns can share a module.
            if self.read(digest).is_err() {
                self.directory.write(digest, &[bytes])?;
            }
        }
        let text = serde_json::to_vec(ledger)?;
        let checksum = digest_of(&text);
        let bytes = [checksum.as_bytes(), b"\n", &text].concat();
        // A larger one would be refused at the next start.
        if bytes.len() > LEDGER_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // The file comes first: a full disk must not affect the store.
        self.directory.write(LEDGER, &[&bytes])?;
        let named = named_in(ledger);
        if let Some(copy) = &mut self.copy {
            copy.write(&bytes, &named, &|digest| read(&self.directory, digest))?;
        }
        self.forget_unnamed(&named);
        Ok(())
    }

    /// Reads the bytes that are stored under a digest.
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

/// The digests of all files that a ledger names.
fn named_in(ledger: &Ledger) -> BTreeSet<&str> {
    let versions = ledger.campaigns.values().flat_map(AcceptedCampaign::versions);
    let digests =
        versions.flat_map(|version| [Some(&version.module_digest), version.text_digest.as_ref()]);
    let policies = ledger.policies.iter().map(|accepted| &accepted.digest);
    digests.flatten().chain(policies).map(String::as_str).collect()
}

fn read(directory: &PrivateDir, digest: &str) -> io::Result<Arc<[u8]>> {
    let bytes = directory.read(digest, STORED_BYTES_MAX)?;
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
        return Err("its checksum does not match".into());
    }
    let ledger: Ledger =
        serde_json::from_slice(text).map_err(|error| format!("cannot parse it: {error}"))?;
    if ![FORMAT, FORMAT_WITH_POLICIES].contains(&ledger.format) {
        return Err(format!(
            "it has format {}, and this version of hailer reads up to {FORMAT_WITH_POLICIES}",
            ledger.format
        ));
    }
    Ok(ledger)
}

#[cfg(test)]
mod tests {
    use super::super::directory::CAMPAIGNS_MAX;
    use super::*;

    /// A campaign with the longest texts that it may have.
    fn longest() -> AcceptedCampaign {
        let digest = || "f".repeat(64);
        let version = || Version {
            file: format!("{}.toml", "n".repeat(64)),
            text_digest: Some(digest()),
            module_path: "p".repeat(512),
            module_digest: digest(),
        };
        AcceptedCampaign {
            previous: Some(version()),
            refused_digest: Some(digest()),
            suspended: Some("s".repeat(512)),
            swapped_ms: Some(Millis::MAX),
            ran_well: Some(version()),
            refused: Some(version()),
            rolled_back: Some("r".repeat(512)),
            ..AcceptedCampaign::of(version(), Some(digest()))
        }
    }

    #[test]
    fn the_ledger_of_as_many_campaigns_as_may_be_is_read_again_and_a_larger_one_is_not_written() {
        let data = tempfile::tempdir().unwrap();
        let name = |number: usize| format!("{number:064}");
        let campaigns: BTreeMap<_, _> =
            (0..CAMPAIGNS_MAX).map(|number| (name(number), longest())).collect();
        let paused = campaigns.keys().cloned().collect();
        let mut ledger = Ledger { campaigns, paused, ..Ledger::empty() };
        let (mut files, _) = LedgerFiles::open(data.path(), None).unwrap();
        files.write(&ledger, []).unwrap();
        ledger.paused.insert("n".repeat(LEDGER_BYTES_MAX));
        let error = files.write(&ledger, []).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        drop(files);
        let (_, read) = LedgerFiles::open(data.path(), None).unwrap();
        assert_eq!((read.campaigns.len(), read.paused.len()), (CAMPAIGNS_MAX, CAMPAIGNS_MAX));
    }
}
