use core::fmt;

use adit_core::Secret;

use crate::XfrmError;

/// An integrity algorithm beside a CBC cipher.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Integrity {
    /// HMAC-SHA1-96 (RFC 2404), for L2TP/IPsec's old peers.
    HmacSha1_96,
    /// HMAC-SHA2-256-128 (RFC 4868).
    HmacSha256_128,
    /// HMAC-SHA2-384-192 (RFC 4868).
    HmacSha384_192,
    /// HMAC-SHA2-512-256 (RFC 4868).
    HmacSha512_256,
}

impl Integrity {
    /// Every one.
    pub const ALL: [Self; 4] =
        [Self::HmacSha1_96, Self::HmacSha256_128, Self::HmacSha384_192, Self::HmacSha512_256];

    /// Bytes of key.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::HmacSha1_96 => 20,
            Self::HmacSha256_128 => 32,
            Self::HmacSha384_192 => 48,
            Self::HmacSha512_256 => 64,
        }
    }

    pub(crate) const fn kernel_name(self) -> &'static str {
        match self {
            Self::HmacSha1_96 => "hmac(sha1)",
            Self::HmacSha256_128 => "hmac(sha256)",
            Self::HmacSha384_192 => "hmac(sha384)",
            Self::HmacSha512_256 => "hmac(sha512)",
        }
    }

    pub(crate) const fn icv_bits(self) -> u32 {
        match self {
            Self::HmacSha1_96 => 96,
            Self::HmacSha256_128 => 128,
            Self::HmacSha384_192 => 192,
            Self::HmacSha512_256 => 256,
        }
    }
}

/// How ESP protects packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Algorithm {
    /// AES-GCM with a 16-byte ICV (RFC 4106).
    AesGcm16 {
        /// Key bits: 128, 192 or 256.
        bits: u16,
    },
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// AES-CBC (RFC 3602) with an HMAC.
    AesCbc {
        /// Key bits: 128, 192 or 256.
        bits: u16,
        /// The HMAC.
        integrity: Integrity,
    },
    /// 3DES-CBC (RFC 2451) with an HMAC, for old peers.
    TripleDesCbc {
        /// The HMAC.
        integrity: Integrity,
    },
}

impl Algorithm {
    /// Every one that the kernel is asked about.
    pub const PROBED: [Self; 7] = [
        Self::AesGcm16 { bits: 128 },
        Self::AesGcm16 { bits: 256 },
        Self::ChaCha20Poly1305,
        Self::AesCbc { bits: 256, integrity: Integrity::HmacSha256_128 },
        Self::AesCbc { bits: 256, integrity: Integrity::HmacSha384_192 },
        Self::AesCbc { bits: 256, integrity: Integrity::HmacSha512_256 },
        Self::AesCbc { bits: 256, integrity: Integrity::HmacSha1_96 },
    ];

    /// Bytes of [`EspKeys::encryption`]: the key, and 4 bytes of salt behind it where there is one (RFC 4106 §8.1,
    /// RFC 7634 §2).
    #[must_use]
    pub const fn encryption_length(self) -> usize {
        match self {
            Self::AesGcm16 { bits } => bits as usize / 8 + 4,
            Self::ChaCha20Poly1305 => 36,
            Self::AesCbc { bits, .. } => bits as usize / 8,
            Self::TripleDesCbc { .. } => 24,
        }
    }

    /// Bytes of [`EspKeys::integrity`]; 0 for the AEADs.
    #[must_use]
    pub const fn integrity_length(self) -> usize {
        match self {
            Self::AesGcm16 { .. } | Self::ChaCha20Poly1305 => 0,
            Self::AesCbc { integrity, .. } | Self::TripleDesCbc { integrity } => integrity.key_length(),
        }
    }

    pub(crate) const fn kernel_name(self) -> &'static str {
        match self {
            Self::AesGcm16 { .. } => "rfc4106(gcm(aes))",
            Self::ChaCha20Poly1305 => "rfc7539esp(chacha20,poly1305)",
            Self::AesCbc { .. } => "cbc(aes)",
            Self::TripleDesCbc { .. } => "cbc(des3_ede)",
        }
    }

    /// The kernel modules that make it, for a person to load.
    pub(crate) const fn modules(self) -> &'static str {
        match self {
            Self::AesGcm16 { .. } => "gcm seqiv",
            Self::ChaCha20Poly1305 => "chacha20poly1305 seqiv",
            Self::AesCbc { integrity: Integrity::HmacSha1_96, .. } => {
                "cbc authenc echainiv hmac sha1_generic"
            }
            Self::AesCbc { integrity: Integrity::HmacSha256_128, .. } => {
                "cbc authenc echainiv hmac sha256_generic"
            }
            Self::AesCbc { .. } => "cbc authenc echainiv hmac sha512_generic",
            Self::TripleDesCbc { .. } => "des_generic cbc authenc echainiv hmac",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AesGcm16 { bits } => write!(f, "AES-GCM-16-{bits}"),
            Self::ChaCha20Poly1305 => f.write_str("ChaCha20-Poly1305"),
            Self::AesCbc { bits, integrity } => write!(f, "AES-CBC-{bits} with {}", integrity.kernel_name()),
            Self::TripleDesCbc { integrity } => write!(f, "3DES-CBC with {}", integrity.kernel_name()),
        }
    }
}

/// The keys of one direction.
#[derive(Debug)]
pub struct EspKeys {
    /// What they are for.
    pub algorithm: Algorithm,
    /// The encryption key with its salt behind it, [`Algorithm::encryption_length`] bytes.
    pub encryption: Secret,
    /// The integrity key, [`Algorithm::integrity_length`] bytes; empty for the AEADs.
    pub integrity: Secret,
}

impl EspKeys {
    /// Refuses lengths that don't fit before the kernel sees them: it would take a key of another length of the
    /// same cipher for what was negotiated.
    pub(crate) fn check(&self) -> Result<(), XfrmError> {
        let fits = self.encryption.len() == self.algorithm.encryption_length()
            && self.integrity.len() == self.algorithm.integrity_length();
        let known = match self.algorithm {
            Algorithm::AesGcm16 { bits } | Algorithm::AesCbc { bits, .. } => matches!(bits, 128 | 192 | 256),
            Algorithm::ChaCha20Poly1305 | Algorithm::TripleDesCbc { .. } => true,
        };
        if fits && known {
            return Ok(());
        }
        Err(XfrmError::Invalid(format!(
            "{} takes {} and {} bytes of key, not {} and {}",
            self.algorithm,
            self.algorithm.encryption_length(),
            self.algorithm.integrity_length(),
            self.encryption.len(),
            self.integrity.len()
        )))
    }
}
