//! The kinds of damage, and the plan that applies them to the files of a store.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::files;
use crate::rows::mix;

#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Truncate(u64),
    Flip { at: u64, bit: u8 },
    Zero { at: u64, bytes: usize },
    Delete,
    Older,
    Sibling(PathBuf),
    OlderDirectory,
}

/// One damage of one file.
pub(crate) struct Planned {
    pub(crate) file: PathBuf,
    /// The kind of the file.
    pub(crate) kind: &'static str,
    pub(crate) damage: Damage,
    pub(crate) place: String,
    /// Whether more commits are written if the damaged store is intact when read.
    pub(crate) goes_on: bool,
}

impl Damage {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Damage::Truncate(_) => "truncated",
            Damage::Flip { .. } => "bit flipped",
            Damage::Zero { .. } => "page zeroed",
            Damage::Delete => "deleted",
            Damage::Older => "older copy",
            Damage::Sibling(_) => "another file's content",
            Damage::OlderDirectory => "older directory",
        }
    }

    /// Damages a file. `older` is an older copy of it.
    pub(crate) fn apply(&self, path: &Path, older: &Path) -> io::Result<()> {
        let open = || File::options().read(true).write(true).open(path);
        match self {
            Damage::Truncate(bytes) => open()?.set_len(*bytes),
            Damage::Flip { at, bit } => {
                let file = open()?;
                let mut byte = [0];
                file.read_exact_at(&mut byte, *at)?;
                file.write_all_at(&[byte[0] ^ (1 << bit)], *at)
            }
            Damage::Zero { at, bytes } => open()?.write_all_at(&vec![0; *bytes], *at),
            Damage::Delete => fs::remove_file(path),
            Damage::Older => files::copy_file(older, path),
            Damage::Sibling(other) => files::copy_file(other, path),
            Damage::OlderDirectory => restore_directory(path, older),
        }
    }

    /// Restores the undamaged file or directory. Other files of a directory stay.
    pub(crate) fn undo(&self, path: &Path, undamaged: &Path) -> io::Result<()> {
        match self {
            Damage::OlderDirectory => restore_directory(path, undamaged),
            _ => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                files::copy_file(undamaged, path)
            }
        }
    }
}

/// Replaces the files of a directory by their older copies, except the end file. With that file,
/// the result would be a complete older store, which cannot be distinguished from a backup.
fn restore_directory(path: &Path, older: &Path) -> io::Result<()> {
    let is_end = |file: &PathBuf| files::kind(file) == "end file";
    for file in files::list(path)?.keys().filter(|file| !is_end(file)) {
        fs::remove_file(path.join(file))?;
    }
    for file in files::list(older)?.keys().filter(|file| !is_end(file)) {
        if let Some(parent) = path.join(file).parent() {
            fs::create_dir_all(parent)?;
        }
        files::copy_file(&older.join(file), &path.join(file))?;
    }
    Ok(())
}

/// Plans `count` damages of the files of `directory`, taking turns between all kinds of damage and
/// of files. `older` has the same store some commits earlier. With `only_logs`, only logs and end
/// files are damaged.
pub(crate) fn plan(
    directory: &Path,
    older: &Path,
    seed: u64,
    count: usize,
    only_logs: bool,
) -> io::Result<Vec<Planned>> {
    let (listed, unused) = (files::list(directory)?, files::unused(directory)?);
    let mut planner = Planner { groups: BTreeMap::new(), state: seed };
    let is_wanted = |file: &&PathBuf| !only_logs || matches!(files::kind(file), "log" | "end file");
    for file in listed.keys().filter(is_wanted).filter(|file| !unused.contains(*file)) {
        let path = directory.join(file);
        let content = fs::read(&path)?;
        planner.truncate(file, &path, &content);
        planner.change(file, &path, &content);
        planner.add(file, Damage::Delete, String::new());
        if fs::read(older.join(file)).is_ok_and(|older| older != content) {
            planner.add(file, Damage::Older, String::new());
        }
        let is_sibling = |other: &&PathBuf| {
            other.parent() == file.parent() && files::kind(other) == files::kind(file)
        };
        if let Some(sibling) = listed.keys().filter(|other| *other > file).find(is_sibling) {
            let place = format!("has the content of {}", sibling.display());
            planner.add(file, Damage::Sibling(directory.join(sibling)), place);
        }
    }
    let directories: BTreeSet<_> =
        listed.keys().flat_map(|file| file.ancestors().skip(1)).collect();
    for directory in directories.into_iter().filter(|directory| older.join(directory).is_dir()) {
        planner.add(directory, Damage::OlderDirectory, String::new());
    }
    Ok(planner.take(count))
}

