use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes that nobody may see: zeroized when dropped, not `Clone`, redacted in `Debug`.
///
/// A secret is moved, not copied, to where it is used; [`Secret::expose`] marks each place that reads it.
// [7296:2.12-1]
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Takes the bytes over. Room that `bytes` had beyond its length is not kept: the old allocation is zeroized.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let boxed: Box<[u8]> = bytes.as_slice().into();
        bytes.zeroize();
        Self(boxed)
    }

    /// The bytes, for as long as the borrow lasts.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A second copy, where two owners are needed (a PSK asked for twice). Named so that it is seen in review.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    /// Compares in time that depends on the lengths only.
    #[must_use]
    pub fn equals(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // [7296:2.12-1]
    #[test]
    fn it_is_wiped_when_it_goes() {
        fn wiped<T: ZeroizeOnDrop>(_: &T) {}
        let mut secret = Secret::from(&b"key"[..]);
        wiped(&secret);
        secret.zeroize();
        assert!(secret.expose().iter().all(|b| *b == 0));
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::from(&b"hunter2"[..])), "Secret(…)");
    }

    #[test]
    fn equality_is_of_bytes() {
        assert!(Secret::from(&b"a"[..]).equals(b"a"));
        assert!(!Secret::from(&b"a"[..]).equals(b"b"));
        assert!(!Secret::from(&b"a"[..]).equals(b"aa"));
    }
}
