//! The artifact cache: machine code from this engine's own compiler, in a directory that only this
//! user can write.
//!
//! The name of an artifact identifies its inputs (module, compiler, settings, machine). A checksum
//! covers the inputs and the artifact's bytes. A damaged, truncated or renamed artifact is compiled
//! again and never loaded.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use metrics::counter;
use tempfile::NamedTempFile;

use super::compile::ARTIFACT_BYTES_MAX;
use super::private_dir::PrivateDir;

const CHECKSUM_LEN: usize = blake3::OUT_LEN;
/// Maximum size of the cache in bytes; artifacts in use are kept even beyond it.
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
        Ok(ArtifactCache {
            directory: PrivateDir::open(path)?,
            compatibility,
            bytes_max: CACHE_BYTES_MAX,
        })
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

    /// The artifact of a module; `None` if it is missing or damaged.
    pub(super) fn read(&self, digest: &str) -> Option<Vec<u8>> {
        let name = self.name(digest);
        let mut bytes = match self.directory.read(&name, CHECKSUM_LEN + ARTIFACT_BYTES_MAX as usize)
        {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::warn!(
                    name, %error, "cannot read an artifact; its module is compiled again"
                );
                return self.damaged(&name);
            }
        };
        let artifact = bytes.split_off(CHECKSUM_LEN.min(bytes.len()));
        if bytes != self.checksum(digest, &artifact) {
            tracing::warn!(name, "an artifact is damaged; its module is compiled again");
            return self.damaged(&name);
        }
        counter!("hailer_artifacts_total", "result" => "cached").increment(1);
        Some(artifact)
    }

    /// Stores an artifact. A failure is only logged: the next start compiles the module again.
    pub(super) fn keep(&self, digest: &str, artifact: &[u8]) {
        counter!("hailer_artifacts_total", "result" => "compiled").increment(1);
        let checksum = self.checksum(digest, artifact);
        if let Err(error) = self.directory.write(&self.name(digest), &[&checksum, artifact]) {
            tracing::warn!(digest, %error, "cannot store an artifact; the next start compiles its \
                module again");
        }
    }

    /// Removes the oldest artifacts until the cache is within its limit; artifacts of `active`
    /// module digests stay.
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
        // The first two parts have a fixed length, so the parts cannot be confused.
        hasher.update(self.compatibility.as_bytes()).update(digest.as_bytes()).update(artifact);
        hasher.finalize().into()
    }
}
