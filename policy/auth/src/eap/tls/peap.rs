//! PEAPv0 inside of TLS ([MS-PEAP]): EAP without its header, the Extensions method with its Result, and cryptobinding.

use adit_core::{DecodeError, Secret};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use zeroize::Zeroizing;

use crate::eap::packet::{Code, Method, Packet, emit};

/// The Extensions method ([MS-PEAP] §2.2.8): Type 33.
pub(super) const EXTENSIONS: Method = Method(33);

const RESULT: u16 = 3;
const CRYPTOBINDING: u16 = 12;
/// TLV type: whoever does not know it must refuse.
const MANDATORY: u16 = 0x8000;

const MAC_LEN: usize = 20;
/// A Cryptobinding TLV with its header, up to its MAC.
const HEAD_LEN: usize = 4 + 4 + 32;

/// What stands in a packet of phase 2.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Inside<'a> {
    /// The Extensions method: its identifier and TLVs.
    Extensions(u8, Extensions),
    /// Any other method: Type and data, without the header.
    Eap(Method, &'a [u8]),
}

impl<'a> Inside<'a> {
    /// Reads plaintext ([MS-PEAP] §3.1.5.6: every method but Extensions leaves out its header; some peers don't).
    pub(super) fn read(plain: &'a [u8]) -> Result<Self, DecodeError> {
        let whole = match plain {
            [1 | 2, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])) == plain.len(),
            _ => false,
        };
        if whole && let Ok(Packet { identifier, method: Some(method), data, .. }) = Packet::parse(plain) {
            return match method {
                EXTENSIONS => Ok(Self::Extensions(identifier, Extensions::read(data)?)),
                other => Ok(Self::Eap(other, data)),
            };
        }
        match plain.split_first() {
            Some((method, data)) => Ok(Self::Eap(Method(*method), data)),
            None => Err(DecodeError::new(0, "PEAP carries an EAP packet inside")),
        }
    }
}

/// The TLVs of an Extensions packet that count.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Extensions {
    /// Result TLV: whether it went well.
    pub(super) success: Option<bool>,
    /// Cryptobinding TLV.
    pub(super) binding: Option<Cryptobinding>,
}

impl Extensions {
    fn read(mut data: &[u8]) -> Result<Self, DecodeError> {
        let mut out = Self::default();
        let total = data.len();
        while let Some(([a, b, c, d], rest)) = data.split_first_chunk::<4>() {
            let at = total.saturating_sub(data.len());
            let length = usize::from(u16::from_be_bytes([*c, *d]));
            let Some((value, rest)) = rest.split_at_checked(length) else {
                return Err(DecodeError::new(at, "the TLV is longer than its packet"));
            };
            match (u16::from_be_bytes([*a, *b]) & 0x3fff, value) {
                (RESULT, [0, 1]) => out.success = Some(true),
                (RESULT, [0, 2]) => out.success = Some(false),
                (RESULT, _) => return Err(DecodeError::new(at, "a Result is 1 or 2")),
                (CRYPTOBINDING, value) => out.binding = Some(Cryptobinding::read(at, value)?),
                _ => {}
            }
            data = rest;
        }
        match data {
            [] => Ok(out),
            _ => Err(DecodeError::new(total.saturating_sub(data.len()), "a TLV has a header of four octets")),
        }
    }

    /// Writes a whole packet.
    pub(super) fn emit(&self, code: Code, identifier: u8) -> Vec<u8> {
        let mut data = Vec::new();
        if let Some(success) = self.success {
            data.extend((MANDATORY | RESULT).to_be_bytes());
            data.extend([0, 2, 0, if success { 1 } else { 2 }]);
        }
        if let Some(binding) = &self.binding {
            data.extend(binding.head);
            data.extend(binding.mac);
        }
        emit(code, identifier, Some(EXTENSIONS), &data)
    }
}

/// A Cryptobinding TLV ([MS-PEAP] §2.2.8.1.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cryptobinding {
    head: [u8; HEAD_LEN],
    mac: [u8; MAC_LEN],
}

