//! Proposals of IKEv1: what is offered, what is chosen of an offer, and whether an answer was offered. The algorithms
//! come from the same configuration as IKEv2's ([`IkeProposal`], [`EspProposal`]): of an IKE proposal the PRFs name the
//! hashes, and integrity is left out, since IKEv1 authenticates by the hash alone.

use core::fmt;
use core::time::Duration;

pub use super::describe::{describe_esp, describe_ike};
use super::describe::{esp_text, ike_text};
use super::sa::{Proposal, SECONDS, SecurityAssociation, Transform};
use crate::algorithm::{Encryption, EspSuite, IkeSuite, Integrity, KeMethod, KeyBits, Prf};
use crate::api::ChildMode;
use crate::payload::{Attribute, AttributeValue, Protocol};
use crate::proposal::{EspProposal, IkeProposal, NoProposal};

/// Transforms that we offer in one proposal, at most: a first message must fit a datagram that no router cuts.
const MOST_OFFERED: usize = 24;

/// KEY_IKE.
const KEY_IKE: u8 = 1;

/// Attributes of phase 1 (RFC 2409 appendix A).
pub(super) mod ike {
    pub(in crate::v1) const ENCRYPTION: u16 = 1;
    pub(in crate::v1) const HASH: u16 = 2;
    pub(in crate::v1) const AUTHENTICATION: u16 = 3;
    pub(in crate::v1) const GROUP: u16 = 4;
    pub(in crate::v1) const LIFE: (u16, u16) = (11, 12);
    pub(in crate::v1) const KEY_LENGTH: u16 = 14;
}

/// Attributes of phase 2 (RFC 2407 §4.5).
pub(super) mod esp {
    pub(in crate::v1) const LIFE: (u16, u16) = (1, 2);
    pub(in crate::v1) const GROUP: u16 = 3;
    pub(in crate::v1) const MODE: u16 = 4;
    pub(in crate::v1) const INTEGRITY: u16 = 5;
    pub(in crate::v1) const KEY_LENGTH: u16 = 6;
}

/// How both ends prove who they are (RFC 2409 appendix A).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AuthMethod {
    /// A pre-shared key.
    Psk,
    /// RSA signatures.
    RsaSignatures,
}

impl AuthMethod {
    const fn number(self) -> u16 {
        match self {
            Self::Psk => 1,
            Self::RsaSignatures => 3,
        }
    }

    pub(super) fn from_number(number: u64) -> Option<Self> {
        [Self::Psk, Self::RsaSignatures].into_iter().find(|m| u64::from(m.number()) == number)
    }
}

impl fmt::Display for AuthMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Psk => "psk",
            Self::RsaSignatures => "rsasig",
        })
    }
}

/// What both ends have agreed on in phase 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChosenIke {
    /// Algorithms; its integrity is that of the hash.
    pub suite: IkeSuite,
    /// How both prove who they are.
    pub auth: AuthMethod,
    /// The life that the offer has.
    pub life: Option<Duration>,
    /// What to answer.
    pub answer: SecurityAssociation,
}

/// What both ends have agreed on in phase 2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChosenEsp {
    /// Algorithms; its key exchange method is that of PFS.
    pub suite: EspSuite,
    /// Tunnel or transport.
    pub mode: ChildMode,
    /// The SPI of whoever sent it.
    pub spi: u32,
    /// The life that the offer has.
    pub life: Option<Duration>,
    /// What to answer, with our SPI still to be put in.
    pub answer: SecurityAssociation,
}

/// Which encapsulation modes are spoken (RFC 2407 §4.5, RFC 3947 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encapsulation {
    /// No NAT: ESP as it is.
    Plain,
    /// ESP in UDP, by the numbers of RFC 3947.
    Udp,
    /// ESP in UDP, by the numbers of its drafts.
    UdpDraft,
}

impl Encapsulation {
    const fn numbers(self) -> (u16, u16) {
        match self {
            Self::Plain => (1, 2),
            // [3947:5.1-1]
            Self::Udp => (3, 4),
            Self::UdpDraft => (61443, 61444),
        }
    }

    const fn number(self, mode: ChildMode) -> u16 {
        match mode {
            ChildMode::Tunnel => self.numbers().0,
            ChildMode::Transport => self.numbers().1,
        }
    }

    pub(super) fn mode(self, number: u64) -> Option<ChildMode> {
        [ChildMode::Tunnel, ChildMode::Transport].into_iter().find(|m| u64::from(self.number(*m)) == number)
    }
}

