//! Files that may be caught half-written. **A file that is open for writing is not read, and a text that may be the beginning of another waits
//! until it has stayed as it is for a while**: a beginning of a TOML file is TOML, and would run with defaults for what it lacks.
//!
//! Whole files are not held up: one that came by a rename, and one that was written and closed and says at least what the accepted one says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind};
use toml::de::{DeTable, DeValue};

use super::directory::{Found, Snapshot};
use super::owner::{Owner, Trigger};
use super::{Problem, Stage};

/// Files that are noted at once; more are judged by what they say alone.
const FILES_MAX: usize = 4096;
/// How often a request looks again at what has not settled.
pub(super) const LOOKS_EVERY: Duration = Duration::from_millis(50);

/// What the system says of how files were written. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Writers(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    /// Modified, and not closed since.
    open: BTreeSet<PathBuf>,
    /// Came by a rename, and not modified since.
    whole: BTreeSet<PathBuf>,
}

impl Writers {
    pub(super) fn note(&self, event: &Event) {
        let mut noted = self.lock();
        if noted.open.len() + noted.whole.len() > FILES_MAX {
            *noted = Noted::default();
        }
        let Some(last) = event.paths.last() else { return };
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                noted.whole.remove(last);
                noted.open.insert(last.clone());
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => _ = noted.open.remove(last),
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => noted.forget(last),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                noted.open.remove(last);
                noted.whole.insert(last.clone());
            }
            _ => {}
        }
    }

    /// Nothing is known any more: the watch is another.
    pub(super) fn forget_all(&self) {
        *self.lock() = Noted::default();
    }

    fn is_open(&self, place: &Path) -> bool {
        self.lock().open.contains(place)
    }

    fn came_whole(&self, place: &Path) -> bool {
        self.lock().whole.contains(place)
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    fn forget(&mut self, path: &Path) {
        self.open.remove(path);
        self.whole.remove(path);
    }
}

/// Since when files have said what they say.
#[derive(Debug)]
pub(super) struct Settling {
    pub(super) writers: Writers,
    /// How long a doubtful file has to stay as it is.
    pub(super) settle: Duration,
    since: BTreeMap<String, (Arc<str>, Instant)>,
    /// The digests of files that were let through to be judged: what was judged once is not held back later.
    judged: BTreeMap<String, Arc<str>>,
    /// When the first of those that wait has waited for long enough.
    pub(super) due: Option<Instant>,
}

impl Settling {
    pub(super) fn new(settle: Duration) -> Settling {
        Settling { writers: Writers::default(), settle, since: BTreeMap::new(), judged: BTreeMap::new(), due: None }
    }

    /// How long a file has said this.
    fn age(&mut self, path: &str, digest: &Arc<str>) -> Duration {
        let known = self.since.entry(path.to_owned()).or_insert_with(|| (Arc::clone(digest), Instant::now()));
        if known.0 != *digest {
            *known = (Arc::clone(digest), Instant::now());
        }
        known.1.elapsed()
    }
}

impl<S: Stage> Owner<S> {
    /// Takes out of a snapshot what may not be whole yet, and notes when to look again.
    pub(super) fn hold_back(&mut self, snapshot: &mut Snapshot, trigger: Trigger) {
        self.settling.due = None;
        for (path, found) in &mut snapshot.files {
            let Found::File { bytes, digest, written, place } = &*found else {
                self.settling.since.remove(path);
                continue;
            };
            let accepted = self.accepted_at(path);
            if accepted.iter().any(|accepted| accepted == &**digest) {
                self.settling.since.remove(path);
                continue;
            }
            let age = self.settling.age(path, digest);
            let is_open = self.settling.writers.is_open(place);
            let is_judged = self.settling.judged.get(path) == Some(digest);
            let doubt = match is_open {
                true => Some("it is still open for writing"),
                false if is_judged || self.settling.writers.came_whole(place) => None,
                false => {
                    let texts = accepted.iter().filter_map(|digest| self.kept.read(digest).ok());
                    doubt(path, bytes, &texts.collect::<Vec<_>>(), trigger == Trigger::Changed)
                }
            };
            let Some(reason) = doubt else {
                self.settling.judged.insert(path.clone(), Arc::clone(digest));
                continue;
            };
            // Before the watch is set, only the file itself says how old it is.
            let since_written = written.and_then(|written| SystemTime::now().duration_since(written).ok());
            let age = if self.swapped { age } else { age.max(since_written.unwrap_or_default()) };
            if !is_open && age >= self.settling.settle {
                self.settling.judged.insert(path.clone(), Arc::clone(digest));
                continue;
            }
            if !is_open {
                let due = Instant::now() + (self.settling.settle - age);
                self.settling.due = Some(self.settling.due.map_or(due, |known| known.min(due)));
            }
            *found = Found::Unsettled { reason: reason.to_owned(), digest: Arc::clone(digest) };
        }
        let files = &snapshot.files;
        self.settling.since.retain(|path, _| files.contains_key(path));
        self.settling.judged.retain(|path, _| files.contains_key(path));
    }

