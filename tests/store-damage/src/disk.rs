//! A simulated disk in memory. It knows which changes were synced, and loses the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::files;
use crate::rows::mix;

const PAGE_BYTES: usize = 4096;

/// The ways in which a loss of power treats changes that were not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// All unsynced changes are lost: a file has the content of its last sync, and a directory the
    /// entries of its last sync.
    Unsynced,
    /// Changes of names survive in their order up to a random one, as on a journaling file system.
    /// A random half of the unsynced pages survives, too.
    RandomPages,
    /// All changes of names survive, and no unsynced content. So a file that was written and
    /// renamed may be empty.
    NamesOnly,
}

/// A recorded change.
#[derive(Debug)]
pub(crate) enum Change {
    Create {
        id: u64,
        path: String,
    },
    Write {
        id: u64,
        at: u64,
        bytes: Vec<u8>,
    },
    Truncate {
        id: u64,
        bytes: u64,
    },
    Sync {
        id: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    MakeDirectory {
        path: String,
    },
    RemoveDirectory {
        path: String,
    },
    SyncDirectory {
        path: String,
    },
    /// A commit was begun, or acknowledged.
    Tried(u64),
    Acknowledged(u64),
}

/// A file: its synced content and its current content.
#[derive(Clone, Debug, Default)]
struct Content {
    synced: Vec<u8>,
    current: Vec<u8>,
    /// The range that was changed since the last sync; `None` if nothing was.
    dirty: Option<Range<usize>>,
}

impl Content {
    fn touch(&mut self, part: Range<usize>) {
        let dirty = self.dirty.get_or_insert(part.clone());
        *dirty = dirty.start.min(part.start)..dirty.end.max(part.end);
    }
}

/// A file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    File(u64),
    Directory,
}

type Names = BTreeMap<String, Entry>;

/// The files of a store, as of now and as of the last syncs.
#[derive(Default)]
pub(crate) struct Disk {
    contents: BTreeMap<u64, Content>,
    names: Names,
    /// The names as of the last sync of each directory.
    synced_names: Names,
    /// The names before each change of names that may be lost, oldest first.
    unsynced: Vec<Names>,
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Disk {
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Create { .. }
            | Change::Rename { .. }
            | Change::Unlink { .. }
            | Change::MakeDirectory { .. }
            | Change::RemoveDirectory { .. } => self.unsynced.push(self.names.clone()),
            _ => {}
        }
        match change {
            Change::Create { id, path } => {
                self.contents.insert(*id, Content::default());
                self.names.insert(path.clone(), Entry::File(*id));
            }
            Change::Write { id, at, bytes } => {
                let content = self.contents.entry(*id).or_default();
                let end = *at as usize + bytes.len();
                if content.current.len() < end {
                    content.current.resize(end, 0);
                }
                content.current[*at as usize..end].copy_from_slice(bytes);
                content.touch(*at as usize..end);
            }
            Change::Truncate { id, bytes } => {
                let content = self.contents.entry(*id).or_default();
                let (old, new) = (content.current.len(), *bytes as usize);
                content.current.resize(new, 0);
                content.touch(old.min(new)..new);
            }
            Change::Sync { id } => {
                let content = self.contents.entry(*id).or_default();
                if let Some(part) = content.dirty.take() {
                    content.synced.resize(content.current.len(), 0);
                    let part =
                        part.start.min(content.current.len())..part.end.min(content.current.len());
                    content.synced[part.clone()].copy_from_slice(&content.current[part]);
                }
            }
            Change::Rename { from, to } => {
                if let Some(entry) = self.names.remove(from) {
                    self.names.insert(to.clone(), entry);
                }
                // The entries of a directory move with it. Only a sync of its parent makes its own
                // name durable.
                move_below(&mut self.names, from, to);
                move_below(&mut self.synced_names, from, to);
            }
            Change::Unlink { path } | Change::RemoveDirectory { path } => {
                self.names.remove(path);
            }
            Change::MakeDirectory { path } => {
                self.names.insert(path.clone(), Entry::Directory);
            }
            Change::SyncDirectory { path } => {
                self.synced_names.retain(|name, _| parent(name) != path);
                let entries = self.names.iter().filter(|(name, _)| parent(name) == path);
                self.synced_names.extend(entries.map(|(name, entry)| (name.clone(), *entry)));
                self.unsynced.clear();
            }
            Change::Tried(_) | Change::Acknowledged(_) => {}
        }
    }

    /// Writes the files that are left after a loss of power.
    pub(crate) fn lose(&self, target: &Path, loss: Loss, seed: u64) -> io::Result<()> {
        let mut state = seed;
        let mut random = |below: usize| {
            state = mix(state);
            (state % below.max(1) as u64) as usize
        };
        let names = match loss {
            Loss::Unsynced => &self.synced_names,
            Loss::RandomPages => {
                self.unsynced.get(random(self.unsynced.len() + 1)).unwrap_or(&self.names)
            }
            Loss::NamesOnly => &self.names,
        };
        fs::create_dir_all(target)?;
        // A file whose directory is lost is lost as well.
        let mut directories = BTreeSet::from([String::new()]);
        for (name, entry) in names {
            if !directories.contains(parent(name)) {
                continue;
            }
            let path = target.join(name);
            let Entry::File(id) = entry else {
                directories.insert(name.clone());
                fs::create_dir_all(path)?;
                continue;
            };
            let Some(content) = self.contents.get(id) else { continue };
            let mut left = content.synced.clone();
            if matches!(loss, Loss::RandomPages) && content.dirty.is_some() {
                // The file has its synced or its current size. A lost page has its synced content,
                // or zeros.
                if random(2) == 0 {
                    left.resize(content.current.len(), 0);
                }
                let end = left.len().min(content.current.len());
                for at in (0..end).step_by(PAGE_BYTES) {
                    let page = at..(at + PAGE_BYTES).min(end);
                    if random(2) == 0 {
                        left[page.clone()].copy_from_slice(&content.current[page]);
                    }
                }
            }
            write_sparse(&path, &left)?;
        }
        Ok(())
    }

    /// Compares the names and contents with those of a directory.
    pub(crate) fn compare(&self, directory: &Path) -> io::Result<()> {
        let found = files::list(directory)?;
        let expected: BTreeMap<PathBuf, &Content> = self
            .names
            .iter()
            .filter_map(|(name, entry)| match entry {
                Entry::File(id) => Some((PathBuf::from(name), self.contents.get(id)?)),
                Entry::Directory => None,
            })
            .collect();
        let differs = |path: &PathBuf| match (expected.get(path), fs::read(directory.join(path))) {
            (Some(content), Ok(bytes)) => content.current != bytes,
            _ => true,
        };
        let all: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
        match all.into_iter().find(|path| differs(path)) {
            None => Ok(()),
            Some(path) => {
                Err(io::Error::other(format!("the recorder missed changes of {}", path.display())))
            }
        }
    }
}