/// Whether IKEv1 can do a key exchange by this method.
#[must_use]
pub const fn has(ke: KeMethod) -> bool {
    !ke.is_kem() && !matches!(ke, KeMethod::Curve25519)
}

/// The suites of a configuration, best first.
pub(super) fn ike_suites(ours: &[IkeProposal]) -> impl Iterator<Item = IkeSuite> {
    ours.iter().flat_map(|p| {
        let ciphers = p.encryption.iter().copied().filter(|e| !e.is_aead());
        ciphers.flat_map(move |encryption| {
            let hashes = p.prf.iter().copied();
            hashes.flat_map(move |prf| {
                let methods = p.ke.iter().copied().filter(|ke| has(*ke));
                methods.map(move |ke| ike_suite(encryption, prf, ke))
            })
        })
    })
}

const fn ike_suite(encryption: Encryption, prf: Prf, ke: KeMethod) -> IkeSuite {
    let integrity = match prf {
        Prf::HmacSha1 => Integrity::HmacSha1_96,
        Prf::HmacSha256 => Integrity::HmacSha256_128,
        Prf::HmacSha384 => Integrity::HmacSha384_192,
        Prf::HmacSha512 => Integrity::HmacSha512_256,
    };
    IkeSuite {
        encryption,
        integrity: Some(integrity),
        prf,
        ke,
        additional: crate::algorithm::AdditionalKe::new([None; crate::algorithm::AdditionalKe::TYPES]),
    }
}

/// What to offer in phase 1; `None` if IKEv1 can do nothing of it. `only`: of this group alone (Aggressive Mode).
#[must_use]
pub fn offer_ike(
    ours: &[IkeProposal],
    auth: AuthMethod,
    life: Duration,
    only: Option<KeMethod>,
) -> Option<SecurityAssociation> {
    let mut suites: Vec<IkeSuite> = Vec::new();
    for suite in ike_suites(ours).filter(|s| only.is_none_or(|ke| ke == s.ke)) {
        if !suites.contains(&suite) && suites.len() < MOST_OFFERED {
            suites.push(suite);
        }
    }
    let transforms = (1_u8..).zip(&suites).map(|(number, suite)| {
        let (cipher, bits) = ike_cipher(suite.encryption);
        let mut attributes = vec![short(ike::ENCRYPTION, cipher)];
        attributes.extend(bits.map(|bits| short(ike::KEY_LENGTH, bits)));
        attributes.push(short(ike::HASH, hash_number(suite.prf)));
        attributes.push(short(ike::GROUP, suite.ke.transform_id()));
        attributes.push(short(ike::AUTHENTICATION, auth.number()));
        attributes.extend(life_of(ike::LIFE, life));
        Transform { number, id: KEY_IKE, attributes }
    });
    // [2408:3.6-1]
    let transforms: Vec<_> = transforms.collect();
    (!transforms.is_empty()).then(|| SecurityAssociation {
        proposals: vec![Proposal { number: 1, protocol: Protocol::IKE, spi: Vec::new(), transforms }],
    })
}

/// The key exchange method that is preferred.
#[must_use]
pub fn first_ke(ours: &[IkeProposal]) -> Option<KeMethod> {
    ike_suites(ours).next().map(|s| s.ke)
}

/// A responder's choice in phase 1: of what is offered, what stands first with us.
///
/// # Errors
/// [`NoProposal`].
pub fn choose_ike(
    ours: &[IkeProposal],
    auths: &[AuthMethod],
    offered: &SecurityAssociation,
) -> Result<ChosenIke, Box<NoProposal>> {
    let chosen = best_ike(ours, auths, offered);
    chosen.ok_or_else(|| {
        let any_of = |ours: &[IkeProposal]| best_ike(ours, auths, offered).is_some();
        Box::new(NoProposal {
            offered: describe_ike(offered),
            allowed: ike_text(ours, auths),
            nothing_common: None,
            legacy: !any_of(&IkeProposal::defaults()) && any_of(&IkeProposal::legacy_defaults()),
        })
    })
}

fn best_ike(ours: &[IkeProposal], auths: &[AuthMethod], offered: &SecurityAssociation) -> Option<ChosenIke> {
    let wanted: Vec<IkeSuite> = ike_suites(ours).collect();
    let proposals = offered.alone().filter(|p| p.protocol == Protocol::IKE);
    let all = proposals.flat_map(|p| p.transforms.iter().map(move |t| (p, t)));
    let ranked = all.filter_map(|(p, t)| {
        let (suite, auth) = read_ike(t)?;
        let place = wanted.iter().position(|w| *w == suite)?;
        let method = auths.iter().position(|a| *a == auth)?;
        Some(((method, place), (p, t, suite, auth)))
    });
    let (_, (p, t, suite, auth)) = ranked.min_by_key(|(rank, _)| *rank)?;
    // [2408:4.2-1] [2408:3.6-1]
    let answer =
        SecurityAssociation { proposals: vec![Proposal { transforms: vec![t.clone()], ..p.clone() }] };
    Some(ChosenIke { suite, auth, life: t.seconds(ike::LIFE).map(Duration::from_secs), answer })
}