    /// Whether a request should wait for something that has not settled.
    pub(super) fn is_unsettled(snapshot: &Snapshot) -> bool {
        snapshot.files.values().any(|found| matches!(found, Found::Unsettled { .. }))
    }

    /// The digests that were accepted of a file.
    fn accepted_at(&self, path: &str) -> Vec<String> {
        let versions = self.campaigns.values().filter_map(|entry| entry.kept.as_ref()).map(|kept| &kept.version);
        let of_path = versions.filter_map(|version| match &version.text_digest {
            Some(text) if version.file == path => Some(text),
            _ => (version.module_path == path).then_some(&version.module_digest),
        });
        of_path.cloned().collect()
    }
}

/// What has to be said of a file that has not settled.
pub(super) fn unsettled(snapshot: &Snapshot, path: &str, file: &str) -> Option<Problem> {
    let Found::Unsettled { reason, .. } = snapshot.files.get(path)? else { return None };
    let hint = "finish writing it; to swap at once, write it under another name and rename it";
    let reason = if path == file { reason.clone() } else { format!("{path}: {reason}") };
    Some(Problem::new(file, None, format!("waits until the file is whole: {reason}"), hint))
}

/// Why a file may be the beginning of another; `None` if nothing says so. `accepted` are the running versions of the file. `is_noticed` is true if the watch noticed the change, and false if a user asked for the reload.
fn doubt(path: &str, bytes: &[u8], accepted: &[Arc<[u8]>], is_noticed: bool) -> Option<&'static str> {
    if accepted.iter().any(|accepted| accepted.len() > bytes.len() && accepted.starts_with(bytes)) {
        return Some("it is a beginning of the file that runs");
    }
    if !path.ends_with(".toml") {
        return None;
    }
    if bytes.last() != Some(&b'\n') {
        return Some("its last line has no end");
    }
    let keys = keys_of(bytes);
    if accepted.iter().any(|accepted| !keys_of(accepted).is_subset(&keys)) {
        return Some("it lacks a key that the file that runs has");
    }
    (accepted.is_empty() && is_noticed).then_some("it is new, and was not renamed into its place")
}

/// The names of a campaign file's keys, those of its parameters included; empty if it can't be read.
fn keys_of(bytes: &[u8]) -> BTreeSet<String> {
    let Ok(text) = std::str::from_utf8(bytes) else { return BTreeSet::new() };
    let (table, _) = DeTable::parse_recoverable(text);
    let mut keys = BTreeSet::new();
    for (key, value) in table.get_ref() {
        keys.insert(key.get_ref().to_string());
        if let DeValue::Table(inner) = value.get_ref() {
            keys.extend(inner.iter().map(|(inner, _)| format!("{}.{}", key.get_ref(), inner.get_ref())));
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "module = \"a.wasm\"\nmode = \"live\"\nper_hour_max = 5000\nstart = 2027-01-01T00:00:00\n[params]\nthreshold = 500\n";

    #[test]
    fn every_beginning_of_a_campaign_file_is_in_doubt_and_the_whole_is_not() {
        let accepted: [Arc<[u8]>; 1] = [WHOLE.as_bytes().into()];
        let changed = format!("# changed\n{}", WHOLE.replace("500\n", "700\n"));
        for (text, known) in [(WHOLE, &accepted[..]), (&changed, &accepted[..]), (WHOLE, &[])] {
            for end in 1..text.len() {
                assert!(doubt("a.toml", &text.as_bytes()[..end], known, true).is_some(), "{:?}", &text[..end]);
            }
        }
        assert_eq!(doubt("a.toml", changed.as_bytes(), &accepted, true), None);
        assert_eq!(doubt("a.toml", WHOLE.as_bytes(), &[], false), None, "somebody asked");
        assert_eq!(doubt("m.wasm", b"\0asm new", &accepted, true), None);
        assert!(doubt("m.wasm", &WHOLE.as_bytes()[..9], &accepted, true).is_some());
    }

    #[test]
    fn a_file_is_open_from_a_change_to_its_close_and_whole_after_a_rename() {
        use notify::event::DataChange;
        let (writers, path) = (Writers::default(), PathBuf::from("/rules/a.toml"));
        let note = |kind| writers.note(&Event::new(kind).add_path(path.clone()));
        note(EventKind::Modify(ModifyKind::Data(DataChange::Any)));
        assert!(writers.is_open(&path));
        note(EventKind::Access(AccessKind::Close(AccessMode::Write)));
        assert!(!writers.is_open(&path) && !writers.came_whole(&path));
        note(EventKind::Modify(ModifyKind::Name(RenameMode::To)));
        assert!(writers.came_whole(&path));
        note(EventKind::Modify(ModifyKind::Data(DataChange::Any)));
        assert!(writers.is_open(&path) && !writers.came_whole(&path));
    }
}
