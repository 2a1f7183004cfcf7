//! What a crate is built from, and whether it has changed: by looking, as saves are rare, files few, and every file system tells a file's time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::is_source;

/// More files than this are no rule.
const FILES_MAX: usize = 10_000;

/// By path, when it was written and how long it is.
type Seen = BTreeMap<PathBuf, (SystemTime, u64)>;

#[derive(Debug)]
pub(super) struct Sources {
    root: PathBuf,
    seen: Seen,
}

impl Sources {
    pub(super) fn of(root: &Path) -> Sources {
        Sources { root: root.to_owned(), seen: look(root) }
    }

    /// Whether anything is different from the last time.
    pub(super) fn have_changed(&mut self) -> bool {
        let now = look(&self.root);
        let changed = now != self.seen;
        self.seen = now;
        changed
    }
}

fn look(root: &Path) -> Seen {
    let mut seen = Seen::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        // What can't be read now is looked at again soon.
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let Ok(metadata) = entry.metadata() else { continue };
            let is_built_or_hidden = name == "target" || name.to_string_lossy().starts_with('.');
            if metadata.is_dir() && !is_built_or_hidden {
                directories.push(path);
            } else if metadata.is_file() && is_source(&path) && seen.len() < FILES_MAX {
                seen.insert(path, (metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len()));
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_a_new_file_and_a_removal_are_changes_and_what_a_build_writes_is_none() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("src/lib.rs", "one");
        let mut sources = Sources::of(root.path());
        assert!(!sources.have_changed());
        write("src/lib.rs", "one and more");
        assert!(sources.have_changed() && !sources.have_changed());
        write("scenarios.toml", "");
        assert!(sources.have_changed());
        write("target/debug/build.rs", "");
        write(".hailer-sdk/lib.rs", "");
        write("notes.txt", "");
        assert!(!sources.have_changed());
        std::fs::remove_file(root.path().join("scenarios.toml")).unwrap();
        assert!(sources.have_changed());
    }
}
