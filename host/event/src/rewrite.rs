//! Rewrites a body with other texts and numbers, for readers who may not see the real ones. Values
//! that the rewriter leaves keep their bytes. The output is strict JSON on one line.

use std::borrow::Cow;

use super::envelope::Event;
use super::tape::{Kind, Value};
use super::text::Text;

/// A rewriter: it decides about each name and value.
pub trait Rewrite {
    /// The position in the body, in whatever form the rewriter needs.
    type Place: Copy;

    /// Returns the place of the body.
    fn root(&self) -> Self::Place;
    /// Returns the place of a member of an object.
    fn member(&self, object: Self::Place, name: &str) -> Self::Place;
    /// Returns the place of the elements of an array.
    fn element(&self, array: Self::Place) -> Self::Place;

    /// Returns the new name of a member; `None` keeps the name.
    fn name(&self, object: Self::Place, name: &str) -> Option<String>;
    /// Returns the new text; `None` keeps the text.
    fn text(&self, place: Self::Place, text: &str) -> Option<String>;
    /// Returns the literal of the new number; `None` keeps the number.
    fn number(&self, place: Self::Place, literal: &str) -> Option<String>;
}

impl Event {
    /// Appends the rewritten body to `out`.
    pub fn rewrite(&self, rewrite: &impl Rewrite, out: &mut Vec<u8>) {
        write(self.document().root(), rewrite.root(), rewrite, out);
    }
}

/// Writes one value. The recursion is bounded, because a body has at most 128 nested containers.
fn write<R: Rewrite>(value: Value<'_>, place: R::Place, rewrite: &R, out: &mut Vec<u8>) {
    match value.kind() {
        Kind::Object => {
            out.push(b'{');
            for (number, member) in value.members().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                let name = text_of(member.key);
                match rewrite.name(place, &name) {
                    Some(other) => write_text(&other, out),
                    None => write_text(&name, out),
                }
                out.push(b':');
                write(member.value, rewrite.member(place, &name), rewrite, out);
            }
            out.push(b'}');
        }
        Kind::Array => {
            out.push(b'[');
            for (number, element) in value.elements().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                write(element, rewrite.element(place), rewrite, out);
            }
            out.push(b']');
        }
        Kind::Text | Kind::EscapedText => {
            let other = value.text().and_then(|text| rewrite.text(place, &text_of(text)));
            match other {
                Some(other) => write_text(&other, out),
                None => out.extend_from_slice(value.source()),
            }
        }
        Kind::Integer | Kind::Number => {
            let literal = String::from_utf8_lossy(value.source());
            match rewrite.number(place, &literal) {
                Some(other) => out.extend_from_slice(other.as_bytes()),
                None => out.extend_from_slice(literal.as_bytes()),
            }
        }
        Kind::Null | Kind::False | Kind::True | Kind::End => out.extend_from_slice(value.source()),
    }
}

fn text_of(text: Text<'_>) -> Cow<'_, str> {
    match text.plain().map(std::str::from_utf8) {
        Some(Ok(plain)) => plain.into(),
        _ => String::from(text.to_boxed_str()).into(),
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing a text to a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}
