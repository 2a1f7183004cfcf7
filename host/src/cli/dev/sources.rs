//! The files that a crate is built from, watched for changes by notices of the operating system.
//!
//! Only directories with sources are watched: a recursive watch would include the target
//! directory, where a build writes thousands of files. Editors save in several steps (write a
//! temporary file, rename it over the source), so a change counts once no notice has come for
//! [`QUIET`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// Time without a notice after which a save is complete.
const QUIET: Duration = Duration::from_millis(50);
/// The largest number of directories that are watched. A crate with more of them is no rule.
const DIRECTORIES_MAX: usize = 1000;

/// The watched sources of a crate.
#[derive(Debug)]
pub(super) struct Sources {
    root: PathBuf,
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    notices: Receiver<Notice>,
    changed: Changed,
}

/// The changes that have not been reported yet.
#[derive(Debug, Default)]
struct Changed {
    /// When the last notice of a change came; `None` if there was no change.
    last_at: Option<Instant>,
    files: BTreeSet<PathBuf>,
}

/// A notice, and when it came.
type Notice = (Instant, notify::Result<Event>);

impl Sources {
    /// Watches the sources of the crate in a directory.
    ///
    /// # Errors
    /// When the operating system refuses to watch it.
    pub(super) fn watch(directory: &Path) -> anyhow::Result<Sources> {
        let failed = || format!("cannot watch {}", directory.display());
        let root = directory.canonicalize().with_context(failed)?;
        let (sender, notices) = channel();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.as_ref().map_or(true, |event| is_change(event.kind)) {
                // Fails when the command ends; then the notice is not needed.
                let _ = sender.send((Instant::now(), event));
            }
        })
        .with_context(failed)?;
        let mut sources = Sources {
            root,
            watcher,
            watched: BTreeSet::new(),
            notices,
            changed: Changed::default(),
        };
        sources.watch_directories().with_context(failed)?;
        Ok(sources)
    }

    /// The sources that have changed since the last result; `None` if none has, or if a save may
    /// still be going on. The set is empty if the names of the files are not known.
    pub(super) fn changes(&mut self) -> anyhow::Result<Option<BTreeSet<PathBuf>>> {
        while let Ok(notice) = self.notices.try_recv() {
            self.note(notice)?;
        }
        match self.changed.last_at {
            Some(last_at) if last_at.elapsed() >= QUIET => {
                Ok(Some(std::mem::take(&mut self.changed).files))
            }
            _ => Ok(None),
        }
    }

    fn note(&mut self, (at, notice): Notice) -> anyhow::Result<()> {
        let (mut files, has_lost_notices) = match notice {
            Ok(event) if !event.need_rescan() => {
                if let EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) = event.kind {
                    self.forget(&event.paths);
                }
                (event.paths, false)
            }
            _ => (Vec::new(), true),
        };
        // Files may have been written into a new directory before it was watched.
        let has_new_directories = self.watch_directories().context("cannot watch the sources")?;
        files.retain(|path| is_source(path));
        if has_lost_notices || has_new_directories || !files.is_empty() {
            self.changed.last_at = Some(at);
            self.changed.files.extend(files);
        }
        Ok(())
    }

    /// Ends the watches on directories that were removed or renamed, because other directories may
    /// get their names.
    fn forget(&mut self, gone: &[PathBuf]) {
        let is_gone = |directory: &PathBuf| gone.iter().any(|path| directory.starts_with(path));
        for directory in self.watched.extract_if(.., is_gone) {
            // Fails if the operating system has ended the watch already.
            let _ = self.watcher.unwatch(&directory);
        }
    }

    /// Watches the directories that are not watched yet, and says whether there was one.
    fn watch_directories(&mut self) -> anyhow::Result<bool> {
        let mut is_new = false;
        for directory in directories(&self.root) {
            if self.watched.contains(&directory) {
                continue;
            }
            match self.watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => is_new |= self.watched.insert(directory),
                // The directory was removed after it was found.
                Err(_) if !directory.exists() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(is_new)
    }
}

