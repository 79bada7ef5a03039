//! The algorithms that Adit knows, by their IANA "IKEv2 Parameters" transform IDs.

use core::fmt;

macro_rules! transforms {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $id:literal $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every algorithm of this type that Adit knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The IANA transform ID.
            #[must_use]
            pub const fn transform_id(self) -> u16 {
                match self { $(Self::$variant => $id,)* }
            }

            /// The algorithm with this transform ID, if Adit knows it.
            #[must_use]
            pub fn from_transform_id(id: u16) -> Option<Self> {
                Self::ALL.iter().copied().find(|a| a.transform_id() == id)
            }

            /// strongSwan's word for it, which administrators know.
            #[must_use]
            pub const fn keyword(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.keyword())
            }
        }
    };
}

/// Encryption (transform type 1), with its key length where the transform has one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Encryption {
    /// ENCR_AES_CBC (12) with a key of 128, 192 or 256 bits. Needs an [`Integrity`].
    AesCbc(KeyBits),
    /// ENCR_AES_GCM_16 (20) with a key of 128, 192 or 256 bits, a 4-byte salt and a 16-byte ICV.
    AesGcm16(KeyBits),
    /// ENCR_CHACHA20_POLY1305 (28): 256-bit key, 4-byte salt, no key length attribute.
    ChaCha20Poly1305,
}

/// Length of an AES key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum KeyBits {
    /// 128 bits.
    B128,
    /// 192 bits.
    B192,
    /// 256 bits.
    B256,
}

impl KeyBits {
    /// The length in bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        match self {
            Self::B128 => 128,
            Self::B192 => 192,
            Self::B256 => 256,
        }
    }

    /// The key length with so many bits, if AES has one.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            128 => Some(Self::B128),
            192 => Some(Self::B192),
            256 => Some(Self::B256),
            _ => None,
        }
    }
}

impl Encryption {
    /// The IANA transform ID and the Key Length attribute, if the transform carries one.
    #[must_use]
    pub const fn transform(self) -> (u16, Option<u16>) {
        match self {
            Self::AesCbc(k) => (12, Some(k.bits())),
            Self::AesGcm16(k) => (20, Some(k.bits())),
            Self::ChaCha20Poly1305 => (28, None),
        }
    }

    /// The algorithm of this transform ID and Key Length attribute, if Adit knows it.
    #[must_use]
    pub fn from_transform(id: u16, key_length: Option<u16>) -> Option<Self> {
        match (id, key_length) {
            (12, Some(bits)) => KeyBits::from_bits(bits).map(Self::AesCbc),
            (20, Some(bits)) => KeyBits::from_bits(bits).map(Self::AesGcm16),
            (28, None | Some(256)) => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// Whether it authenticates by itself, so that no [`Integrity`] goes with it.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::AesGcm16(_) | Self::ChaCha20Poly1305)
    }

    /// Bytes of key material to take from a key derivation: the key, and the salt of an AEAD after it.
    #[must_use]
    pub const fn key_material_len(self) -> usize {
        match self {
            Self::AesCbc(k) => k.bits() as usize / 8,
            Self::AesGcm16(k) => k.bits() as usize / 8 + 4,
            Self::ChaCha20Poly1305 => 32 + 4,
        }
    }

    /// Bytes of explicit IV in front of the ciphertext.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        match self {
            Self::AesCbc(_) => 16,
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 8,
        }
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AesCbc(k) => write!(f, "aes{}", k.bits()),
            Self::AesGcm16(k) => write!(f, "aes{}gcm16", k.bits()),
            Self::ChaCha20Poly1305 => f.write_str("chacha20poly1305"),
        }
    }
}

transforms! {
    /// Pseudorandom functions (transform type 2), all HMAC.
    Prf {
        /// PRF_HMAC_SHA2_256.
        HmacSha256 = 5 "prfsha256",
        /// PRF_HMAC_SHA2_384.
        HmacSha384 = 6 "prfsha384",
        /// PRF_HMAC_SHA2_512.
        HmacSha512 = 7 "prfsha512",
        /// PRF_HMAC_SHA1.
        HmacSha1 = 2 "prfsha1",
    }
}

impl Prf {
    /// Bytes of output, which is also the preferred length of its key (RFC 7296 §2.13).
    #[must_use]
    pub const fn output_len(self) -> usize {
        match self {
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }
}

transforms! {
    /// Integrity (transform type 3).
    Integrity {
        /// AUTH_HMAC_SHA2_256_128.
        HmacSha256_128 = 12 "sha256",
        /// AUTH_HMAC_SHA2_384_192.
        HmacSha384_192 = 13 "sha384",
        /// AUTH_HMAC_SHA2_512_256.
        HmacSha512_256 = 14 "sha512",
        /// AUTH_HMAC_SHA1_96.
        HmacSha1_96 = 2 "sha1",
    }
}

impl Integrity {
    /// Bytes of key.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 20,
            Self::HmacSha256_128 => 32,
            Self::HmacSha384_192 => 48,
            Self::HmacSha512_256 => 64,
        }
    }

    /// Bytes of ICV on the wire.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 12,
            Self::HmacSha256_128 => 16,
            Self::HmacSha384_192 => 24,
            Self::HmacSha512_256 => 32,
        }
    }
}

transforms! {
    /// Key exchange methods (transform type 4; RFC 9370 renamed Diffie-Hellman groups so).
    KeMethod {
        /// Curve25519 (RFC 8031).
        Curve25519 = 31 "x25519",
        /// 256-bit random ECP group (RFC 5903).
        Ecp256 = 19 "ecp256",
        /// 384-bit random ECP group (RFC 5903).
        Ecp384 = 20 "ecp384",
        /// 2048-bit MODP group (RFC 3526).
        Modp2048 = 14 "modp2048",
        /// 3072-bit MODP group (RFC 3526).
        Modp3072 = 15 "modp3072",
        /// 4096-bit MODP group (RFC 3526).
        Modp4096 = 16 "modp4096",
    }
}

impl KeMethod {
    /// Bytes of Key Exchange Data in a KE payload.
    #[must_use]
    pub const fn public_len(self) -> usize {
        match self {
            Self::Curve25519 => 32,
            Self::Ecp256 => 64,
            Self::Ecp384 => 96,
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
        }
    }
}

/// What an IKE_SA uses: one algorithm of each type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IkeSuite {
    /// Encryption.
    pub encryption: Encryption,
    /// Integrity; none with an AEAD.
    pub integrity: Option<Integrity>,
    /// Pseudorandom function.
    pub prf: Prf,
    /// Key exchange.
    pub ke: KeMethod,
}

impl fmt::Display for IkeSuite {
    /// strongSwan's notation: `aes256gcm16-prfsha256-x25519`, `aes256-sha256-prfsha256-modp2048`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        write!(f, "-{}-{}", self.prf, self.ke)
    }
}

/// What a CHILD_SA uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EspSuite {
    /// Encryption.
    pub encryption: Encryption,
    /// Integrity; none with an AEAD.
    pub integrity: Option<Integrity>,
    /// The key exchange of CREATE_CHILD_SA; none in IKE_AUTH, or without PFS.
    pub ke: Option<KeMethod>,
    /// 64-bit extended sequence numbers.
    pub esn: bool,
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        if let Some(ke) = self.ke {
            write!(f, "-{ke}")?;
        }
        if self.esn { f.write_str("-esn") } else { Ok(()) }
    }
}
