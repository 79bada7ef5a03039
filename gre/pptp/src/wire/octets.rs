//! Reading and writing fields in order.

use adit_core::DecodeError;

/// Strings are this long on the wire.
pub(super) const STRING: usize = 64;

pub(super) struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((found, rest)) => {
                self.rest = rest;
                self.at = self.at.saturating_add(N);
                Ok(*found)
            }
            None => Err(DecodeError::new(self.at, "the message is shorter than its type says")),
        }
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.take::<1>().map(|[b]| b)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_be_bytes)
    }

    /// A string up to its first zero, no longer than it can be written again; what is not printable text is dropped.
    pub(super) fn text(&mut self) -> Result<String, DecodeError> {
        let bytes = self.take::<STRING>()?;
        let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
        let mut text: String = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect();
        text.truncate(text.floor_char_boundary(STRING - 1));
        Ok(text)
    }
}

#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(super) fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// At most 63 octets, so that a zero ends it.
    pub(super) fn text(mut self, text: &str) -> Self {
        let cut = text.floor_char_boundary(STRING - 1);
        let bytes = text.as_bytes().get(..cut).unwrap_or_default();
        self.0.extend_from_slice(bytes);
        self.0.extend(core::iter::repeat_n(0, STRING.saturating_sub(bytes.len())));
        self
    }
}
