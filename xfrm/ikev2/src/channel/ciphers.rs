//! The two ciphers of a channel, and the keys that they were made of; a channel as octets.

use adit_core::Secret;
use adit_isakmp::crypto::{CryptoError, CryptoProvider, SkCipher};
use adit_isakmp::keys::IkeKeys;
use adit_isakmp::{IkeSuite, Integrity};

use super::{AuthKeys, Channel};
use crate::natd::Nat;
use crate::snapshot::{Reader, Writer};
use crate::state::{Cx, Role};

/// So many IVs are left out by whoever goes on: more than one process could have used that were not written down.
const IVS_LEFT_OUT: u64 = 1 << 20;

/// What seals and what opens.
pub(crate) struct Ciphers {
    pub(super) sealing: Box<dyn SkCipher>,
    pub(super) opening: Box<dyn SkCipher>,
    /// SK_ei, SK_er, SK_ai and SK_ar, one after the other.
    pub(super) keys: Secret,
}

impl Ciphers {
    /// Those of these keys, and the keys that are left.
    pub(crate) fn of(
        crypto: &dyn CryptoProvider,
        suite: &IkeSuite,
        role: Role,
        keys: IkeKeys,
    ) -> Result<(Self, AuthKeys), CryptoError> {
        let parts = [&keys.ei, &keys.er, &keys.ai, &keys.ar].map(Secret::expose);
        let ciphers = Self::from_octets(crypto, suite, role, Secret::new(parts.concat()))?;
        Ok((ciphers, AuthKeys { d: keys.d, pi: keys.pi, pr: keys.pr }))
    }

    fn from_octets(
        crypto: &dyn CryptoProvider,
        suite: &IkeSuite,
        role: Role,
        keys: Secret,
    ) -> Result<Self, CryptoError> {
        let (key, integrity) =
            (suite.encryption.key_material_len(), suite.integrity.map_or(0, Integrity::key_len));
        let part = |from: usize, length: usize| {
            let range = from..from.saturating_add(length);
            Secret::from(keys.expose().get(range).unwrap_or_default())
        };
        let of = |n: usize| {
            let (encrypts, proves) = (part(n * key, key), part(2 * key + n * integrity, integrity));
            crypto.sk_cipher(suite.encryption, suite.integrity, encrypts, proves)
        };
        let (from_initiator, from_responder) = (of(0)?, of(1)?);
        let (sealing, opening) = match role {
            Role::Initiator => (from_initiator, from_responder),
            Role::Responder => (from_responder, from_initiator),
        };
        Ok(Self { sealing, opening, keys })
    }
}

impl Channel {
    pub(crate) fn save(&self, w: &mut Writer) {
        w.flag(self.role == Role::Initiator);
        w.u64(self.spi_i);
        w.u64(self.spi_r);
        w.path(self.path);
        let Nat { local, remote, forced, supported, seen } = self.nat;
        [local, remote, forced, supported].into_iter().for_each(|flag| w.flag(flag));
        w.option(seen, |w, seen| w.fixed(&seen));
        w.instant(self.heard);
        w.option(self.limit, Writer::u16);
        w.bytes(self.keys.expose());
        w.u64(self.counter);
    }

    pub(crate) fn read(cx: &Cx<'_>, r: &mut Reader<'_>, suite: &IkeSuite) -> Option<Self> {
        let role = if r.flag()? { Role::Initiator } else { Role::Responder };
        let (spi_i, spi_r, path) = (r.u64()?, r.u64()?, r.path()?);
        let [local, remote, forced, supported] = [r.flag()?, r.flag()?, r.flag()?, r.flag()?];
        let nat = Nat { local, remote, forced, supported, seen: r.option(Reader::fixed)? };
        let (heard, limit) = (r.instant()?, r.option(Reader::u16)?);
        let (keys, counter) = (r.secret()?, r.u64()?);
        let integrity = suite.integrity.map_or(0, Integrity::key_len);
        if keys.len() != 2 * (suite.encryption.key_material_len() + integrity) {
            return None;
        }
        let Ciphers { sealing, opening, keys } =
            Ciphers::from_octets(&*cx.shared.crypto, suite, role, keys).ok()?;
        Some(Self {
            role,
            spi_i,
            spi_r,
            path,
            nat,
            heard,
            limit,
            assembling: [None, None],
            fragmented: None,
            sealing,
            opening,
            previous: None,
            // [7296:3.14-3]
            counter: counter.checked_add(IVS_LEFT_OUT)?,
            keys,
        })
    }
}
