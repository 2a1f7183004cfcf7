//! The plan of an event code: all fields that the loaded rules read, merged, so that one walk over
//! an event serves every rule.
//!
//! The paths of all fields make one trie. Equal fields share a slot, and their value is encoded
//! once. A plan is built when rules are loaded and never changes.

use std::collections::{BTreeMap, HashMap};

use hailer_abi::manifest::{Field, FieldKind};

use super::text::Text;

/// The place of a field's value in a [`Projection`](super::Projection).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub(super) u32);

/// All fields that the loaded rules read from events of one code.
#[derive(Debug, Default)]
pub struct Plan {
    pub(super) shape: Shape,
}

/// Collects the fields of a [`Plan`].
#[derive(Debug, Default)]
pub struct PlanBuilder {
    slots: HashMap<FieldKey, Slot>,
    shape: ShapeBuilder,
}

impl PlanBuilder {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field and returns its slot. Fields of the same kind with the same paths share a slot,
    /// whatever their names are.
    pub fn add(&mut self, field: &Field) -> Slot {
        let Self { slots, shape } = self;
        let field_key = FieldKey::of(field);
        if let Some(&slot) = slots.get(&field_key) {
            return slot;
        }
        let slot = Slot(shape.add(&field_key, false));
        slots.insert(field_key, slot);
        slot
    }

    #[must_use]
    pub fn build(self) -> Plan {
        Plan { shape: self.shape.build() }
    }
}

/// The properties of a field that its value depends on.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FieldKey {
    kind: FieldKind,
    paths: Vec<String>,
    /// The sub-fields of a list, each with whether it is required.
    of: Vec<(FieldKey, bool)>,
}

impl FieldKey {
    fn of(field: &Field) -> FieldKey {
        let sub_fields: &[Field] = if field.kind == FieldKind::List { &field.of } else { &[] };
        let of = sub_fields.iter().map(|field| (FieldKey::of(field), field.required)).collect();
        FieldKey { kind: field.kind, paths: field.paths.clone(), of }
    }
}

/// The fields of an object: the body, or an element of a list.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The trie of all paths. The root is first, and each node is before its children.
    pub(super) trie: Vec<TrieNode>,
    pub(super) queries: Vec<Query>,
}

/// One field.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) kind: FieldKind,
    /// The trie nodes of its paths, in the order in which they are tried.
    pub(super) alternatives: Vec<u32>,
    /// Whether an element of a list must have this sub-field.
    pub(super) required: bool,
    /// The shape of a list's elements; `None` for other kinds.
    pub(super) record: Option<Shape>,
}

/// A node of the trie: one step of the paths.
#[derive(Debug, Default)]
pub(super) struct TrieNode {
    /// The fingerprints of the children's keys, in ascending order.
    fingerprints: Vec<u64>,
    /// The children, in the order of `fingerprints`.
    children: Vec<(Box<str>, u32)>,
}

impl TrieNode {
    pub(super) fn is_leaf(&self) -> bool {
        self.children.is_empty()
    }

    pub(super) fn children(&self) -> impl Iterator<Item = u32> {
        self.children.iter().map(|&(_, node)| node)
    }

    /// Returns the child of a key; `None` if no path has it.
    #[inline]
    pub(super) fn child(&self, key: Text<'_>) -> Option<u32> {
        let Some(bytes) = key.plain() else {
            return self.children.iter().find(|(name, _)| key.is(name)).map(|&(_, node)| node);
        };
        let fingerprint = fingerprint(bytes);
        // Rules mostly read a few members of an object, and a linear search over a few numbers is
        // faster than a binary one.
        let first = if self.fingerprints.len() <= FEW {
            self.fingerprints.iter().position(|&other| other == fingerprint)?
        } else {
            self.fingerprints.partition_point(|&other| other < fingerprint)
        };
        let alike =
            self.fingerprints[first..].iter().take_while(|&&other| other == fingerprint).count();
        let candidates = &self.children[first..first + alike];
        candidates.iter().find(|(name, _)| name.as_bytes() == bytes).map(|&(_, node)| node)
    }
}

/// Up to this many children are searched linearly.
const FEW: usize = 16;

/// A number made of the length, the first four and the last three bytes of a key. Most different
/// keys have different numbers.
#[inline]
fn fingerprint(key: &[u8]) -> u64 {
    let length = key.len() as u64;
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        return u64::from(u32::from_le_bytes(*first)) << 32
            | u64::from(u32::from_le_bytes(*last)) >> 8 << 8
            | length & 0xff;
    }
    key.iter().fold(length, |number, &byte| number << 8 | u64::from(byte))
}

/// A shape that is still growing.
#[derive(Debug)]
struct ShapeBuilder {
    trie: Vec<BTreeMap<Box<str>, u32>>,
    queries: Vec<Query>,
}

impl Default for ShapeBuilder {
    fn default() -> Self {
        Self { trie: vec![BTreeMap::new()], queries: Vec::new() }
    }
}

impl ShapeBuilder {
    fn add(&mut self, field_key: &FieldKey, required: bool) -> u32 {
        let alternatives = field_key.paths.iter().filter_map(|path| self.node_of(path)).collect();
        let record = (field_key.kind == FieldKind::List).then(|| {
            let mut record = ShapeBuilder::default();
            for (field_key, required) in &field_key.of {
                record.add(field_key, *required);
            }
            record.build()
        });
        self.queries.push(Query { kind: field_key.kind, alternatives, required, record });
        self.queries.len() as u32 - 1
    }

    /// Returns the trie node for a JSON Pointer, and adds it if needed. `None` for a text that is
    /// no pointer.
    fn node_of(&mut self, pointer: &str) -> Option<u32> {
        let mut steps = pointer.split('/');
        if steps.next() != Some("") {
            return None;
        }
        let mut node = 0;
        for step in steps {
            let key = step.replace("~1", "/").replace("~0", "~").into_boxed_str();
            let next = self.trie.len() as u32;
            node = *self.trie[node as usize].entry(key).or_insert(next);
            if node == next {
                self.trie.push(BTreeMap::new());
            }
        }
        Some(node)
    }

    fn build(self) -> Shape {
        let freeze = |children: BTreeMap<Box<str>, u32>| {
            let mut children: Vec<_> = children.into_iter().collect();
            children.sort_by_key(|(name, _)| fingerprint(name.as_bytes()));
            let fingerprints =
                children.iter().map(|(name, _)| fingerprint(name.as_bytes())).collect();
            TrieNode { fingerprints, children }
        };
        Shape { trie: self.trie.into_iter().map(freeze).collect(), queries: self.queries }
    }
}
