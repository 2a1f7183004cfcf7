//! Files that hold a secret and can be read by other users of the machine. The engine warns about
//! them and does not refuse them, because an operator may not be able to choose the mode of a
//! mounted secret.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Loaded, Origin};
use crate::address::redacted;

const OF_OTHERS: u32 = 0o006;

/// A file with a secret that every user of the machine can read or write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// The setting that names the file, or that the file contains.
    pub setting: &'static str,
    pub path: PathBuf,
    pub mode: u32,
}

impl Loaded {
    /// The files with a secret that every user can read or write.
    #[must_use]
    pub fn exposed(&self) -> Vec<Exposed> {
        let rabbitmq = &self.config.rabbitmq;
        let named = [
            ("rabbitmq.password_file", &rabbitmq.password_file),
            ("rabbitmq.key_file", &rabbitmq.key_file),
        ];
        let mut files: Vec<(&'static str, PathBuf)> = named
            .into_iter()
            .filter_map(|(setting, file)| Some((setting, file.clone()?)))
            .collect();
        for (setting, address) in [("source", &self.config.source), ("sink", &self.config.sink)] {
            if let Origin::File { path, .. } = self.origin(setting)
                && redacted(address) != *address
            {
                files.push((setting, path));
            }
        }
        files.into_iter().filter_map(|(setting, path)| exposed(setting, &path)).collect()
    }
}

/// Checks the target of a link. A file that cannot be checked is reported by another check.
fn exposed(setting: &'static str, path: &Path) -> Option<Exposed> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & OF_OTHERS != 0).then(|| Exposed { setting, path: path.to_owned(), mode })
}

impl Exposed {
    #[must_use]
    pub fn reason(&self) -> String {
        format!(
            "`{}` holds a secret, and every user of this machine can open it (mode {:o})",
            self.path.display(),
            self.mode
        )
    }

    #[must_use]
    pub fn next_step(&self) -> String {
        format!(
            "chmod o= {}, and change the secret if another user may have read it",
            self.path.display()
        )
    }
}
