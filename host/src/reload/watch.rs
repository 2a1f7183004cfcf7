//! Watches the directory: turns the system's change notices into one signal, "something may have
//! changed".
//!
//! A notice only triggers a load. File systems without notices are covered by the owner's slow
//! poll. A directory that was deleted and created again is watched again from the next poll on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::partial_writes::WriteEvents;
use notify::event::{AccessKind, AccessMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// A watch on the directory that survives the directory's replacement.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    /// Capacity 1: a second notice would add nothing.
    changes: mpsc::Sender<()>,
    watching: Option<(Identity, RecommendedWatcher)>,
    write_events: WriteEvents,
    /// Whether the failure has been logged; it is logged once, not at every poll.
    has_complained: bool,
}

/// Device and inode: another directory may get the same name.
type Identity = (u64, u64);

impl Watch {
    /// Creates a watch that has not started, and the receiver of its notices.
    pub(super) fn new(path: PathBuf, write_events: WriteEvents) -> (Watch, mpsc::Receiver<()>) {
        let (changes, noticed) = mpsc::channel(1);
        (Watch { path, changes, watching: None, write_events, has_complained: false }, noticed)
    }

    /// Starts the watch, or restarts it if the path now names another directory. Blocks as long as
    /// the file system does.
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
        let (changes, write_events) = (self.changes.clone(), self.write_events.clone());
        write_events.forget_all();
        let notice = move |event: notify::Result<Event>| {
            match &event {
                Ok(event) if !event.need_rescan() => write_events.note(event),
                // The system dropped notices.
                _ => write_events.forget_all(),
            }
            let is_change = event.map_or(true, |event| may_be_a_change(event.kind));
            if is_change {
                // The channel is full, so a notice is pending already.
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
                // Changes before the start of the watch sent no notice.
                let _ = self.changes.try_send(());
            }
            Err(error) if !self.has_complained => {
                self.has_complained = true;
                let directory = self.path.display();
                tracing::warn!(%directory, %error, "cannot watch the rules directory; the engine \
                    polls it instead");
            }
            Err(_) => {}
        }
    }
}

/// Whether a notice may be about a change. Reading the directory causes access notices and must not
/// trigger another reading; the end of a write must.
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
    fn reading_is_not_a_change_and_everything_else_may_be_one() {
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
