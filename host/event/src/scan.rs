//! The scanner: one pass over a body that checks it against RFC 8259 and builds the tape.
//!
//! It accepts two things that the RFC forbids. One is a comma before a closing bracket, because the
//! source's own example of a merge has one. The other is a byte order mark at the beginning, which
//! .NET and Windows write. The tape contains neither, so it is the same as that of a strict body.
//! The scanner refuses every other deviation, and nesting deeper than [`DEPTH_MAX`].

use super::error::{EventError, EventErrorKind, path_of_stop};
use super::tape::{BODY_BYTES_MAX, Kind, Node};
use super::token::{Stop, Tokens, stop};

/// The largest nesting depth of containers. The root has depth 1.
pub(super) const DEPTH_MAX: usize = 128;

/// The result of scanning a body.
pub(super) struct Scanned {
    pub(super) nodes: Vec<Node>,
    /// Whether the body has a comma before a closing bracket, or a byte order mark.
    pub(super) was_repaired: bool,
}

/// A byte order mark in UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Validates a whole body, whose root must be an object.
pub(super) fn scan(body: &[u8]) -> Result<Scanned, EventError> {
    let at_top = |kind, offset| EventError { path: String::new(), kind, offset };
    if body.len() > BODY_BYTES_MAX {
        return Err(at_top(EventErrorKind::TooLarge, BODY_BYTES_MAX));
    }
    if simdutf8::basic::from_utf8(body).is_err() {
        let valid = std::str::from_utf8(body).map_or_else(|error| error.valid_up_to(), str::len);
        return Err(at_top(EventErrorKind::NotUtf8, valid));
    }
    let mut scanner = Scanner {
        tokens: Tokens(body),
        // Events of the source have about one node for each nine bytes. For a denser body the
        // vector grows.
        nodes: Vec::with_capacity(body.len() / 8 + 8),
        open: [0; DEPTH_MAX],
        depth: 0,
        was_repaired: false,
    };
    match scanner.document() {
        Ok(()) => Ok(Scanned { nodes: scanner.nodes, was_repaired: scanner.was_repaired }),
        Err(stop) => Err(EventError {
            path: path_of_stop(body, &scanner.nodes, &scanner.open[..scanner.depth]),
            kind: stop.kind,
            offset: stop.at,
        }),
    }
}

struct Scanner<'a> {
    tokens: Tokens<'a>,
    nodes: Vec<Node>,
    /// The tape indices of the open containers, outermost first.
    open: [u32; DEPTH_MAX],
    depth: usize,
    was_repaired: bool,
}

/// The offset after the token that was read.
type Step = Result<usize, Box<Stop>>;

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), Box<Stop>> {
        let tokens = self.tokens;
        self.was_repaired = tokens.0.starts_with(BYTE_ORDER_MARK);
        let at = tokens.skip_space(if self.was_repaired { BYTE_ORDER_MARK.len() } else { 0 });
        if tokens.byte(at) != b'{' {
            return match tokens.0.get(at) {
                None => stop(EventErrorKind::Empty, at),
                Some(_) => stop(EventErrorKind::NotAnObject, at),
            };
        }
        let at = self.containers(at)?;
        let at = tokens.skip_space(at);
        if at < tokens.0.len() {
            tokens.syntax("more bytes after the end of the event", at)
        } else {
            Ok(())
        }
    }

    /// Reads a container with all of its contents, without recursion. Each round of the loop reads
    /// one value and the tokens after it.
    fn containers(&mut self, mut at: usize) -> Step {
        let tokens = self.tokens;
        // The bracket that closes the innermost container.
        let mut closing = 0;
        loop {
            // A value begins here.
            match tokens.byte(at) {
                b'"' => at = self.text(at)?,
                b'-' | b'0'..=b'9' => {
                    let (end, kind) = tokens.number(at)?;
                    self.nodes.push(Node::new(kind, at, end - at));
                    at = end;
                }
                bracket @ (b'{' | b'[') => {
                    self.open(bracket, at)?;
                    // In ASCII, each closing bracket is two after its opening one.
                    closing = bracket + 2;
                    at = tokens.skip_space(at + 1);
                    if tokens.byte(at) != closing {
                        if closing == b'}' {
                            at = self.key(at)?;
                        }
                        continue;
                    }
                    (at, closing) = self.close(at);
                }
                _ => {
                    let (end, kind) = tokens.word(at)?;
                    self.nodes.push(Node::new(kind, at, end - at));
                    at = end;
                }
            }
            // A value has ended. This closes the containers that end here, and goes to the next
            // value.
            while self.depth > 0 {
                at = tokens.skip_space(at);
                if tokens.byte(at) == b',' {
                    at = tokens.skip_space(at + 1);
                    if tokens.byte(at) != closing {
                        if closing == b'}' {
                            at = self.key(at)?;
                        }
                        break;
                    }
                    self.was_repaired = true;
                } else if tokens.byte(at) != closing {
                    return tokens.syntax("neither a comma nor the closing bracket", at);
                }
                (at, closing) = self.close(at);
            }
            if self.depth == 0 {
                return Ok(at);
            }
        }
    }

    fn open(&mut self, bracket: u8, at: usize) -> Result<(), Box<Stop>> {
        let Some(innermost) = self.open.get_mut(self.depth) else {
            return stop(EventErrorKind::TooDeep, at);
        };
        *innermost = self.nodes.len() as u32;
        self.depth += 1;
        let kind = if bracket == b'{' { Kind::Object } else { Kind::Array };
        self.nodes.push(Node::new(kind, at, 0));
        Ok(())
    }

    /// Closes the innermost container. Returns the offset after its bracket, and the bracket that
    /// closes the container around it.
    fn close(&mut self, at: usize) -> (usize, u8) {
        self.nodes.push(Node::new(Kind::End, at + 1, 0));
        self.depth -= 1;
        let after = self.nodes.len();
        let container = &mut self.nodes[self.open[self.depth] as usize];
        *container = Node::new(container.kind(), container.at(), after);
        let outer =
            self.depth.checked_sub(1).map(|outer| self.nodes[self.open[outer] as usize].kind());
        (at + 1, if outer == Some(Kind::Array) { b']' } else { b'}' })
    }

    /// Reads a key and its colon, up to the value.
    #[inline]
    fn key(&mut self, at: usize) -> Step {
        let tokens = self.tokens;
        if tokens.byte(at) != b'"' {
            return tokens.syntax("no string in the place of a member's name", at);
        }
        let at = self.text(at)?;
        let at = tokens.skip_space(at);
        if tokens.byte(at) != b':' {
            return tokens.syntax("no colon after a member's name", at);
        }
        Ok(tokens.skip_space(at + 1))
    }

    /// Reads a string or key from its opening quote on.
    #[inline(always)]
    fn text(&mut self, quote: usize) -> Step {
        let begin = quote + 1;
        let (end, kind) = self.tokens.text(begin)?;
        self.nodes.push(Node::new(kind, begin, end - begin));
        Ok(end + 1)
    }
}