/// An initiator's look at the answer.
///
/// # Errors
/// Why it is no answer to what was offered.
pub fn accept_ike(
    offered: &SecurityAssociation,
    answer: &SecurityAssociation,
) -> Result<ChosenIke, &'static str> {
    let transform = only_transform(answer)?;
    let (suite, auth) = read_ike(transform).ok_or("its transform has what nobody offered")?;
    let all = offered.proposals.iter().flat_map(|p| &p.transforms);
    // [2408:4.2-1]
    if !all.into_iter().any(|t| read_ike(t) == Some((suite, auth))) {
        return Err("its transform is none of those that were offered");
    }
    let life = transform.seconds(ike::LIFE).map(Duration::from_secs);
    Ok(ChosenIke { suite, auth, life, answer: answer.clone() })
}

fn only_transform(answer: &SecurityAssociation) -> Result<&Transform, &'static str> {
    match answer.proposals.as_slice() {
        [proposal] => match proposal.transforms.as_slice() {
            [transform] => Ok(transform),
            _ => Err("it has not one transform"),
        },
        _ => Err("it has not one proposal"),
    }
}

fn read_ike(t: &Transform) -> Option<(IkeSuite, AuthMethod)> {
    let known = [
        ike::ENCRYPTION,
        ike::HASH,
        ike::AUTHENTICATION,
        ike::GROUP,
        ike::LIFE.0,
        ike::LIFE.1,
        ike::KEY_LENGTH,
    ];
    if t.id != KEY_IKE || t.attributes.iter().any(|a| !known.contains(&a.kind)) {
        return None;
    }
    let bits = t.number_of(ike::KEY_LENGTH);
    let encryption = match (t.number_of(ike::ENCRYPTION)?, bits) {
        (5, None) => Encryption::TripleDesCbc,
        (7, bits) => Encryption::AesCbc(key_bits(bits)?),
        _ => return None,
    };
    let prf = hashes().find(|p| t.number_of(ike::HASH) == Some(hash_number(*p).into()))?;
    let ke = method(t.number_of(ike::GROUP)?)?;
    let auth = AuthMethod::from_number(t.number_of(ike::AUTHENTICATION)?)?;
    Some((ike_suite(encryption, prf, ke), auth))
}

/// AES without a key length is none (RFC 3602 §5.3 has no default; peers that leave it out mean 128).
fn key_bits(bits: Option<u64>) -> Option<KeyBits> {
    bits.map_or(Some(KeyBits::B128), |b| u16::try_from(b).ok().and_then(KeyBits::from_bits))
}

fn hashes() -> impl Iterator<Item = Prf> {
    Prf::ALL.iter().copied()
}

pub(super) const fn hash_number(prf: Prf) -> u16 {
    match prf {
        Prf::HmacSha1 => 2,
        Prf::HmacSha256 => 4,
        Prf::HmacSha384 => 5,
        Prf::HmacSha512 => 6,
    }
}

const fn ike_cipher(encryption: Encryption) -> (u16, Option<u16>) {
    match encryption {
        Encryption::TripleDesCbc => (5, None),
        Encryption::AesCbc(k) => (7, Some(k.bits())),
        // Never offered: IKEv1 has no AEAD.
        Encryption::AesGcm16(_) | Encryption::ChaCha20Poly1305 => (0, None),
    }
}

fn method(number: u64) -> Option<KeMethod> {
    u16::try_from(number).ok().and_then(KeMethod::from_transform_id).filter(|ke| has(*ke))
}

pub(super) fn esp_suites(ours: &[EspProposal]) -> impl Iterator<Item = EspSuite> {
    ours.iter().flat_map(|p| {
        p.encryption.iter().copied().flat_map(move |encryption| {
            let integrity: Vec<Option<Integrity>> = if encryption.is_aead() {
                vec![None]
            } else {
                p.integrity.iter().copied().map(Some).collect()
            };
            let methods: Vec<Option<KeMethod>> = if p.ke.is_empty() {
                vec![None]
            } else {
                p.ke.iter().copied().filter(|ke| has(*ke)).map(Some).collect()
            };
            integrity
                .into_iter()
                .flat_map(move |i| methods.clone().into_iter().map(move |ke| esp_suite(encryption, i, ke)))
        })
    })
}

