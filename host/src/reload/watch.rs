//! Watching the directory: notices of the system, made into one thing, "something may have changed".
//!
//! A notice is only ever a reason to look. File systems that send none are looked at by the owner's slow poll, and a
//! directory that was removed and made again is watched again from that poll on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::settling::Writers;
use notify::event::{AccessKind, AccessMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// A watch on the directory that survives its replacement.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    /// One notice waits; more of them would say the same.
    changes: mpsc::Sender<()>,
    watching: Option<(Identity, RecommendedWatcher)>,
    writers: Writers,
    /// Said once, not at every poll.
    has_complained: bool,
}

/// Device and inode: another directory may stand under the same name.
type Identity = (u64, u64);

impl Watch {
    /// A watch that is not set yet, and its notices.
    pub(super) fn new(path: PathBuf, writers: Writers) -> (Watch, mpsc::Receiver<()>) {
        let (changes, noticed) = mpsc::channel(1);
        (Watch { path, changes, watching: None, writers, has_complained: false }, noticed)
    }

    /// Sets the watch, or sets it anew if another directory is there now. Blocks for as long as the file system does.
    pub(super) fn renew(&mut self) {
        let Ok(root) = fs::canonicalize(&self.path) else {
            self.watching = None;
            return;
        };
        let identity = fs::metadata(&root).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if identity == self.watching.as_ref().map(|(identity, _)| *identity) {
            return;
        }
        self.watching = None;
        let Some(identity) = identity else { return };
        let (changes, writers) = (self.changes.clone(), self.writers.clone());
        writers.forget_all();
        let notice = move |event: notify::Result<Event>| {
            match &event {
                Ok(event) if !event.need_rescan() => writers.note(event),
                // Notices were lost.
                _ => writers.forget_all(),
            }
            let is_change = event.map_or(true, |event| may_be_a_change(event.kind));
            if is_change {
                // Full: a notice waits already.
                let _ = changes.try_send(());
            }
        };
        let config = Config::default().with_follow_symlinks(false);
        let watching = RecommendedWatcher::new(notice, config).and_then(|mut watcher| {
            watcher.watch(&root, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        match watching {
            Ok(watcher) => {
                self.watching = Some((identity, watcher));
                self.has_complained = false;
                // What changed before the watch was set sent no notice.
                let _ = self.changes.try_send(());
            }
            Err(error) if !self.has_complained => {
                self.has_complained = true;
                let directory = self.path.display();
                tracing::warn!(%directory, %error, "the rules directory can't be watched; it is polled instead");
            }
            Err(_) => {}
        }
    }
}

/// Reading the directory is an access too, and must not be a reason to read it again; the end of a write is one.
fn may_be_a_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, ModifyKind, RemoveKind};

    use super::*;

    #[test]
    fn reading_is_no_change_and_everything_else_may_be_one() {
        for mode in [AccessMode::Any, AccessMode::Read, AccessMode::Execute] {
            assert!(!may_be_a_change(EventKind::Access(AccessKind::Open(mode))));
            assert!(!may_be_a_change(EventKind::Access(AccessKind::Close(mode))));
        }
        assert!(!may_be_a_change(EventKind::Access(AccessKind::Read)));
        assert!(may_be_a_change(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(may_be_a_change(EventKind::Create(CreateKind::File)));
        assert!(may_be_a_change(EventKind::Modify(ModifyKind::Any)));
        assert!(may_be_a_change(EventKind::Remove(RemoveKind::Folder)));
        assert!(may_be_a_change(EventKind::Any));
    }
}
