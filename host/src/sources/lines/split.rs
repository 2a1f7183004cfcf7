//! Cuts a stream of bytes into lines without ever holding more than one line and one block.

use std::io::{ErrorKind, Read, Result};

use bytes::{Bytes, BytesMut};
use memchr::memchr;

const BLOCK_BYTES: usize = 64 << 10;

/// One line without its end. `\r\n` ends a line as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counted from 1, empty lines too.
    pub(crate) number: u64,
    pub(crate) text: Bytes,
    /// It was too long, and this is its beginning.
    pub(crate) cut: bool,
}

pub(crate) struct LineSplitter<R> {
    reader: R,
    line_bytes_max: usize,
    /// The beginning of a line of which the end has not been read.
    begun: BytesMut,
    /// The rest of the line is skipped.
    cutting: bool,
    number: u64,
    ended: bool,
}

impl<R: Read> LineSplitter<R> {
    pub(crate) fn new(reader: R, line_bytes_max: usize) -> LineSplitter<R> {
        let begun = BytesMut::new();
        LineSplitter { reader, line_bytes_max, begun, cutting: false, number: 0, ended: false }
    }

    /// The lines that one read completed, as soon as it did; none at the end of the input. A last line needs no end.
    pub(crate) fn next_block(&mut self) -> Result<Option<Vec<Line>>> {
        let mut lines = Vec::new();
        while lines.is_empty() && !self.ended {
            let mut block = BytesMut::zeroed(BLOCK_BYTES);
            let read = match self.reader.read(&mut block) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            block.truncate(read);
            if read == 0 {
                self.ended = true;
                self.end_line(&mut lines);
            }
            self.split(block, &mut lines);
        }
        Ok(if lines.is_empty() { None } else { Some(lines) })
    }

    fn split(&mut self, mut block: BytesMut, lines: &mut Vec<Line>) {
        while let Some(end) = memchr(b'\n', &block) {
            let text = block.split_to(end + 1);
            self.begin(text, end);
            self.end_line(lines);
        }
        let rest = block.len();
        if rest > 0 {
            self.begin(block, rest);
        }
    }

    /// Adds the first `bytes` of `text` to the line, as far as they fit.
    fn begin(&mut self, mut text: BytesMut, bytes: usize) {
        // One more than fits is kept, for the `\r` of an end that has not been seen.
        let room = (self.line_bytes_max + 1).saturating_sub(self.begun.len());
        self.cutting |= bytes > room;
        text.truncate(bytes.min(room));
        if self.begun.is_empty() {
            self.begun = text;
        } else {
            self.begun.extend_from_slice(&text);
        }
    }

    fn end_line(&mut self, lines: &mut Vec<Line>) {
        let mut text = std::mem::take(&mut self.begun).freeze();
        let mut cut = std::mem::take(&mut self.cutting);
        if self.ended && text.is_empty() {
            return;
        }
        self.number += 1;
        if !cut && text.last() == Some(&b'\r') {
            text.truncate(text.len() - 1);
        }
        cut |= text.len() > self.line_bytes_max;
        text.truncate(self.line_bytes_max);
        if !text.trim_ascii().is_empty() || cut {
            lines.push(Line { number: self.number, text, cut });
        }
    }
}
