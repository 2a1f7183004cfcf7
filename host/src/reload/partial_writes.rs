//! Detects files that may be half-written. **A file that the watch has seen being written is not
//! read until it is closed. A text that may be the beginning of another waits until it has not
//! changed for a while**: a prefix of a TOML file is often TOML, and would run with defaults for
//! the keys that it lacks.
//!
//! Complete files do not wait: a file that was renamed into place, or one that was written and
//! closed and has at least the keys of the accepted version.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind};
use toml::de::{DeTable, DeValue};

use super::directory::{ENTRIES_MAX, FileState, Snapshot};
use super::owner::{Owner, Trigger};
use super::policies_file::POLICIES_FILE;
use super::{Problem, Stage};

/// Maximum of files with known write events; further files are judged by their contents alone. More
/// than a directory has.
const FILES_MAX: usize = 2 * ENTRIES_MAX;
/// Interval at which a reload request looks again at incomplete files.
pub(super) const RECHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Write events of files, as the system reports them. Clones share the state.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteEvents(Arc<Mutex<WriteState>>);

#[derive(Debug, Default)]
struct WriteState {
    /// Modified and not closed since.
    open: BTreeSet<PathBuf>,
    /// Renamed into place and not modified since.
    whole: BTreeSet<PathBuf>,
}

impl WriteEvents {
    pub(super) fn note(&self, event: &Event) {
        let mut noted = self.lock();
        if noted.open.len() + noted.whole.len() > FILES_MAX {
            *noted = WriteState::default();
        }
        let Some(last) = event.paths.last() else { return };
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                noted.whole.remove(last);
                noted.open.insert(last.clone());
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => _ = noted.open.remove(last),
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                noted.forget(last)
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                noted.open.remove(last);
                noted.whole.insert(last.clone());
            }
            _ => {}
        }
    }

    /// Forgets all events, because the watch is a new one.
    pub(super) fn forget_all(&self) {
        *self.lock() = WriteState::default();
    }

    fn is_open(&self, place: &Path) -> bool {
        self.lock().open.contains(place)
    }

    fn came_whole(&self, place: &Path) -> bool {
        self.lock().whole.contains(place)
    }

    fn lock(&self) -> MutexGuard<'_, WriteState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteState {
    fn forget(&mut self, path: &Path) {
        self.open.remove(path);
        self.whole.remove(path);
    }
}

/// Tracks how long each file has been unchanged.
#[derive(Debug)]
pub(super) struct PartialWrites {
    pub(super) write_events: WriteEvents,
    /// The time for which a possibly incomplete file must stay unchanged.
    pub(super) settle: Duration,
    since: BTreeMap<String, (Arc<str>, Instant)>,
    /// Digests of files that were accepted as complete; such a file does not wait again.
    complete: BTreeMap<String, Arc<str>>,
    /// When the first waiting file will have waited long enough.
    pub(super) due: Option<Instant>,
}

impl PartialWrites {
    pub(super) fn new(settle: Duration) -> PartialWrites {
        PartialWrites {
            write_events: WriteEvents::default(),
            settle,
            since: BTreeMap::new(),
            complete: BTreeMap::new(),
            due: None,
        }
    }

    /// The time for which a file has had this digest.
    fn age(&mut self, path: &str, digest: &Arc<str>) -> Duration {
        let known = self
            .since
            .entry(path.to_owned())
            .or_insert_with(|| (Arc::clone(digest), Instant::now()));
        if known.0 != *digest {
            *known = (Arc::clone(digest), Instant::now());
        }
        known.1.elapsed()
    }
}

impl<S: Stage> Owner<S> {
    /// Marks files of a snapshot that may be incomplete, and notes when to look again.
    pub(super) fn mark_partial_files(&mut self, snapshot: &mut Snapshot, trigger: Trigger) {
        self.partial_writes.due = None;
        let accepted = self.accepted_by_path();
        for (path, found) in &mut snapshot.files {
            let FileState::File { bytes, digest, written, place } = &*found else {
                self.partial_writes.since.remove(path);
                continue;
            };
            let accepted = accepted.get(path).map(Vec::as_slice).unwrap_or_default();
            if accepted.iter().any(|accepted| accepted == &**digest) {
                self.partial_writes.since.remove(path);
                continue;
            }
            let age = self.partial_writes.age(path, digest);
            let is_open = self.partial_writes.write_events.is_open(place);
            let is_known_complete = self.partial_writes.complete.get(path) == Some(digest);
            let doubt = match is_open {
                true => Some("it is still open for writing"),
                false
                    if is_known_complete || self.partial_writes.write_events.came_whole(place) =>
                {
                    None
                }
                false => {
                    let texts =
                        accepted.iter().filter_map(|digest| self.ledger_files.read(digest).ok());
                    doubt(path, bytes, &texts.collect::<Vec<_>>(), trigger == Trigger::Changed)
                }
            };
            let Some(reason) = doubt else {
                self.partial_writes.complete.insert(path.clone(), Arc::clone(digest));
                continue;
            };
            // Before the watch starts, only the modification time says how old a file is.
            let since_written =
                written.and_then(|written| SystemTime::now().duration_since(written).ok());
            let age = if self.swapped { age } else { age.max(since_written.unwrap_or_default()) };
            if !is_open && age >= self.partial_writes.settle {
                self.partial_writes.complete.insert(path.clone(), Arc::clone(digest));
                continue;
            }
            if !is_open {
                let due = Instant::now() + (self.partial_writes.settle - age);
                self.partial_writes.due =
                    Some(self.partial_writes.due.map_or(due, |known| known.min(due)));
            }
            *found =
                FileState::MaybePartial { reason: reason.to_owned(), digest: Arc::clone(digest) };
        }
        let files = &snapshot.files;
        self.partial_writes.since.retain(|path, _| files.contains_key(path));
        self.partial_writes.complete.retain(|path, _| files.contains_key(path));
    }

