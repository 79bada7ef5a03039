//! PKCS#12's own derivation of keys from passwords (RFC 7292 appendix B.2).

use adit_core::Secret;
use der::asn1::ObjectIdentifier;
use sha1::Digest;
use zeroize::Zeroizing;

use super::wide;
use crate::PkiError;
use crate::decrypt::MOST_ITERATIONS;

/// Which hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// What the key is for: the ID of appendix B.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

impl Hash {
    pub(crate) fn of(oid: ObjectIdentifier) -> Option<Self> {
        match oid.to_string().as_str() {
            "1.3.14.3.2.26" => Some(Self::Sha1),
            "2.16.840.1.101.3.4.2.1" => Some(Self::Sha256),
            "2.16.840.1.101.3.4.2.2" => Some(Self::Sha384),
            "2.16.840.1.101.3.4.2.3" => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Bytes of its output.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Bytes of its blocks: v of appendix B.2.
    const fn block(self) -> usize {
        match self {
            Self::Sha1 | Self::Sha256 => 64,
            Self::Sha384 | Self::Sha512 => 128,
        }
    }

    fn digest(self, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        fn of<D: Digest>(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
            let mut hash = D::new();
            parts.iter().for_each(|part| hash.update(part));
            Zeroizing::new(hash.finalize().to_vec())
        }
        match self {
            Self::Sha1 => of::<sha1::Sha1>(parts),
            Self::Sha256 => of::<sha2::Sha256>(parts),
            Self::Sha384 => of::<sha2::Sha384>(parts),
            Self::Sha512 => of::<sha2::Sha512>(parts),
        }
    }
}

/// `length` bytes for a purpose.
pub(crate) fn derive(
    hash: Hash,
    purpose: Purpose,
    password: &Secret,
    salt: &[u8],
    iterations: u32,
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    if iterations == 0 || iterations > MOST_ITERATIONS || salt.len() > 1024 || password.len() > 1024 {
        return Err(PkiError::Key("the PKCS#12 file's password derivation is out of bounds"));
    }
    let v = hash.block();
    let diversifier = vec![purpose as u8; v];
    let mut i = Zeroizing::new(fill(salt, v));
    i.extend_from_slice(&fill(&wide(password)?, v));
    let mut out = Zeroizing::new(Vec::with_capacity(length.saturating_add(hash.len())));
    while out.len() < length {
        let mut a = hash.digest(&[&diversifier, &i]);
        for _ in 1..iterations {
            a = hash.digest(&[&a]);
        }
        out.extend_from_slice(&a);
        let b = Zeroizing::new(fill(&a, v));
        i.chunks_mut(v).for_each(|block| add(block, &b));
    }
    out.truncate(length);
    Ok(out)
}

/// Repeated up to a whole number of blocks; nothing stays nothing.
fn fill(bytes: &[u8], v: usize) -> Vec<u8> {
    bytes.iter().copied().cycle().take(bytes.len().next_multiple_of(v)).collect()
}

/// `block = block + b + 1`, as big endian numbers, without the carry.
fn add(block: &mut [u8], b: &[u8]) {
    let mut carry = 1_u16;
    for (to, from) in block.iter_mut().zip(b).rev() {
        let sum = u16::from(*to).saturating_add(u16::from(*from)).saturating_add(carry);
        let [high, low] = sum.to_be_bytes();
        *to = low;
        carry = high.into();
    }
}