const fn esp_suite(encryption: Encryption, integrity: Option<Integrity>, ke: Option<KeMethod>) -> EspSuite {
    EspSuite {
        encryption,
        integrity,
        ke,
        additional: crate::algorithm::AdditionalKe::new([None; crate::algorithm::AdditionalKe::TYPES]),
        esn: false,
    }
}

/// The key exchange method of Quick Mode: that of the best suite (RFC 2409 §5.5: one group for all that is offered).
#[must_use]
pub fn pfs(ours: &[EspProposal]) -> Option<KeMethod> {
    esp_suites(ours).next().and_then(|s| s.ke)
}

/// What to offer in phase 2; `None` if IKEv1 can do nothing of it.
#[must_use]
pub fn offer_esp(
    ours: &[EspProposal],
    spi: u32,
    (mode, how): (ChildMode, Encapsulation),
    life: Duration,
) -> Option<SecurityAssociation> {
    // [2409:5.5-2]
    let group = pfs(ours);
    let mut suites: Vec<EspSuite> = Vec::new();
    for suite in esp_suites(ours).filter(|s| s.ke == group && esp_cipher(s.encryption).is_some()) {
        if !suites.contains(&suite) && suites.len() < MOST_OFFERED {
            suites.push(suite);
        }
    }
    let transforms = (1_u8..).zip(&suites).filter_map(|(number, suite)| {
        let (id, bits) = esp_cipher(suite.encryption)?;
        let mut attributes = vec![short(esp::MODE, how.number(mode))];
        attributes.extend(bits.map(|bits| short(esp::KEY_LENGTH, bits)));
        attributes.extend(suite.integrity.map(|i| short(esp::INTEGRITY, integrity_number(i))));
        attributes.extend(suite.ke.map(|ke| short(esp::GROUP, ke.transform_id())));
        attributes.extend(life_of(esp::LIFE, life));
        Some(Transform { number, id, attributes })
    });
    let transforms: Vec<_> = transforms.collect();
    let proposal =
        Proposal { number: 1, protocol: Protocol::ESP, spi: spi.to_be_bytes().to_vec(), transforms };
    (!proposal.transforms.is_empty()).then(|| SecurityAssociation { proposals: vec![proposal] })
}

/// A responder's choice in phase 2: of what is offered, what stands first with us, in the mode that we have for this
/// peer.
///
/// # Errors
/// [`NoProposal`].
pub fn choose_esp(
    ours: &[EspProposal],
    (mode, how): (ChildMode, Encapsulation),
    offered: &SecurityAssociation,
) -> Result<ChosenEsp, Box<NoProposal>> {
    best_esp(ours, (mode, how), offered).ok_or_else(|| {
        let any_of = |ours: &[EspProposal]| best_esp(ours, (mode, how), offered).is_some();
        Box::new(NoProposal {
            offered: describe_esp(offered, how),
            allowed: esp_text(ours, mode),
            nothing_common: None,
            legacy: !any_of(&EspProposal::defaults()) && any_of(&EspProposal::legacy_defaults()),
        })
    })
}

fn best_esp(
    ours: &[EspProposal],
    (mode, how): (ChildMode, Encapsulation),
    offered: &SecurityAssociation,
) -> Option<ChosenEsp> {
    let wanted: Vec<EspSuite> = esp_suites(ours).collect();
    let proposals = offered.alone().filter(|p| p.protocol == Protocol::ESP);
    let all = proposals.flat_map(|p| p.transforms.iter().map(move |t| (p, t)));
    let ranked = all.filter_map(|(p, t)| {
        let suite = read_esp(t, how, mode)?;
        let place = wanted.iter().position(|w| *w == suite)?;
        Some((place, (p, t, suite, spi_of(p)?)))
    });
    let (_, (p, t, suite, spi)) = ranked.min_by_key(|(rank, _)| *rank)?;
    let answer =
        SecurityAssociation { proposals: vec![Proposal { transforms: vec![t.clone()], ..p.clone() }] };
    Some(ChosenEsp { suite, mode, spi, life: t.seconds(esp::LIFE).map(Duration::from_secs), answer })
}

/// An SPI that an SA can have: 1 to 255 are reserved (RFC 4303 §2.1).
fn spi_of(p: &Proposal) -> Option<u32> {
    <[u8; 4]>::try_from(p.spi.as_slice()).ok().map(u32::from_be_bytes).filter(|spi| *spi > 255)
}

