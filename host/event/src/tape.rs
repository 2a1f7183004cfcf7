//! The tape: the scanner's index of a body, and the handles that walk it.
//!
//! The tape has one node for each key and each value, in the order of the body. Each container has
//! one more node at its end. A node has eight bytes: the offset of its text, its kind, and its
//! extent. The extent of a container leads past it in one step, so the projection skips everything
//! that it does not need. The tape has at most six times the bytes of its body (`[],[],…`).

use super::number::Literal;
use super::text::Text;

/// The kind of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    False,
    True,
    /// A number without a fraction or exponent.
    Integer,
    /// Any other number.
    Number,
    /// A string or key without escapes.
    Text,
    /// A string or key with at least one escape.
    EscapedText,
    Object,
    Array,
    /// The end of a container.
    End,
}

/// A word of the tape.
#[derive(Clone, Copy)]
pub(super) struct Node {
    /// The offset of the token's text. For [`Kind::End`], the offset after its container.
    at: u32,
    /// The kind in the lowest four bits, the extent in the others.
    tag: u32,
}

/// The largest body in bytes, because extents have 28 bits.
pub(super) const BODY_BYTES_MAX: usize = (1 << 28) - 1;

impl Node {
    /// Makes a node. `extent` is the length of the text without quotes, or for a container the
    /// index of the node after its end.
    pub(super) fn new(kind: Kind, at: usize, extent: usize) -> Node {
        debug_assert!(at <= BODY_BYTES_MAX && extent <= BODY_BYTES_MAX);
        Node { at: at as u32, tag: (extent as u32) << 4 | kind as u32 }
    }

    pub(super) fn kind(self) -> Kind {
        match self.tag & 15 {
            0 => Kind::Null,
            1 => Kind::False,
            2 => Kind::True,
            3 => Kind::Integer,
            4 => Kind::Number,
            5 => Kind::Text,
            6 => Kind::EscapedText,
            7 => Kind::Object,
            8 => Kind::Array,
            _ => Kind::End,
        }
    }

    pub(super) fn at(self) -> usize {
        self.at as usize
    }

    pub(super) fn extent(self) -> usize {
        (self.tag >> 4) as usize
    }

    /// The index of the next sibling of this node, which is at `index`.
    pub(super) fn after(self, index: usize) -> usize {
        match self.kind() {
            Kind::Object | Kind::Array => self.extent(),
            _ => index + 1,
        }
    }

    /// The bytes of the token. For a string these are the bytes between its quotes.
    pub(super) fn token(self, body: &[u8]) -> &[u8] {
        &body[self.at()..self.at() + self.extent()]
    }
}

/// A body with its tape.
#[derive(Clone, Copy)]
pub(super) struct Document<'a> {
    pub(super) body: &'a [u8],
    pub(super) nodes: &'a [Node],
}

/// One value of a document.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    document: Document<'a>,
    index: usize,
}

impl<'a> Document<'a> {
    pub(super) fn root(self) -> Value<'a> {
        self.value(0)
    }

    pub(super) fn value(self, index: u32) -> Value<'a> {
        Value { document: self, index: index as usize }
    }
}

impl<'a> Value<'a> {
    fn node(self) -> Node {
        self.document.nodes[self.index]
    }

    pub(super) fn document(self) -> Document<'a> {
        self.document
    }

    /// The index of the value on the tape, for [`Document::value`].
    pub(super) fn index(self) -> u32 {
        self.index as u32
    }

    pub(super) fn kind(self) -> Kind {
        self.node().kind()
    }

    /// Whether the value is null or "", which count as absent everywhere.
    pub(super) fn is_absent(self) -> bool {
        let node = self.node();
        match node.kind() {
            Kind::Null => true,
            Kind::Text => node.extent() == 0,
            _ => false,
        }
    }

    /// The text of a string; `None` for other kinds.
    pub(super) fn text(self) -> Option<Text<'a>> {
        let node = self.node();
        matches!(node.kind(), Kind::Text | Kind::EscapedText)
            .then(|| Text::of(self.document.body, node))
    }

    /// The literal of a number; `None` for other kinds.
    pub(super) fn number(self) -> Option<Literal<'a>> {
        let node = self.node();
        matches!(node.kind(), Kind::Integer | Kind::Number)
            .then(|| Literal(node.token(self.document.body)))
    }

    /// The members of an object in the order of the body, with duplicates. Other kinds have none.
    pub(super) fn members(self) -> Members<'a> {
        let next =
            if self.kind() == Kind::Object { self.index + 1 } else { self.document.nodes.len() };
        Members { document: self.document, next }
    }

    /// The elements of an array. Other kinds have none.
    pub(super) fn elements(self) -> Elements<'a> {
        let next =
            if self.kind() == Kind::Array { self.index + 1 } else { self.document.nodes.len() };
        Elements { document: self.document, next }
    }

    /// The bytes of a scalar in the body, with quotes if it is a string.
    pub(super) fn source(self) -> &'a [u8] {
        let node = self.node();
        let quote = usize::from(matches!(node.kind(), Kind::Text | Kind::EscapedText));
        &self.document.body[node.at() - quote..self.end_offset()]
    }

    /// The offset at which the value begins in the body, with its opening quote or bracket.
    pub(super) fn offset(self) -> usize {
        let node = self.node();
        node.at() - usize::from(matches!(node.kind(), Kind::Text | Kind::EscapedText))
    }

    /// The offset at which the value ends in the body, with its closing quote or bracket.
    pub(super) fn end_offset(self) -> usize {
        let node = self.node();
        match node.kind() {
            Kind::Object | Kind::Array => self.document.nodes[node.extent() - 1].at(),
            Kind::Text | Kind::EscapedText => node.at() + node.extent() + 1,
            _ => node.at() + node.extent(),
        }
    }
}

/// A member of an object.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    pub(super) key: Text<'a>,
    pub(super) value: Value<'a>,
}

impl<'a> Member<'a> {
    /// The member with this value. On the tape, its key is right before the value.
    pub(super) fn of_value(value: Value<'a>) -> Member<'a> {
        let key = Text::of(value.document.body, value.document.nodes[value.index - 1]);
        Member { key, value }
    }

    /// The bytes of the member in the body, from the opening quote of the key to the end of the
    /// value.
    pub(super) fn source(self) -> &'a [u8] {
        let document = self.value.document;
        let key = document.nodes[self.value.index - 1];
        &document.body[key.at() - 1..self.value.end_offset()]
    }
}

pub(super) struct Members<'a> {
    document: Document<'a>,
    next: usize,
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    #[inline]
    fn next(&mut self) -> Option<Member<'a>> {
        let nodes = self.document.nodes;
        let key = *nodes.get(self.next)?;
        if key.kind() == Kind::End {
            return None;
        }
        let index = self.next + 1;
        self.next = nodes[index].after(index);
        let value = Value { document: self.document, index };
        Some(Member { key: Text::of(self.document.body, key), value })
    }
}

pub(super) struct Elements<'a> {
    document: Document<'a>,
    next: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let node = *self.document.nodes.get(self.next)?;
        if node.kind() == Kind::End {
            return None;
        }
        let value = Value { document: self.document, index: self.next };
        self.next = node.after(self.next);
        Some(value)
    }
}
