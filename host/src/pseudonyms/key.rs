//! The key of the pseudonyms: 32 random bytes in a file that only its owner can read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const KEY_BYTES: usize = 32;

/// A key; its `Debug` output does not show it.
pub struct Key([u8; KEY_BYTES]);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read the key `{}`: {source}; make one with --new-key \
        {}", path.display(), path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("other users can read the key `{}`: run `chmod 600 {}`; anyone with the key can undo \
        the pseudonyms", path.display(), path.display())]
    Open { path: PathBuf },
    #[error("`{}` is not a key: a key is 64 hexadecimal digits; make one with --new-key and \
        another name", path.display())]
    NoKey { path: PathBuf },
    #[error("cannot make the key `{}`: {source}; an existing key is never overwritten: use it \
        with --key", path.display())]
    NotMade { path: PathBuf, source: io::Error },
}

impl Key {
    /// Reads a key from a file.
    ///
    /// # Errors
    /// There is no key, or other users can read it.
    pub fn read(path: &Path) -> Result<Key, KeyError> {
        let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?;
        if found.is_file() && found.mode() & 0o077 != 0 {
            return Err(KeyError::Open { path: path.to_owned() });
        }
        let mut text = String::new();
        file.take(1 << 10).read_to_string(&mut text).map_err(unreadable)?;
        let key = blake3::Hash::from_hex(text.trim_start_matches('\u{feff}').trim())
            .map_err(|_| KeyError::NoKey { path: path.to_owned() })?;
        Ok(Key(*key.as_bytes()))
    }

    /// Creates a key in a new file.
    ///
    /// # Errors
    /// The file exists already, or cannot be written.
    pub fn make(path: &Path) -> Result<Key, KeyError> {
        let made = || -> io::Result<Key> {
            let mut bytes = [0; KEY_BYTES];
            File::open("/dev/urandom")?.read_exact(&mut bytes)?;
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            writeln!(file, "{}", blake3::Hash::from_bytes(bytes).to_hex())?;
            file.sync_all()?;
            Ok(Key(bytes))
        };
        made().map_err(|source| KeyError::NotMade { path: path.to_owned(), source })
    }

    /// Derives a key for one purpose.
    pub(super) fn of_purpose(&self, purpose: &str) -> [u8; KEY_BYTES] {
        blake3::derive_key(purpose, &self.0)
    }

    #[cfg(test)]
    pub(super) fn of_test(seed: u8) -> Key {
        Key([seed; KEY_BYTES])
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key")
    }
}
