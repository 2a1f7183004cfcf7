//! A body written anew, with other texts and numbers in it: for whoever may not see those that are there. What is left alone stays as it stands, to the byte;
//! what comes out is strict JSON on one line, whatever the body was.

use std::borrow::Cow;

use super::envelope::Event;
use super::tape::{Kind, Value};
use super::text::Text;

/// Says what becomes of each value. A place is whatever the rewriter knows of where it is.
pub trait Rewrite {
    type Place: Copy;

    fn root(&self) -> Self::Place;
    /// The place of an object's member.
    fn member(&self, object: Self::Place, name: &str) -> Self::Place;
    /// The place of an array's elements.
    fn element(&self, array: Self::Place) -> Self::Place;

    /// Another name for a member, or `None` to leave it.
    fn name(&self, object: Self::Place, name: &str) -> Option<String>;
    /// Another text, or `None` to leave it.
    fn text(&self, place: Self::Place, text: &str) -> Option<String>;
    /// The literal of another number, or `None` to leave it.
    fn number(&self, place: Self::Place, literal: &str) -> Option<String>;
}

impl Event {
    /// Appends the body as the rewriter has it.
    pub fn rewrite(&self, rewrite: &impl Rewrite, out: &mut Vec<u8>) {
        write(self.document().root(), rewrite.root(), rewrite, out);
    }
}

/// A body is at most 128 containers deep.
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
    // A text can always be written, and a vector takes it.
    let _ = serde_json::to_writer(out, text);
}