impl Cryptobinding {
    fn read(at: usize, value: &[u8]) -> Result<Self, DecodeError> {
        let wrong = || DecodeError::new(at, "a Cryptobinding TLV has 56 octets");
        let (fields, rest) = value.split_first_chunk::<36>().ok_or_else(wrong)?;
        let mac = <[u8; MAC_LEN]>::try_from(rest).map_err(|_| wrong())?;
        let [0, 0, _, sub, nonce @ ..] = fields else {
            return Err(DecodeError::new(at, "no such version of a Cryptobinding TLV"));
        };
        let mut out = Self::new(*sub == 1, *nonce);
        // RecvVersion is not checked, but counts in the MAC.
        if let (Some(to), Some(from)) = (out.head.get_mut(4..8), fields.get(..4)) {
            to.copy_from_slice(from);
        }
        out.mac = mac;
        Ok(out)
    }

    fn new(response: bool, nonce: [u8; 32]) -> Self {
        let mut head = [0; HEAD_LEN];
        let start = [0, 12, 0, 56, 0, 0, 0, u8::from(response)];
        head.iter_mut().zip(start.into_iter().chain(nonce)).for_each(|(to, from)| *to = from);
        Self { head, mac: [0; MAC_LEN] }
    }

    /// The server's, or with `response` the peer's.
    pub(super) fn make(response: bool, nonce: [u8; 32], keys: &Compound) -> Self {
        let mut out = Self::new(response, nonce);
        out.mac = out.compute(keys);
        out
    }

    /// Whether whoever sent it has the keys of both, the TLS session and the inner method; `response`: what it must be.
    pub(super) fn proves(&self, response: bool, keys: &Compound) -> bool {
        let kind = self.head.get(7) == Some(&u8::from(response));
        kind && Secret::from(&self.compute(keys)[..]).equals(&self.mac)
    }

    /// [MS-PEAP] §3.1.5.5.1: the TLV with zeroes for its MAC, and PEAP's Type.
    fn compute(&self, keys: &Compound) -> [u8; MAC_LEN] {
        hmac_sha1(keys.cmk(), &[&self.head, &[0; MAC_LEN], &[Method::PEAP.0]])
    }
}

/// IPMK and CMK ([MS-PEAP] §3.1.5.5.2.2), 60 octets.
pub(super) struct Compound(Zeroizing<Vec<u8>>);

impl Compound {
    /// From Key_Material, of which the first 40 octets count, and the inner method's MSK: as the authenticator and the
    /// peer name its keys, the first 32 octets are the ISK; a method without keys has zeroes.
    pub(super) fn derive(material: &Secret, inner: Option<&Secret>) -> Self {
        let mut seed = Zeroizing::new(b"Inner Methods Compound Keys".to_vec());
        let label = seed.len();
        seed.reserve_exact(32);
        seed.extend(inner.and_then(|msk| msk.expose().get(..32)).unwrap_or_default());
        seed.resize(label.saturating_add(32), 0);
        Self(prf_plus(material.expose().get(..40).unwrap_or_default(), &seed, 60))
    }

    fn ipmk(&self) -> &[u8] {
        self.0.get(..40).unwrap_or_default()
    }

    fn cmk(&self) -> &[u8] {
        self.0.get(40..60).unwrap_or_default()
    }

    /// The MSK of a conversation that was bound: the first half of the CSK ([MS-PEAP] §3.1.5.7).
    pub(super) fn msk(&self) -> Secret {
        let csk = prf_plus(self.ipmk(), b"Session Key Generating Function\0", 128);
        Secret::from(csk.get(..64).unwrap_or_default())
    }

    #[cfg(test)]
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

/// PRF+ as PEAP has it: RFC 4306's, with two zeroes behind the counter.
fn prf_plus(key: &[u8], seed: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(length.saturating_add(MAC_LEN)));
    let mut last: Zeroizing<Vec<u8>> = Zeroizing::new(Vec::new());
    for n in 1..=u8::MAX {
        if out.len() >= length {
            break;
        }
        last = Zeroizing::new(hmac_sha1(key, &[&last, seed, &[n, 0, 0]]).to_vec());
        out.extend_from_slice(&last);
    }
    out.truncate(length);
    out
}

fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; MAC_LEN] {
    // HMAC takes keys of every length.
    let Ok(mut mac) = <Hmac<Sha1> as KeyInit>::new_from_slice(key) else {
        return [0; MAC_LEN];
    };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}
