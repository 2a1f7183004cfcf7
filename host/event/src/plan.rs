//! What the loaded rules read of one event code, merged, so that an event is walked once however many rules ask.
//!
//! The paths of all fields make one trie. Equal questions share a slot, and the answer is encoded once. A plan is built when
//! rules are loaded and never changes.

use std::collections::{BTreeMap, HashMap};

use hailer_abi::manifest::{Field, FieldKind};

use super::text::Text;

/// Where a field's value will be found in a [`Projection`](super::Projection).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub(super) u32);

/// Everything that the loaded rules read of one event code.
#[derive(Debug, Default)]
pub struct Plan {
    pub(super) shape: Shape,
}

/// Collects the fields of a [`Plan`].
#[derive(Debug, Default)]
pub struct PlanBuilder {
    slots: HashMap<Question, Slot>,
    shape: ShapeBuilder,
}

impl PlanBuilder {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field. Fields that ask for the same kind at the same paths share a slot, whatever they are called.
    pub fn add(&mut self, field: &Field) -> Slot {
        let Self { slots, shape } = self;
        let question = Question::of(field);
        if let Some(&slot) = slots.get(&question) {
            return slot;
        }
        let slot = Slot(shape.add(&question, false));
        slots.insert(question, slot);
        slot
    }

    #[must_use]
    pub fn build(self) -> Plan {
        Plan { shape: self.shape.build() }
    }
}

/// What tells one field from another: all that changes its value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Question {
    kind: FieldKind,
    paths: Vec<String>,
    /// The sub-fields of a list, and whether each is required.
    of: Vec<(Question, bool)>,
}

impl Question {
    fn of(field: &Field) -> Question {
        let sub_fields: &[Field] = if field.kind == FieldKind::List { &field.of } else { &[] };
        let of = sub_fields.iter().map(|field| (Question::of(field), field.required)).collect();
        Question { kind: field.kind, paths: field.paths.clone(), of }
    }
}

/// The fields of an object: of the body, or of a list's element.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The trie of all paths; the root first, and each node before its children.
    pub(super) trie: Vec<TrieNode>,
    pub(super) queries: Vec<Query>,
}

/// One field.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) kind: FieldKind,
    /// Nodes of the trie, in the order in which they are tried.
    pub(super) alternatives: Vec<u32>,
    /// In a list: an element without it lacks something.
    pub(super) required: bool,
    /// The shape of a list's elements.
    pub(super) record: Option<Shape>,
}

/// One step of the paths.
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

    /// The child of a key.
    #[inline]
    pub(super) fn child(&self, key: Text<'_>) -> Option<u32> {
        let Some(bytes) = key.plain() else {
            return self.children.iter().find(|(name, _)| key.is(name)).map(|&(_, node)| node);
        };
        let fingerprint = fingerprint(bytes);
        // Rules mostly read a few members of an object, and passing over a few numbers is faster than halving them.
        let first = if self.fingerprints.len() <= FEW {
            self.fingerprints.iter().position(|&other| other == fingerprint)?
        } else {
            self.fingerprints.partition_point(|&other| other < fingerprint)
        };
        let alike = self.fingerprints[first..].iter().take_while(|&&other| other == fingerprint).count();
        let candidates = &self.children[first..first + alike];
        candidates.iter().find(|(name, _)| name.as_bytes() == bytes).map(|&(_, node)| node)
    }
}

/// So many children are searched one by one.
const FEW: usize = 16;

/// A number that differs for most keys that differ: their length, their first four bytes and their last three.
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
    fn add(&mut self, question: &Question, required: bool) -> u32 {
        let alternatives = question.paths.iter().filter_map(|path| self.node_of(path)).collect();
        let record = (question.kind == FieldKind::List).then(|| {
            let mut record = ShapeBuilder::default();
            for (question, required) in &question.of {
                record.add(question, *required);
            }
            record.build()
        });
        self.queries.push(Query { kind: question.kind, alternatives, required, record });
        self.queries.len() as u32 - 1
    }

    /// The trie's node for a JSON Pointer. What is no pointer points nowhere.
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
            let fingerprints = children.iter().map(|(name, _)| fingerprint(name.as_bytes())).collect();
            TrieNode { fingerprints, children }
        };
        Shape { trie: self.trie.into_iter().map(freeze).collect(), queries: self.queries }
    }
}
