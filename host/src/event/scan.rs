//! The one pass over a body: strict RFC 8259, and a tape of what it has seen.
//!
//! It accepts one thing that the RFC does not: a comma before a closing bracket, because the source's own example of a
//! merge has one. The tape holds no commas, so it is the same with and without, and one pass does for the strict reading and
//! the lenient one. It refuses everything else, and what lies deeper than [`DEPTH_MAX`].

use super::error::{EventError, EventErrorKind, path_of_stop};
use super::tape::{BODY_BYTES_MAX, Kind, Node};
use super::text::code_unit;

/// The deepest nesting of containers; the root is the first.
pub(super) const DEPTH_MAX: usize = 128;

/// What the scanner leaves.
pub(super) struct Scanned {
    pub(super) nodes: Vec<Node>,
    /// There were commas before closing brackets.
    pub(super) had_trailing_commas: bool,
}

/// Validates a whole body, whose root must be an object.
pub(super) fn scan(body: &[u8]) -> Result<Scanned, EventError> {
    let at_top = |kind, offset| EventError { path: String::new(), kind, offset };
    if body.len() > BODY_BYTES_MAX {
        return Err(at_top(EventErrorKind::TooLarge, BODY_BYTES_MAX));
    }
    if let Err(error) = std::str::from_utf8(body) {
        return Err(at_top(EventErrorKind::NotUtf8, error.valid_up_to()));
    }
    let mut scanner = Scanner {
        body,
        // An event of the source has a node per nine bytes; a denser one makes the tape grow.
        nodes: Vec::with_capacity(body.len() / 8 + 8),
        open: [0; DEPTH_MAX],
        depth: 0,
        had_trailing_commas: false,
    };
    match scanner.document() {
        Ok(()) => Ok(Scanned { nodes: scanner.nodes, had_trailing_commas: scanner.had_trailing_commas }),
        Err(stop) => Err(EventError {
            path: path_of_stop(body, &scanner.nodes, &scanner.open[..scanner.depth]),
            kind: stop.kind,
            offset: stop.at,
        }),
    }
}

struct Scanner<'a> {
    body: &'a [u8],
    nodes: Vec<Node>,
    /// The nodes of the containers that are open, outermost first.
    open: [u32; DEPTH_MAX],
    depth: usize,
    had_trailing_commas: bool,
}

/// Where and why the scanner stopped. Boxed, so that the way of a good body stays in registers.
struct Stop {
    kind: EventErrorKind,
    at: usize,
}

/// The offset after what was read.
type Step = Result<usize, Box<Stop>>;

