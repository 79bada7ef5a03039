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
    /// ENCR_3DES (3) in CBC mode (RFC 2451): 192 bits of key, of which 168 count, no key length attribute. Needs an
    /// [`Integrity`]. [Legacy](Self::is_legacy).
    TripleDesCbc,
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
            // [7296:2.13-1]
            Self::AesCbc(k) => (12, Some(k.bits())),
            Self::AesGcm16(k) => (20, Some(k.bits())),
            // [7296:3.3.5-4]
            Self::ChaCha20Poly1305 => (28, None),
            Self::TripleDesCbc => (3, None),
        }
    }

    /// The algorithm of this transform ID and Key Length attribute, if Adit knows it.
    #[must_use]
    pub fn from_transform(id: u16, key_length: Option<u16>) -> Option<Self> {
        match (id, key_length) {
            (12, Some(bits)) => KeyBits::from_bits(bits).map(Self::AesCbc),
            // [7296:3.3.5-5] [7296:3.14-2]
            (20, Some(bits)) => KeyBits::from_bits(bits).map(Self::AesGcm16),
            (28, None | Some(256)) => Some(Self::ChaCha20Poly1305),
            (3, None) => Some(Self::TripleDesCbc),
            _ => None,
        }
    }

    /// Whether it authenticates by itself, so that no [`Integrity`] goes with it.
    #[must_use]
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::AesGcm16(_) | Self::ChaCha20Poly1305)
    }

    /// Whether it is too weak for anything but an old peer, by `legacy = true`: 3DES, whose blocks of 64 bits repeat
    /// after some gigabytes (RFC 8221 §5).
    #[must_use]
    pub const fn is_legacy(self) -> bool {
        matches!(self, Self::TripleDesCbc)
    }

    /// Bytes of key material to take from a key derivation: the key, and the salt of an AEAD after it.
    #[must_use]
    pub const fn key_material_len(self) -> usize {
        match self {
            Self::AesCbc(k) => k.bits() as usize / 8,
            Self::AesGcm16(k) => k.bits() as usize / 8 + 4,
            Self::ChaCha20Poly1305 => 32 + 4,
            Self::TripleDesCbc => 24,
        }
    }

    /// Bytes of explicit IV in front of the ciphertext.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        match self {
            Self::AesCbc(_) => 16,
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 | Self::TripleDesCbc => 8,
        }
    }

    /// Bytes of a cipher block, of which the plaintext must be a multiple; 1 with an AEAD.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::AesCbc(_) => 16,
            Self::TripleDesCbc => 8,
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 1,
        }
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AesCbc(k) => write!(f, "aes{}", k.bits()),
            Self::AesGcm16(k) => write!(f, "aes{}gcm16", k.bits()),
            Self::ChaCha20Poly1305 => f.write_str("chacha20poly1305"),
            Self::TripleDesCbc => f.write_str("3des"),
        }
    }
}

transforms! {
    /// Pseudorandom functions (transform type 2), all HMAC. None is legacy: HMAC does not need what SHA-1 lost, so old
    /// peers may have it by name (RFC 8247 §2.2); no default offers it.
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
            // [7296:5-1] [7296:2.13-3]
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }
}

transforms! {
    /// Integrity (transform type 3). As with [`Prf`], SHA-1 is neither legacy nor offered by default (RFC 8247 §2.3,
    /// RFC 8221 §6).
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
    /// Key exchange methods (transform type 4, and 6 to 12 as additional ones; RFC 9370 renamed Diffie-Hellman groups
    /// so).
    KeMethod {
        /// Curve25519 (RFC 8031).
        Curve25519 = 31 "x25519",
        /// 256-bit random ECP group (RFC 5903).
        Ecp256 = 19 "ecp256",
        /// 384-bit random ECP group (RFC 5903).
        Ecp384 = 20 "ecp384",
        /// 521-bit random ECP group (RFC 5903).
        Ecp521 = 21 "ecp521",
        /// 2048-bit MODP group (RFC 3526).
        Modp2048 = 14 "modp2048",
        /// 3072-bit MODP group (RFC 3526).
        Modp3072 = 15 "modp3072",
        /// 4096-bit MODP group (RFC 3526).
        Modp4096 = 16 "modp4096",
        /// 6144-bit MODP group (RFC 3526).
        Modp6144 = 17 "modp6144",
        /// 8192-bit MODP group (RFC 3526).
        Modp8192 = 18 "modp8192",
        /// ML-KEM-512 (FIPS 203, draft-ietf-ipsecme-ikev2-mlkem).
        MlKem512 = 35 "mlkem512",
        /// ML-KEM-768.
        MlKem768 = 36 "mlkem768",
        /// ML-KEM-1024. Its values don't fit an unfragmented message: never a first key exchange over UDP in practice.
        MlKem1024 = 37 "mlkem1024",
        /// 1024-bit MODP group (RFC 2409 §6.2). [Legacy](Self::is_legacy).
        Modp1024 = 2 "modp1024",
        /// 1536-bit MODP group (RFC 3526). [Legacy](Self::is_legacy).
        Modp1536 = 5 "modp1536",
    }
}