fn move_below(names: &mut Names, from: &str, to: &str) {
    let below: Vec<_> = names
        .keys()
        .filter(|name| name.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')))
        .cloned()
        .collect();
    for name in below {
        if let Some(entry) = names.remove(&name) {
            names.insert(format!("{to}{}", &name[from.len()..]), entry);
        }
    }
}

fn write_sparse(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = File::create(path)?;
    file.set_len(bytes.len() as u64)?;
    for (number, page) in bytes.chunks(PAGE_BYTES).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, (number * PAGE_BYTES) as u64)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_of_a_directory_move_with_it() {
        let path = |path: &str| path.to_owned();
        let mut disk = Disk::default();
        for change in [
            Change::MakeDirectory { path: path("new") },
            Change::Create { id: 1, path: path("new/file") },
            Change::SyncDirectory { path: path("new") },
            Change::Create { id: 2, path: path("newer") },
            Change::Rename { from: path("new"), to: path("place") },
            Change::SyncDirectory { path: String::new() },
        ] {
            disk.apply(&change);
        }
        let expected = ["newer", "place", "place/file"];
        assert!(
            disk.names.keys().eq(expected) && disk.synced_names.keys().eq(expected),
            "{:?}",
            disk.synced_names
        );
    }

    #[test]
    fn unsynced_changes_are_lost() {
        let target =
            std::env::temp_dir().join(format!("store-damage-power-{}", std::process::id()));
        let path = |path: &str| path.to_owned();
        let mut disk = Disk::default();
        for change in [
            Change::MakeDirectory { path: path("tables") },
            Change::Create { id: 1, path: path("log") },
            Change::Write { id: 1, at: 0, bytes: b"first".to_vec() },
            Change::Sync { id: 1 },
            Change::SyncDirectory { path: String::new() },
            Change::Write { id: 1, at: 5, bytes: b"second".to_vec() },
            Change::Create { id: 2, path: path("tables/new") },
            Change::Write { id: 2, at: 0, bytes: b"table".to_vec() },
            Change::Sync { id: 2 },
            Change::Create { id: 3, path: path("other") },
        ] {
            disk.apply(&change);
        }
        let left = |loss| {
            disk.lose(&target, loss, 1).unwrap();
            let files = files::list(&target).unwrap();
            let left: Vec<_> = files
                .keys()
                .map(|file| (file.clone(), fs::read(target.join(file)).unwrap()))
                .collect();
            fs::remove_dir_all(&target).unwrap();
            left
        };
        // The new table is synced, but its name is not.
        assert_eq!(left(Loss::Unsynced), [("log".into(), b"first".to_vec())]);
        let named = [
            ("log".into(), b"first".to_vec()),
            ("other".into(), Vec::new()),
            ("tables/new".into(), b"table".to_vec()),
        ];
        assert_eq!(left(Loss::NamesOnly), named);
    }
}