    /// Whether a snapshot has files that may be incomplete.
    pub(super) fn has_partial_files(snapshot: &Snapshot) -> bool {
        snapshot.files.values().any(|found| matches!(found, FileState::MaybePartial { .. }))
    }

    /// The accepted digests of each file.
    fn accepted_by_path(&self) -> BTreeMap<String, Vec<String>> {
        let mut digests: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut add = |path: &str, digest: &String| match digests.get_mut(path) {
            Some(known) => {
                if !known.contains(digest) {
                    known.push(digest.clone());
                }
            }
            None => _ = digests.insert(path.to_owned(), vec![digest.clone()]),
        };
        for accepted in self.campaigns.values().filter_map(|entry| entry.accepted.as_ref()) {
            let version = &accepted.version;
            match &version.text_digest {
                Some(text) => {
                    add(&version.file, text);
                    if version.module_path != version.file {
                        add(&version.module_path, &version.module_digest);
                    }
                }
                None => add(&version.module_path, &version.module_digest),
            }
        }
        if let Some(accepted) = &self.policies.accepted {
            add(POLICIES_FILE, &accepted.digest);
        }
        digests
    }
}

/// The problem to report for a file that may be incomplete; `None` if it is complete.
pub(super) fn partial_file_problem(snapshot: &Snapshot, path: &str, file: &str) -> Option<Problem> {
    let FileState::MaybePartial { reason, .. } = snapshot.files.get(path)? else { return None };
    let hint = "finish writing it; to swap at once, write it under another name and rename it";
    let reason = if path == file { reason.clone() } else { format!("{path}: {reason}") };
    Some(Problem::new(file, None, format!("waits until the file is whole: {reason}"), hint))
}

/// Why a file may be incomplete; `None` if no rule applies. `accepted` are the running versions of
/// the file. `is_noticed` is true if the watch noticed the change, and false if a person asked for
/// the reload.
fn doubt(
    path: &str,
    bytes: &[u8],
    accepted: &[Arc<[u8]>],
    is_noticed: bool,
) -> Option<&'static str> {
    if accepted.iter().any(|accepted| accepted.len() > bytes.len() && accepted.starts_with(bytes)) {
        return Some("it is a prefix of the file that runs");
    }
    if !path.ends_with(".toml") {
        return None;
    }
    if bytes.last() != Some(&b'\n') {
        return Some("its last line has no newline");
    }
    let keys = keys_of(bytes);
    if accepted.iter().any(|accepted| !keys_of(accepted).is_subset(&keys)) {
        return Some("it lacks a key that the file that runs has");
    }
    (accepted.is_empty() && is_noticed).then_some("it is new, and was not renamed into its place")
}

/// The paths of a file's keys, such as `params.threshold` and `cap.1.max`; empty if the file is not
/// UTF-8. Elements of arrays that are not tables do not count.
fn keys_of(bytes: &[u8]) -> BTreeSet<String> {
    let Ok(text) = std::str::from_utf8(bytes) else { return BTreeSet::new() };
    let (table, _) = DeTable::parse_recoverable(text);
    let mut keys = BTreeSet::new();
    add_keys(table.get_ref(), "", &mut keys);
    keys
}

fn add_keys(table: &DeTable<'_>, above: &str, keys: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = format!("{above}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => add_keys(inner, &format!("{path}."), keys),
            DeValue::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    if let DeValue::Table(inner) = element.get_ref() {
                        add_keys(inner, &format!("{path}.{index}."), keys);
                    }
                }
            }
            _ => {}
        }
        keys.insert(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "module = \"a.wasm\"\nmode = \"live\"\nper_hour_max = 5000\nstart = \
                         2027-01-01T00:00:00\n[params]\nthreshold = 500\n";

    #[test]
    fn every_prefix_of_a_campaign_file_is_incomplete_and_the_whole_is_not() {
        let accepted: [Arc<[u8]>; 1] = [WHOLE.as_bytes().into()];
        let changed = format!("# changed\n{}", WHOLE.replace("500\n", "700\n"));
        for (text, known) in [(WHOLE, &accepted[..]), (&changed, &accepted[..]), (WHOLE, &[])] {
            for end in 1..text.len() {
                assert!(
                    doubt("a.toml", &text.as_bytes()[..end], known, true).is_some(),
                    "{:?}",
                    &text[..end]
                );
            }
        }
        assert_eq!(doubt("a.toml", changed.as_bytes(), &accepted, true), None);
        assert_eq!(doubt("a.toml", WHOLE.as_bytes(), &[], false), None, "a person asked");
        assert_eq!(doubt("m.wasm", b"\0asm new", &accepted, true), None);
        assert!(doubt("m.wasm", &WHOLE.as_bytes()[..9], &accepted, true).is_some());
    }

    #[test]
    fn a_file_is_open_until_its_close_and_complete_after_a_rename() {
        use notify::event::DataChange;
        let (write_events, path) = (WriteEvents::default(), PathBuf::from("/rules/a.toml"));
        let note = |kind| write_events.note(&Event::new(kind).add_path(path.clone()));
        note(EventKind::Modify(ModifyKind::Data(DataChange::Any)));
        assert!(write_events.is_open(&path));
        note(EventKind::Access(AccessKind::Close(AccessMode::Write)));
        assert!(!write_events.is_open(&path) && !write_events.came_whole(&path));
        note(EventKind::Modify(ModifyKind::Name(RenameMode::To)));
        assert!(write_events.came_whole(&path));
        note(EventKind::Modify(ModifyKind::Data(DataChange::Any)));
        assert!(write_events.is_open(&path) && !write_events.came_whole(&path));
    }
}
