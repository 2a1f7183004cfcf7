//! Says for each place of an event whether its value can be kept or is personal, by the catalogue.
//! Places outside of the catalogue are unknown.

use std::collections::HashMap;

use hailer_abi::catalogue::{ANY_EVENT_TYPE, EVENTS, FieldDef};
use hailer_abi::manifest::FieldKind;

/// Members that identify a person although rules may read them without a grant: ids of customers
/// and cards, and ids that the sender chose.
const IDENTIFYING: [&str; 9] = [
    "customerId",
    "accountgroupId",
    "accountfroupId",
    "customerUid",
    "customerCode",
    "mobileDeviceId",
    "identifierId",
    "cardId",
    "externalId",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    Keep,
    Replace,
    /// Texts are replaced, and so are numbers that may identify a person.
    Unknown,
}

/// A place in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(usize);

const KEPT: Place = Place(0);
const REPLACED: Place = Place(1);
const UNKNOWN: Place = Place(2);

#[derive(Debug)]
pub(super) struct Known {
    nodes: Vec<Node>,
    roots: HashMap<&'static str, Place>,
    /// The root for event codes that the catalogue does not have.
    any: Place,
}

#[derive(Debug)]
struct Node {
    treatment: Treatment,
    members: HashMap<String, Place>,
    element: Option<Place>,
    /// The place of every member that is not listed.
    others: Place,
}

impl Known {
    pub(super) fn new(kept: &[String]) -> Known {
        let whole = |treatment, place| Node {
            treatment,
            members: HashMap::new(),
            element: Some(place),
            others: place,
        };
        let nodes = vec![
            whole(Treatment::Keep, KEPT),
            whole(Treatment::Replace, REPLACED),
            whole(Treatment::Unknown, UNKNOWN),
        ];
        let mut known = Known { nodes, roots: HashMap::new(), any: UNKNOWN };
        known.any = known.tree(ANY_EVENT_TYPE.fields, kept);
        for event in EVENTS {
            let root = known.tree(event.fields, kept);
            known.roots.extend(event.all_codes().map(|code| (code, root)));
        }
        known
    }

    pub(super) fn root(&self, code: &str) -> Place {
        self.roots.get(code).copied().unwrap_or(self.any)
    }

    pub(super) fn member(&self, object: Place, name: &str) -> Place {
        let node = &self.nodes[object.0];
        node.members.get(name).copied().unwrap_or(node.others)
    }

    pub(super) fn element(&self, array: Place) -> Place {
        let node = &self.nodes[array.0];
        node.element.unwrap_or(node.others)
    }

    pub(super) fn treatment(&self, place: Place) -> Treatment {
        self.nodes[place.0].treatment
    }

    fn tree(&mut self, fields: &[FieldDef], kept: &[String]) -> Place {
        let root = self.unknown();
        self.add(root, "/eventCode", KEPT);
        for field in fields {
            self.add_field(root, field);
        }
        for path in kept {
            self.add(root, path, KEPT);
        }
        root
    }

    fn add_field(&mut self, base: Place, field: &FieldDef) {
        for path in field.paths.iter().filter(|path| !path.is_empty()) {
            let name = path.rsplit('/').next().unwrap_or_default();
            if let Some(record) = field.record {
                let list = self.unknown();
                let element = self.unknown();
                self.nodes[list.0].element = Some(element);
                for inner in record.fields {
                    self.add_field(element, inner);
                }
                self.add(base, path, list);
            } else if field.personal || IDENTIFYING.contains(&name) {
                self.add(base, path, REPLACED);
            } else {
                // Below a map that is not personal, no value is personal: its keys are line numbers
                // of a receipt.
                debug_assert!(field.kind != FieldKind::Raw);
                self.add(base, path, KEPT);
            }
        }
    }

    /// Lets a path lead to a place. Creates missing nodes on the way; a place whose treatment is
    /// decided already stays unchanged.
    fn add(&mut self, base: Place, path: &str, place: Place) {
        let mut steps = path.split('/').skip(1).peekable();
        let mut at = base;
        while let Some(step) = steps.next() {
            if at == KEPT || at == REPLACED {
                return;
            }
            let name = step.replace("~1", "/").replace("~0", "~");
            let known = if name == "*" {
                self.nodes[at.0].element
            } else {
                self.nodes[at.0].members.get(&name).copied()
            };
            let next = match (steps.peek(), known) {
                (None, _) => place,
                (Some(_), Some(known)) => known,
                (Some(_), None) => self.unknown(),
            };
            if name == "*" {
                self.nodes[at.0].element = Some(next);
            } else {
                self.nodes[at.0].members.insert(name, next);
            }
            at = next;
        }
    }

    fn unknown(&mut self) -> Place {
        self.nodes.push(Node {
            treatment: Treatment::Unknown,
            members: HashMap::new(),
            element: None,
            others: UNKNOWN,
        });
        Place(self.nodes.len() - 1)
    }
}