/// The possible damages, by the kinds of files and of damage.
struct Planner {
    groups: BTreeMap<(&'static str, &'static str), Vec<Planned>>,
    state: u64,
}

impl Planner {
    fn random(&mut self, below: u64) -> u64 {
        self.state = mix(self.state);
        self.state % below.max(1)
    }

    fn add(&mut self, file: &Path, damage: Damage, place: String) {
        let kind =
            if matches!(damage, Damage::OlderDirectory) { "directory" } else { files::kind(file) };
        let group = self.groups.entry((kind, damage.name())).or_default();
        let goes_on = group.len().is_multiple_of(3);
        group.push(Planned { file: file.to_owned(), kind, damage, place, goes_on });
    }

    /// Plans truncations: to nothing, a few bytes, half, and one byte less, and at the borders of
    /// parts and of some blocks.
    fn truncate(&mut self, file: &Path, path: &Path, content: &[u8]) {
        let bytes = content.len() as u64;
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let mut lengths = BTreeSet::from([0, 1, 10, used / 2]);
        lengths.extend([used.saturating_sub(1), used.saturating_sub(16), bytes.saturating_sub(1)]);
        lengths.extend(files::parts(path, content).iter().map(|(_, part)| part.start as u64));
        for _ in 0..3 {
            lengths.insert(self.random(used / 4096 + 1) * 4096);
        }
        for length in lengths.into_iter().filter(|length| *length < bytes) {
            self.add(file, Damage::Truncate(length), format!("to {length} of {bytes} bytes"));
        }
    }

    /// Plans flipped bits and zeroed pages in every part, and a flipped bit in every byte of a
    /// small part.
    fn change(&mut self, file: &Path, path: &Path, content: &[u8]) {
        let bytes = content.len() as u64;
        for (name, part) in files::parts(path, content) {
            let (start, length) = (part.start as u64, (part.end - part.start) as u64);
            for flip in 0..if length <= 64 { length } else { 8 } {
                let at = start + if length <= 64 { flip } else { self.random(length) };
                let bit = self.random(8) as u8;
                self.add(
                    file,
                    Damage::Flip { at, bit },
                    format!("at byte {at} of {bytes}, part {name}"),
                );
            }
            for unit in [4096, 512] {
                let at = (start + self.random(length)) / unit * unit;
                let zeroed = unit.min(bytes - at) as usize;
                if content[at as usize..at as usize + zeroed].iter().any(|byte| *byte != 0) {
                    let place = format!("{zeroed} bytes at byte {at} of {bytes}, part {name}");
                    self.add(file, Damage::Zero { at, bytes: zeroed }, place);
                }
            }
        }
    }

    fn take(mut self, count: usize) -> Vec<Planned> {
        let mut groups = std::mem::take(&mut self.groups);
        let mut planned = Vec::new();
        while planned.len() < count && !groups.is_empty() {
            for group in groups.values_mut() {
                let at = self.random(group.len() as u64) as usize;
                planned.push(group.swap_remove(at));
            }
            groups.retain(|_, group| !group.is_empty());
        }
        planned
    }
}
