//! Splits a byte stream into lines, with at most one line and one block in memory.

use std::io::{ErrorKind, Read, Result};

use bytes::{Bytes, BytesMut};
use memchr::memchr;

const BLOCK_BYTES: usize = 64 << 10;

/// One line without its line break, `\n` or `\r\n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The line number, from 1; empty lines count.
    pub number: u64,
    pub text: Bytes,
    /// The line was over the limit, and `text` is its beginning.
    pub cut: bool,
}

pub struct LineSplitter<R> {
    reader: R,
    line_bytes_max: usize,
    /// The beginning of a line whose end has not been read.
    begun: BytesMut,
    /// The line is over the limit, so the rest of it is skipped.
    cutting: bool,
    number: u64,
    ended: bool,
}

impl<R: Read> LineSplitter<R> {
    pub fn new(reader: R, line_bytes_max: usize) -> LineSplitter<R> {
        let begun = BytesMut::new();
        LineSplitter { reader, line_bytes_max, begun, cutting: false, number: 0, ended: false }
    }

    /// The lines that one read completed, returned without waiting for more data; `None` at the end
    /// of the input. The last line needs no line break.
    pub fn next_block(&mut self) -> Result<Option<Vec<Line>>> {
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

    /// Appends the first `bytes` of `text` to the line, up to the limit.
    fn begin(&mut self, mut text: BytesMut, bytes: usize) {
        // One byte over the limit is kept, because it may be the `\r` of a line break.
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