/// An initiator's look at the answer.
///
/// # Errors
/// Why it is no answer to what was offered.
pub fn accept_esp(
    offered: &SecurityAssociation,
    (mode, how): (ChildMode, Encapsulation),
    answer: &SecurityAssociation,
) -> Result<ChosenEsp, &'static str> {
    let transform = only_transform(answer)?;
    let proposal = answer.proposals.first().ok_or("it has no proposal")?;
    let suite = read_esp(transform, how, mode).ok_or("its transform has what nobody offered")?;
    let all = offered.proposals.iter().flat_map(|p| &p.transforms);
    // [2408:4.2-1]
    if proposal.protocol != Protocol::ESP || !all.into_iter().any(|t| read_esp(t, how, mode) == Some(suite)) {
        return Err("its transform is none of those that were offered");
    }
    let spi = spi_of(proposal).ok_or("its SPI is none")?;
    let life = transform.seconds(esp::LIFE).map(Duration::from_secs);
    Ok(ChosenEsp { suite, mode, spi, life, answer: answer.clone() })
}

fn read_esp(t: &Transform, how: Encapsulation, mode: ChildMode) -> Option<EspSuite> {
    let known = [esp::LIFE.0, esp::LIFE.1, esp::GROUP, esp::MODE, esp::INTEGRITY, esp::KEY_LENGTH];
    if t.attributes.iter().any(|a| !known.contains(&a.kind)) {
        return None;
    }
    if how.mode(t.number_of(esp::MODE)?) != Some(mode) {
        return None;
    }
    let bits = t.number_of(esp::KEY_LENGTH);
    let encryption = match t.id {
        3 if bits.is_none() => Encryption::TripleDesCbc,
        12 => Encryption::AesCbc(key_bits(bits)?),
        20 => Encryption::AesGcm16(key_bits(bits)?),
        _ => return None,
    };
    let integrity = match t.number_of(esp::INTEGRITY) {
        None => None,
        Some(n) => Some(*Integrity::ALL.iter().find(|i| u64::from(integrity_number(**i)) == n)?),
    };
    if integrity.is_none() != encryption.is_aead() {
        return None;
    }
    let ke = match t.number_of(esp::GROUP) {
        None => None,
        Some(group) => Some(method(group)?),
    };
    Some(esp_suite(encryption, integrity, ke))
}

const fn esp_cipher(encryption: Encryption) -> Option<(u8, Option<u16>)> {
    match encryption {
        Encryption::TripleDesCbc => Some((3, None)),
        Encryption::AesCbc(k) => Some((12, Some(k.bits()))),
        Encryption::AesGcm16(k) => Some((20, Some(k.bits()))),
        Encryption::ChaCha20Poly1305 => None,
    }
}

pub(super) const fn integrity_number(integrity: Integrity) -> u16 {
    match integrity {
        Integrity::HmacSha1_96 => 2,
        Integrity::HmacSha256_128 => 5,
        Integrity::HmacSha384_192 => 6,
        Integrity::HmacSha512_256 => 7,
    }
}

const fn short(kind: u16, value: u16) -> Attribute {
    Attribute { kind, value: AttributeValue::Short(value) }
}

fn life_of((life_type, duration): (u16, u16), life: Duration) -> [Attribute; 2] {
    let seconds = u32::try_from(life.as_secs()).unwrap_or(u32::MAX);
    let value = AttributeValue::Long(seconds.to_be_bytes().to_vec());
    [short(life_type, u16::try_from(SECONDS).unwrap_or(1)), Attribute { kind: duration, value }]
}

/// The data of RESPONDER-LIFETIME (RFC 2407 §4.6.3.1).
#[must_use]
pub fn lifetime_data(life: Duration) -> Vec<u8> {
    let mut out = Vec::new();
    // Neither attribute is too long for its length field.
    life_of(esp::LIFE, life).iter().for_each(|a| _ = a.write(&mut out));
    out
}

/// What RESPONDER-LIFETIME says: the life in seconds.
#[must_use]
pub fn read_lifetime(data: &[u8]) -> Option<Duration> {
    let mut r = crate::wire::Reader::new(data, 0);
    let mut attributes = Vec::new();
    while !r.is_empty() && attributes.len() < 16 {
        attributes.push(Attribute::read(&mut r).ok()?);
    }
    let transform = Transform { number: 0, id: 0, attributes };
    transform.seconds(esp::LIFE).map(Duration::from_secs)
}
