//! Reads MessagePack from the output of a guest. Every length is checked against the remaining
//! bytes before it is used. Error texts never contain text from the guest.

use rmp::Marker;

/// A problem with the bytes of a guest. It is one word wide, so that good results are returned in
/// registers.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "it must be one word wide, and only an error allocates")]
pub(super) struct Malformed(Box<String>);

impl From<String> for Malformed {
    #[cold]
    fn from(what: String) -> Malformed {
        Malformed(Box::new(what))
    }
}

impl From<&str> for Malformed {
    #[cold]
    fn from(what: &str) -> Malformed {
        what.to_owned().into()
    }
}

impl Malformed {
    pub(super) fn into_text(self) -> String {
        *self.0
    }
}

/// A position in the output of a guest.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    /// The keys of the maps that are being read, the innermost map last. The buffer is reused, so
    /// that a crossing allocates it once.
    pub(super) keys: Vec<&'a str>,
    /// The JSON that is being written. The buffer is reused, too.
    pub(super) json: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, keys: Vec::new(), json: Vec::new() }
    }

    /// Returns the marker of the next value.
    pub(super) fn marker(&self) -> Result<Marker, Malformed> {
        self.rest.first().map(|byte| Marker::from_u8(*byte)).ok_or_else(cut_short)
    }

    /// Reads the number of elements of an array. The elements follow.
    pub(super) fn array(&mut self, what: &str) -> Result<usize, Malformed> {
        let count = match self.take_marker()? {
            Marker::FixArray(count) => usize::from(count),
            Marker::Array16 => self.length::<2>()?,
            Marker::Array32 => self.length::<4>()?,
            _ => return Err(Malformed::from(format!("{what} that is not an array"))),
        };
        // Each element has at least one byte.
        self.bounded(count, 1, what)
    }

    /// Reads the number of entries of a map. The entries follow.
    pub(super) fn map(&mut self, what: &str) -> Result<usize, Malformed> {
        let count = match self.take_marker()? {
            Marker::FixMap(count) => usize::from(count),
            Marker::Map16 => self.length::<2>()?,
            Marker::Map32 => self.length::<4>()?,
            _ => return Err(Malformed::from(format!("{what} that is not a map"))),
        };
        // Each entry has at least two bytes.
        self.bounded(count, 2, what)
    }

    /// Reads an integer of any width.
    fn integer(&mut self, what: &str) -> Result<i128, Malformed> {
        Ok(match self.take_marker()? {
            Marker::FixPos(value) => i128::from(value),
            Marker::FixNeg(value) => i128::from(value),
            Marker::U8 => i128::from(u8::from_be_bytes(self.array_of()?)),
            Marker::U16 => i128::from(u16::from_be_bytes(self.array_of()?)),
            Marker::U32 => i128::from(u32::from_be_bytes(self.array_of()?)),
            Marker::U64 => i128::from(u64::from_be_bytes(self.array_of()?)),
            Marker::I8 => i128::from(i8::from_be_bytes(self.array_of()?)),
            Marker::I16 => i128::from(i16::from_be_bytes(self.array_of()?)),
            Marker::I32 => i128::from(i32::from_be_bytes(self.array_of()?)),
            Marker::I64 => i128::from(i64::from_be_bytes(self.array_of()?)),
            _ => return Err(Malformed::from(format!("{what} that is not an integer"))),
        })
    }

    pub(super) fn unsigned(&mut self, what: &str) -> Result<u64, Malformed> {
        self.integer(what)?
            .try_into()
            .map_err(|_| Malformed::from(format!("{what} that is negative")))
    }

    pub(super) fn signed(&mut self, what: &str) -> Result<i64, Malformed> {
        self.integer(what)?
            .try_into()
            .map_err(|_| Malformed::from(format!("{what} that is too large")))
    }

    pub(super) fn float(&mut self, what: &str) -> Result<f64, Malformed> {
        match self.take_marker()? {
            Marker::F32 => Ok(f64::from(f32::from_be_bytes(self.array_of()?))),
            Marker::F64 => Ok(f64::from_be_bytes(self.array_of()?)),
            _ => Err(Malformed::from(format!("{what} that is not a float"))),
        }
    }

    pub(super) fn text(&mut self, what: &str) -> Result<&'a str, Malformed> {
        let length = match self.take_marker()? {
            Marker::FixStr(length) => usize::from(length),
            Marker::Str8 => self.length::<1>()?,
            Marker::Str16 => self.length::<2>()?,
            Marker::Str32 => self.length::<4>()?,
            _ => return Err(Malformed::from(format!("{what} that is not a str"))),
        };
        std::str::from_utf8(self.take(length)?)
            .map_err(|_| Malformed::from(format!("{what} that is not UTF-8")))
    }

    pub(super) fn text_or_nil(&mut self, what: &str) -> Result<Option<&'a str>, Malformed> {
        if self.take_nil() { Ok(None) } else { self.text(what).map(Some) }
    }

    pub(super) fn take_nil(&mut self) -> bool {
        self.take_if(Marker::Null)
    }

    /// Takes the marker if the next value begins with it, and returns whether it does.
    pub(super) fn take_if(&mut self, marker: Marker) -> bool {
        let is_so = self.rest.first() == Some(&marker.to_u8());
        if is_so {
            self.rest = &self.rest[1..];
        }
        is_so
    }

    pub(super) fn bin(&mut self, what: &str) -> Result<&'a [u8], Malformed> {
        let length = match self.take_marker()? {
            Marker::Bin8 => self.length::<1>()?,
            Marker::Bin16 => self.length::<2>()?,
            Marker::Bin32 => self.length::<4>()?,
            _ => return Err(Malformed::from(format!("{what} that is not a bin"))),
        };
        self.take(length)
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(cut_short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Skips one value of any type with its contents. A newer SDK may add such values.
    pub(super) fn skip(&mut self, depth_left: usize) -> Result<(), Malformed> {
        let (bytes, values) = match self.take_marker()? {
            Marker::Null | Marker::True | Marker::False | Marker::FixPos(_) | Marker::FixNeg(_) => {
                (0, 0)
            }
            Marker::U8 | Marker::I8 => (1, 0),
            Marker::U16 | Marker::I16 => (2, 0),
            Marker::U32 | Marker::I32 | Marker::F32 => (4, 0),
            Marker::U64 | Marker::I64 | Marker::F64 => (8, 0),
            Marker::FixStr(length) => (usize::from(length), 0),
            Marker::Str8 | Marker::Bin8 => (self.length::<1>()?, 0),
            Marker::Str16 | Marker::Bin16 => (self.length::<2>()?, 0),
            Marker::Str32 | Marker::Bin32 => (self.length::<4>()?, 0),
            Marker::FixExt1 => (1 + 1, 0),
            Marker::FixExt2 => (1 + 2, 0),
            Marker::FixExt4 => (1 + 4, 0),
            Marker::FixExt8 => (1 + 8, 0),
            Marker::FixExt16 => (1 + 16, 0),
            Marker::Ext8 => (1 + self.length::<1>()?, 0),
            Marker::Ext16 => (1 + self.length::<2>()?, 0),
            Marker::Ext32 => (1 + self.length::<4>()?, 0),
            Marker::FixArray(count) => (0, usize::from(count)),
            Marker::Array16 => (0, self.length::<2>()?),
            Marker::Array32 => (0, self.length::<4>()?),
            Marker::FixMap(count) => (0, usize::from(count) * 2),
            Marker::Map16 => (0, self.length::<2>()? * 2),
            Marker::Map32 => (0, self.length::<4>()? * 2),
            Marker::Reserved => return Err("a byte that MessagePack does not know".into()),
        };
        self.take(bytes)?;
        if values > 0 {
            let depth_left = depth_left.checked_sub(1).ok_or("values nested too deep")?;
            for _ in 0..values {
                self.skip(depth_left)?;
            }
        }
        Ok(())
    }

    /// Checks that no bytes are left over.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Malformed::from(format!("{left} bytes left over"))),
        }
    }

    pub(super) fn array_of<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(cut_short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn take_marker(&mut self) -> Result<Marker, Malformed> {
        let marker = self.marker()?;
        self.rest = &self.rest[1..];
        Ok(marker)
    }

    fn length<const WIDTH: usize>(&mut self) -> Result<usize, Malformed> {
        let bytes: [u8; WIDTH] = self.array_of()?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn bounded(&self, count: usize, bytes_each: usize, what: &str) -> Result<usize, Malformed> {
        if count > self.rest.len() / bytes_each {
            return Err(Malformed::from(format!("{what} that is longer than the output")));
        }
        Ok(count)
    }
}

#[cold]
fn cut_short() -> Malformed {
    "an output that ends in the middle".into()
}
