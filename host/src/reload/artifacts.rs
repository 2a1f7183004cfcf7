//! The artifact cache: machine code that this engine's own compiler made, in a directory that only we can write.
//!
//! An artifact is told by what it was made from (module, compiler, settings, machine) and carries a checksum over all
//! of that and its own bytes: a damaged, truncated or renamed one is compiled again, never loaded.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use metrics::counter;
use tempfile::NamedTempFile;

use super::compile::ARTIFACT_BYTES_MAX;
use super::private_dir::PrivateDir;

const CHECKSUM_LEN: usize = blake3::OUT_LEN;
/// The most that the cache keeps, in bytes, beside what is in use.
const CACHE_BYTES_MAX: u64 = 512 << 20;
const ENDING: &str = ".artifact";

/// Artifacts by the digest of their module.
#[derive(Debug)]
pub(super) struct ArtifactCache {
    directory: PrivateDir,
    /// A digest of everything that an artifact depends on besides its module.
    compatibility: String,
    bytes_max: u64,
}

impl ArtifactCache {
    pub(super) fn open(path: PathBuf, compatibility: &str) -> io::Result<ArtifactCache> {
        let compatibility = blake3::hash(compatibility.as_bytes()).to_hex()[..16].to_owned();
        Ok(ArtifactCache { directory: PrivateDir::open(path)?, compatibility, bytes_max: CACHE_BYTES_MAX })
    }

    #[cfg(test)]
    pub(super) fn set_bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn unfinished(&self) -> io::Result<NamedTempFile> {
        self.directory.unfinished()
    }

    /// The artifact of a module, if it is there and whole.
    pub(super) fn read(&self, digest: &str) -> Option<Vec<u8>> {
        let name = self.name(digest);
        let mut bytes = match self.directory.read(&name, CHECKSUM_LEN + ARTIFACT_BYTES_MAX as usize) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::warn!(name, %error, "an artifact can't be read and is compiled again");
                return self.damaged(&name);
            }
        };
        let artifact = bytes.split_off(CHECKSUM_LEN.min(bytes.len()));
        if bytes != self.checksum(digest, &artifact) {
            tracing::warn!(name, "an artifact is damaged and is compiled again");
            return self.damaged(&name);
        }
        counter!("hailer_artifacts_total", "result" => "cached").increment(1);
        Some(artifact)
    }

    /// Keeps an artifact for the next time; without it that takes longer, and no more.
    pub(super) fn keep(&self, digest: &str, artifact: &[u8]) {
        counter!("hailer_artifacts_total", "result" => "compiled").increment(1);
        let checksum = self.checksum(digest, artifact);
        if let Err(error) = self.directory.write(&self.name(digest), &[&checksum, artifact]) {
            tracing::warn!(digest, %error, "an artifact can't be kept; the module is compiled again next time");
        }
    }

    /// Removes the oldest artifacts until the cache keeps to its bound; those of `active` digests stay.
    pub(super) fn retain(&self, active: &BTreeSet<&str>) {
        let in_use: BTreeSet<String> = active.iter().map(|digest| self.name(digest)).collect();
        let mut idle: Vec<(SystemTime, u64, String)> = Vec::new();
        let mut total: u64 = 0;
        for name in self.directory.names().unwrap_or_default() {
            let Ok(found) = std::fs::symlink_metadata(self.directory.file(&name)) else { continue };
            total += found.len();
            if name.ends_with(ENDING) && !in_use.contains(&name) {
                idle.push((found.modified().unwrap_or(SystemTime::UNIX_EPOCH), found.len(), name));
            }
        }
        idle.sort();
        for (_, size, name) in idle {
            if total <= self.bytes_max {
                break;
            }
            self.directory.remove(&name);
            total -= size;
        }
    }

    fn damaged(&self, name: &str) -> Option<Vec<u8>> {
        counter!("hailer_artifacts_total", "result" => "damaged").increment(1);
        self.directory.remove(name);
        None
    }

    fn name(&self, digest: &str) -> String {
        format!("{}-{digest}{ENDING}", self.compatibility)
    }

    fn checksum(&self, digest: &str, artifact: &[u8]) -> [u8; CHECKSUM_LEN] {
        let mut hasher = blake3::Hasher::new();
        // Lengths of the first two are fixed, so no part can pass for another.
        hasher.update(self.compatibility.as_bytes()).update(digest.as_bytes()).update(artifact);
        hasher.finalize().into()
    }
}
