//! A cursor over bytes from outside that knows where it is, and a writer that patches lengths.

use adit_core::DecodeError;
use thiserror::Error;

/// Why a value can't be written: it does not fit its length field. Only a local mistake leads here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("{what} is too long for its length field")]
pub struct EncodeError {
    /// What is too long.
    pub what: &'static str,
}

/// Reads big-endian fields. Every read checks, none panics; errors carry the offset from the start of the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Over `bytes`, whose first byte is byte `at` of the message.
    pub(crate) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Offset of the next byte in the message.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) const fn error(&self, why: &'static str) -> DecodeError {
        DecodeError::new(self.at, why)
    }

    pub(crate) fn take(&mut self, count: usize, why: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.bytes.split_at_checked(count).ok_or(self.error(why))?;
        self.bytes = tail;
        self.at = self.at.saturating_add(count);
        Ok(head)
    }

    /// A reader over the next `count` bytes.
    pub(crate) fn part(&mut self, count: usize, why: &'static str) -> Result<Self, DecodeError> {
        let at = self.at;
        Ok(Self::new(self.take(count, why)?, at))
    }

    pub(crate) fn array<const N: usize>(&mut self, why: &'static str) -> Result<[u8; N], DecodeError> {
        let at = self.at;
        <[u8; N]>::try_from(self.take(N, why)?).map_err(|_| DecodeError::new(at, why))
    }

    pub(crate) fn u8(&mut self, why: &'static str) -> Result<u8, DecodeError> {
        self.array(why).map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self, why: &'static str) -> Result<u16, DecodeError> {
        self.array(why).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, why: &'static str) -> Result<u32, DecodeError> {
        self.array(why).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, why: &'static str) -> Result<u64, DecodeError> {
        self.array(why).map(u64::from_be_bytes)
    }

    /// Everything that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes;
        self.at = self.at.saturating_add(rest.len());
        self.bytes = &[];
        rest
    }

    /// Nothing may be left.
    pub(crate) fn end(&self, why: &'static str) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(self.error(why)) }
    }
}

/// Writes the 16-bit length of everything from `start` on into bytes `start + 2` and `start + 3`: the place where
/// payloads, proposals, transforms and traffic selectors all have it.
pub(crate) fn patch_length(out: &mut [u8], start: usize, what: &'static str) -> Result<(), EncodeError> {
    let length = u16::try_from(out.len().saturating_sub(start)).map_err(|_| EncodeError { what })?;
    let field = out.get_mut(start.saturating_add(2)..start.saturating_add(4)).ok_or(EncodeError { what })?;
    field.copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// A count that has to fit one byte.
pub(crate) fn count8(count: usize, what: &'static str) -> Result<u8, EncodeError> {
    u8::try_from(count).map_err(|_| EncodeError { what })
}

/// A newtype over a number of the IANA registry, with names; unknown numbers survive.
macro_rules! registry {
    ($(#[$meta:meta])* $name:ident($int:ty) { $($(#[$doc:meta])* $constant:ident = $value:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl $name {
            $($(#[$doc])* pub const $constant: Self = Self($value);)*

            /// Every value that has a name here.
            pub const NAMED: &'static [Self] = &[$(Self::$constant,)*];

            /// The registry's name, if it is one that Adit knows.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($value => Some(stringify!($constant)),)* _ => None }
            }
        }

        impl core::fmt::Display for $name {
            /// `NAME (number)`, or the number alone.
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => write!(f, "{name} ({})", self.0),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    };
}
pub(crate) use registry;