#[cold]
fn stop<T>(kind: EventErrorKind, at: usize) -> Result<T, Box<Stop>> {
    Err(Box::new(Stop { kind, at }))
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), Box<Stop>> {
        let at = self.skip_space(0);
        if self.byte(at) != b'{' {
            return match self.body.get(at) {
                None => stop(EventErrorKind::Empty, at),
                Some(0xef) if self.body.starts_with("\u{feff}".as_bytes()) => {
                    self.syntax("a byte order mark, which json must not begin with", at)
                }
                Some(_) => stop(EventErrorKind::NotAnObject, at),
            };
        }
        let at = self.containers(at)?;
        let at = self.skip_space(at);
        if at < self.body.len() { self.syntax("something after the event's end", at) } else { Ok(()) }
    }

    /// Reads a container and all that it contains, without recursion: a turn of the loop reads one value and what follows it.
    fn containers(&mut self, mut at: usize) -> Step {
        loop {
            // A value begins here.
            match self.byte(at) {
                b'"' => at = self.text(at)?,
                b'-' | b'0'..=b'9' => at = self.number(at)?,
                b'{' => {
                    self.open(Kind::Object, at)?;
                    at = self.skip_space(at + 1);
                    if self.byte(at) != b'}' {
                        at = self.key(at)?;
                        continue;
                    }
                    at = self.close(at);
                }
                b'[' => {
                    self.open(Kind::Array, at)?;
                    at = self.skip_space(at + 1);
                    if self.byte(at) != b']' {
                        continue;
                    }
                    at = self.close(at);
                }
                b'n' => at = self.word(Kind::Null, b"null", at)?,
                b't' => at = self.word(Kind::True, b"true", at)?,
                b'f' => at = self.word(Kind::False, b"false", at)?,
                _ => return self.syntax("something that is no json value", at),
            }
            // A value has ended: on to the next one, out of as many containers as end here.
            loop {
                if self.depth == 0 {
                    return Ok(at);
                }
                let in_object = self.nodes[self.open[self.depth - 1] as usize].kind() == Kind::Object;
                let closing = if in_object { b'}' } else { b']' };
                at = self.skip_space(at);
                if self.byte(at) == b',' {
                    at = self.skip_space(at + 1);
                    if self.byte(at) != closing {
                        if in_object {
                            at = self.key(at)?;
                        }
                        break;
                    }
                    self.had_trailing_commas = true;
                } else if self.byte(at) != closing {
                    return self.syntax("neither a comma nor the closing bracket", at);
                }
                at = self.close(at);
            }
        }
    }

    fn open(&mut self, kind: Kind, at: usize) -> Result<(), Box<Stop>> {
        let Some(innermost) = self.open.get_mut(self.depth) else { return stop(EventErrorKind::TooDeep, at) };
        *innermost = self.nodes.len() as u32;
        self.depth += 1;
        self.nodes.push(Node::new(kind, at, 0));
        Ok(())
    }

    fn close(&mut self, at: usize) -> usize {
        self.nodes.push(Node::new(Kind::End, at + 1, 0));
        self.depth -= 1;
        let after = self.nodes.len();
        let container = &mut self.nodes[self.open[self.depth] as usize];
        *container = Node::new(container.kind(), container.at(), after);
        at + 1
    }

    /// A key and its colon, up to the value.
    #[inline]
    fn key(&mut self, at: usize) -> Step {
        if self.byte(at) != b'"' {
            return self.syntax("no string where a member's name must stand", at);
        }
        let at = self.text(at)?;
        let at = self.skip_space(at);
        if self.byte(at) != b':' {
            return self.syntax("no colon after a member's name", at);
        }
        Ok(self.skip_space(at + 1))
    }

    /// A string or key from its opening quote on.
    #[inline]
    fn text(&mut self, quote: usize) -> Step {
        let begin = quote + 1;
        let mut at = begin;
        let mut kind = Kind::Text;
        loop {
            at = self.skip_plain_text(at);
            match self.byte(at) {
                b'"' => break,
                b'\\' => {
                    kind = Kind::EscapedText;
                    at = self.escape(at)?;
                }
                _ => return self.syntax("a control character inside of a string", at),
            }
        }
        self.nodes.push(Node::new(kind, begin, at - begin));
        Ok(at + 1)
    }

    /// The offset of the next quote, backslash or control character, or of the body's end.
    #[inline]
    fn skip_plain_text(&self, mut at: usize) -> usize {
        while let Some(eight) = self.body.get(at..).and_then(<[u8]>::first_chunk) {
            let stops = text_stops(u64::from_le_bytes(*eight));
            if stops != 0 {
                return at + stops.trailing_zeros() as usize / 8;
            }
            at += 8;
        }
        while let Some(byte) = self.body.get(at) {
            if matches!(byte, b'"' | b'\\' | 0..0x20) {
                break;
            }
            at += 1;
        }
        at
    }

    /// An escape from its backslash on. A pair of surrogates is one escape; half of one is none.
    fn escape(&self, at: usize) -> Step {
        match self.byte(at + 1) {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
            b'u' => match self.unicode_escape(at) {
                Some(0xd800..=0xdbff) => match self.unicode_escape(at + 6) {
                    Some(0xdc00..=0xdfff) => Ok(at + 12),
                    _ => stop(EventErrorKind::Escape, at),
                },
                Some(0xdc00..=0xdfff) | None => stop(EventErrorKind::Escape, at),
                Some(_) => Ok(at + 6),
            },
            _ => stop(EventErrorKind::Escape, at),
        }
    }

    fn unicode_escape(&self, at: usize) -> Option<u16> {
        let digits = self.body.get(at..)?.strip_prefix(b"\\u")?.first_chunk()?;
        code_unit(digits)
    }

    #[inline]
    fn number(&mut self, begin: usize) -> Step {
        let mut at = begin + usize::from(self.byte(begin) == b'-');
        let mut kind = Kind::Integer;
        if self.byte(at) == b'0' {
            at += 1;
            if self.byte(at).is_ascii_digit() {
                return self.syntax("a number with a leading zero", at);
            }
        } else {
            at = self.digits(at)?;
        }
        if self.byte(at) == b'.' {
            kind = Kind::Number;
            at = self.digits(at + 1)?;
        }
        if matches!(self.byte(at), b'e' | b'E') {
            kind = Kind::Number;
            at += 1 + usize::from(matches!(self.byte(at + 1), b'+' | b'-'));
            at = self.digits(at)?;
        }
        self.nodes.push(Node::new(kind, begin, at - begin));
        Ok(at)
    }

    /// One digit or more.
    #[inline]
    fn digits(&self, begin: usize) -> Step {
        let mut at = begin;
        while self.byte(at).is_ascii_digit() {
            at += 1;
        }
        if at == begin { self.syntax("no digit where a number needs one", at) } else { Ok(at) }
    }

    fn word(&mut self, kind: Kind, word: &[u8], at: usize) -> Step {
        if !self.body[at..].starts_with(word) {
            return self.syntax("something that is no json value", at);
        }
        self.nodes.push(Node::new(kind, at, word.len()));
        Ok(at + word.len())
    }

    #[inline]
    fn skip_space(&self, mut at: usize) -> usize {
        while matches!(self.byte(at), b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
        }
        at
    }

    /// The byte at an offset. The body's end reads as NUL, which the grammar has no use for: it stops every loop.
    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.body.get(at).copied().unwrap_or(0)
    }

    #[cold]
    fn syntax<T>(&self, what: &'static str, at: usize) -> Result<T, Box<Stop>> {
        let what = if at < self.body.len() { what } else { "the body ends too early" };
        stop(EventErrorKind::Syntax(what), at)
    }
}

/// Marks, by the highest bit of its byte, each quote, backslash and control character among eight bytes. The lowest mark is
/// exact; those above it may be wrong, because a subtraction borrows from the next byte once it has found one.
fn text_stops(eight: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let zero_bytes = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let controls = eight.wrapping_sub(ONES * 0x20) & !eight;
    let quotes = zero_bytes(eight ^ (ONES * u64::from(b'"')));
    let backslashes = zero_bytes(eight ^ (ONES * u64::from(b'\\')));
    (controls | quotes | backslashes) & HIGHS
}