impl KeMethod {
    /// Whether it is too weak for anything but an old peer, by `legacy = true`: MODP groups under 2048 bits (RFC 8247
    /// §2.4).
    #[must_use]
    pub const fn is_legacy(self) -> bool {
        matches!(self, Self::Modp1024 | Self::Modp1536)
    }

    /// Whether it is a key encapsulation mechanism: the initiator sends an encapsulation key, the responder a
    /// ciphertext.
    #[must_use]
    pub const fn is_kem(self) -> bool {
        matches!(self, Self::MlKem512 | Self::MlKem768 | Self::MlKem1024)
    }

    /// Bytes of Key Exchange Data in the initiator's KE payload.
    #[must_use]
    pub const fn public_len(self) -> usize {
        match self {
            Self::Curve25519 => 32,
            Self::Ecp256 => 64,
            Self::Ecp384 => 96,
            Self::Ecp521 => 132,
            Self::Modp1024 => 128,
            Self::Modp1536 => 192,
            Self::Modp2048 => 256,
            Self::Modp3072 => 384,
            Self::Modp4096 => 512,
            Self::Modp6144 => 768,
            Self::Modp8192 => 1024,
            Self::MlKem512 => 800,
            Self::MlKem768 => 1184,
            Self::MlKem1024 => 1568,
        }
    }

    /// Bytes of Key Exchange Data in the responder's KE payload.
    #[must_use]
    pub const fn answer_len(self) -> usize {
        match self {
            Self::MlKem512 => 768,
            Self::MlKem768 => 1088,
            Self::MlKem1024 => 1568,
            other => other.public_len(),
        }
    }
}

/// Additional key exchanges (transform types 6 to 12, RFC 9370 §2.2.1): which method each of the seven has, if it takes
/// place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AdditionalKe([Option<KeMethod>; AdditionalKe::TYPES]);

impl AdditionalKe {
    /// So many transform types there are.
    pub const TYPES: usize = 7;

    /// Those of the seven that take place.
    #[must_use]
    pub const fn new(methods: [Option<KeMethod>; Self::TYPES]) -> Self {
        Self(methods)
    }

    /// The methods, in the order in which they take place.
    pub fn methods(&self) -> impl Iterator<Item = KeMethod> + '_ {
        // [9370:2.2.2-1] [9370:2.2.1-4]
        self.0.iter().copied().flatten()
    }

    /// As a proposal that has these and no others.
    #[must_use]
    pub fn lists(&self) -> [Vec<Option<KeMethod>>; Self::TYPES] {
        self.0.map(|method| method.map(Some).into_iter().collect())
    }

    /// How many take place.
    #[must_use]
    pub fn count(&self) -> usize {
        self.methods().count()
    }
}

impl fmt::Display for AdditionalKe {
    /// strongSwan's notation, each word with a hyphen before it: `-ke1_mlkem768`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbered = (1..).zip(self.0).filter_map(|(number, ke)| Some((number, ke?)));
        numbered.into_iter().try_for_each(|(number, ke): (u8, KeMethod)| write!(f, "-ke{number}_{ke}"))
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
    /// Additional key exchanges.
    pub additional: AdditionalKe,
}

impl IkeSuite {
    /// Its legacy algorithms, for people: empty but with an old peer.
    #[must_use]
    pub fn legacy(&self) -> Vec<String> {
        legacy(self.encryption, core::iter::once(self.ke).chain(self.additional.methods()))
    }
}

impl fmt::Display for IkeSuite {
    /// strongSwan's notation: `aes256gcm16-prfsha256-x25519-ke1_mlkem768`, `aes256-sha256-prfsha256-modp2048`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        write!(f, "-{}-{}{}", self.prf, self.ke, self.additional)
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
    /// Additional key exchanges, in IKE_FOLLOWUP_KE (RFC 9370 §2.2.4).
    pub additional: AdditionalKe,
    /// 64-bit extended sequence numbers.
    pub esn: bool,
}

impl EspSuite {
    /// Its legacy algorithms, for people: empty but with an old peer.
    #[must_use]
    pub fn legacy(&self) -> Vec<String> {
        legacy(self.encryption, self.ke.into_iter().chain(self.additional.methods()))
    }
}

fn legacy(encryption: Encryption, ke: impl Iterator<Item = KeMethod>) -> Vec<String> {
    let encryption = encryption.is_legacy().then(|| encryption.to_string());
    let ke = ke.filter(|ke| ke.is_legacy()).map(|ke| ke.to_string());
    encryption.into_iter().chain(ke).collect()
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encryption)?;
        if let Some(integrity) = self.integrity {
            write!(f, "-{integrity}")?;
        }
        if let Some(ke) = self.ke {
            write!(f, "-{ke}{}", self.additional)?;
        }
        if self.esn { f.write_str("-esn") } else { Ok(()) }
    }
}