/// The directories of a crate that can hold sources: neither hidden ones nor the target directory.
fn directories(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_left_out = name == "target" || name.to_string_lossy().starts_with('.');
            // A link is not followed.
            if !is_left_out && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
        }
        if found.len() < DIRECTORIES_MAX {
            found.insert(directory);
        }
    }
    found
}

/// Whether an event can be a change. A build reads the sources, and must not be a reason to build
/// them again; the end of a write is one.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Whether a build reads this file. Hidden files are an editor's.
fn is_source(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !is_hidden && path.extension().is_some_and(|ending| ending == "rs" || ending == "toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than a notice takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Does something until a change of this file is noticed; returns every file that was noticed.
    fn noticed_by(
        sources: &mut Sources,
        file: &str,
        mut change: impl FnMut(),
    ) -> BTreeSet<PathBuf> {
        let (mut noticed, file) = (BTreeSet::new(), sources.root.join(file));
        let began = Instant::now();
        while !noticed.contains(&file) {
            assert!(began.elapsed() < PATIENCE, "no change of {} was noticed", file.display());
            change();
            std::thread::sleep(2 * QUIET);
            noticed.extend(sources.changes().unwrap().into_iter().flatten());
        }
        noticed
    }

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn once(change: impl FnOnce()) -> impl FnMut() {
        let mut change = Some(change);
        move || {
            if let Some(change) = change.take() {
                change();
            }
        }
    }

    #[test]
    fn a_save_a_new_file_a_rename_and_a_removal_are_changes() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for file in ["src/lib.rs", "src/renamed.rs", "src/removed.rs"] {
            write(root, file, "");
        }
        let mut sources = Sources::watch(root).unwrap();
        assert_eq!(sources.changes().unwrap(), None);
        noticed_by(&mut sources, "src/lib.rs", once(|| write(root, "src/lib.rs", "saved")));
        noticed_by(&mut sources, "scenarios.toml", once(|| write(root, "scenarios.toml", "")));
        // Many editors save this way.
        let rename = once(|| {
            write(root, "src/.renamed.rs.swp", "saved");
            let (from, to) = (root.join("src/.renamed.rs.swp"), root.join("src/renamed.rs"));
            std::fs::rename(from, to).unwrap();
        });
        noticed_by(&mut sources, "src/renamed.rs", rename);
        let remove = once(|| std::fs::remove_file(root.join("src/removed.rs")).unwrap());
        noticed_by(&mut sources, "src/removed.rs", remove);
    }

    #[test]
    fn a_directory_that_is_made_or_replaced_later_is_watched_too() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write(root, "src/lib.rs", "");
        let mut sources = Sources::watch(root).unwrap();
        for file in ["src/parts/made.rs", "src/parts/removed.rs", "src/parts/renamed.rs"] {
            noticed_by(&mut sources, file, || write(root, file, "saved"));
            match file {
                "src/parts/made.rs" => std::fs::remove_dir_all(root.join("src/parts")).unwrap(),
                _ => std::fs::rename(root.join("src/parts"), root.join("notes")).unwrap_or(()),
            }
        }
    }

    #[test]
    fn files_that_a_build_writes_and_other_files_are_no_changes() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for file in ["src/lib.rs", "target/debug/build.rs", ".hailer-sdk/lib.rs"] {
            write(root, file, "");
        }
        let mut sources = Sources::watch(root).unwrap();
        let change = once(|| {
            for file in ["target/debug/build.rs", "target/a/b.rs", ".hailer-sdk/lib.rs", "notes"] {
                write(root, file, "written");
            }
            std::fs::read(root.join("src/lib.rs")).unwrap();
            // Notices are in order: one of the files above would be before this one.
            write(root, "scenarios.toml", "");
        });
        let noticed = noticed_by(&mut sources, "scenarios.toml", change);
        assert_eq!(noticed.len(), 1, "{noticed:?}");
    }
}
