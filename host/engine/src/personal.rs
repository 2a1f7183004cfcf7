//! The personal fields of a manifest. A manifest is foreign bytes, so it can add marks and never
//! remove one: **the catalogue of events decides, and a field that it does not know is personal.**
//!
//! An event that the catalogue does not know, or a member that a later version of the source adds,
//! may contain anything. A field is judged by the paths that it reads, not by the name that the
//! rule gives it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use hailer_abi::catalogue::{ANY_EVENT_TYPE, EVENTS, FieldDef};
use hailer_abi::manifest::{Field, FieldKind, Manifest};

/// The keys of a JSON Pointer, unescaped.
type Keys<'path> = Vec<Cow<'path, str>>;

/// The paths of all events in the catalogue. The fields of a list's records are under the path of
/// the list.
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
            side.extend(
                field.paths.iter().map(|path| keys_of(base).chain(keys_of(path)).collect()),
            );
        }
        // The whole message is personal because of its contents. That does not make every member of
        // it personal.
        self.personal.remove(&Vec::new());
    }

    /// Whether a value at this path can contain personal data: it is personal, contains or is
    /// inside a personal value, or is not in the catalogue.
    fn is_personal(&self, read: &[Cow<'_, str>]) -> bool {
        let touches = |known: &Keys<'_>| known.starts_with(read) || read.starts_with(known);
        self.personal.iter().any(touches) || !self.plain.iter().any(|plain| read.starts_with(plain))
    }
}

/// Marks every personal field, whatever the manifest says of it. Existing marks stay.
pub fn mark_personal(manifest: &mut Manifest) {
    for field in manifest.handlers.iter_mut().flat_map(|handler| &mut handler.fields) {
        let Field { kind, paths, personal, of, .. } = field;
        // A rule reads only the record fields of a list.
        if *kind != FieldKind::List {
            *personal |= any_personal(&[String::new()], paths);
        }
        for inner in of {
            inner.personal |= any_personal(paths, &inner.paths);
        }
    }
}

/// The names of the personal fields that a rule reads, in the form in which a campaign grants them:
/// `card_number`, `items.description`.
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
    let mut read = bases.iter().flat_map(|base| {
        paths.iter().map(move |path| keys_of(base).chain(keys_of(path)).collect::<Vec<_>>())
    });
    read.any(|keys| KNOWN.is_personal(&keys))
}

/// The keys of a pointer, as the engine reads them: the text before the first `/` is no key.
fn keys_of(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let unescaped = |key| match key {
        key if str::contains(key, '~') => Cow::Owned(key.replace("~1", "/").replace("~0", "~")),
        key => Cow::Borrowed(key),
    };
    pointer.split('/').skip(1).map(unescaped)
}

#[cfg(test)]
mod tests;
