//! Which fields of a manifest are personal. A manifest is foreign bytes, so its own word can add a mark and never take
//! one away: **the catalogue decides, and what it does not know is personal.**
//!
//! An event that the catalogue doesn't know, or a member that a later version of the source adds, may hold anything.
//! Whatever a rule's own name for a field is, it is judged by the paths that are read.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use hailer_abi::catalogue::{ANY_EVENT_TYPE, EVENTS, FieldDef};
use hailer_abi::manifest::{Field, FieldKind, Manifest};

/// A JSON Pointer's keys, unescaped.
type Keys<'path> = Vec<Cow<'path, str>>;

/// What the catalogue says of every path that it knows, over all events. The fields of a list's records stand under the list's path.
#[derive(Default)]
struct Known {
    personal: BTreeSet<Keys<'static>>,
    plain: BTreeSet<Keys<'static>>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let mut known = Known::default();
    for field in EVENTS.iter().chain([&ANY_EVENT_TYPE]).flat_map(|event| event.fields) {
        match field.record {
            Some(record) => record.fields.iter().for_each(|inner| known.add(field.paths, inner)),
            None => known.add(&[""], field),
        }
    }
    known
});

impl Known {
    fn add(&mut self, bases: &[&'static str], field: &FieldDef) {
        let side = if field.personal { &mut self.personal } else { &mut self.plain };
        for base in bases {
            side.extend(field.paths.iter().map(|path| keys_of(base).chain(keys_of(path)).collect()));
        }
        // The whole message is personal because of what it holds; that makes not everything in it personal.
        self.personal.remove(&Vec::new());
    }

    /// Whether a value read from there can hold something personal: it is, holds or lies in a personal one, or is
    /// not in the catalogue at all.
    fn is_personal(&self, read: &[Cow<'_, str>]) -> bool {
        let touches = |known: &Keys<'_>| known.starts_with(read) || read.starts_with(known);
        self.personal.iter().any(touches) || !self.plain.iter().any(|plain| read.starts_with(plain))
    }
}

/// Marks every field that is personal, whatever the manifest says of it. Marks that it has stay.
pub fn mark_personal(manifest: &mut Manifest) {
    for field in manifest.handlers.iter_mut().flat_map(|handler| &mut handler.fields) {
        let Field { kind, paths, personal, of, .. } = field;
        // Of a list, nothing but its records' fields is read.
        if *kind != FieldKind::List {
            *personal |= any_personal(&[String::new()], paths);
        }
        for inner in of {
            inner.personal |= any_personal(paths, &inner.paths);
        }
    }
}

/// The names of the personal fields that a rule reads, as a campaign grants them: `card_number`,
/// `items.description`.
#[must_use]
pub fn personal_fields(manifest: &Manifest) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for field in manifest.handlers.iter().flat_map(|handler| &handler.fields) {
        if field.personal {
            names.insert(field.name.clone());
        }
        let inner = field.of.iter().filter(|inner| inner.personal);
        names.extend(inner.map(|inner| format!("{}.{}", field.name, inner.name)));
    }
    names
}

fn any_personal(bases: &[String], paths: &[String]) -> bool {
    let mut read = bases
        .iter()
        .flat_map(|base| paths.iter().map(move |path| keys_of(base).chain(keys_of(path)).collect::<Vec<_>>()));
    read.any(|keys| KNOWN.is_personal(&keys))
}

/// As the engine reads them: the text before the first `/` is no key.
fn keys_of(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let unescaped = |key| match key {
        key if str::contains(key, '~') => Cow::Owned(key.replace("~1", "/").replace("~0", "~")),
        key => Cow::Borrowed(key),
    };
    pointer.split('/').skip(1).map(unescaped)
}

#[cfg(test)]
mod tests;
