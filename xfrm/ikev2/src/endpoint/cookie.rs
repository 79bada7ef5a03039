//! Stateless cookies (RFC 7296 §2.6): proof that a first message came from where it says, at the cost of one HMAC and
//! no memory.

use core::net::IpAddr;
use core::time::Duration;

use adit_core::{Entropy, Instant, Secret};
use adit_isakmp::Prf;
use adit_isakmp::crypto::CryptoProvider;

/// A secret signs cookies this long, and is accepted as long again.
const LIFETIME: Duration = Duration::from_secs(60);

const MAC_LEN: usize = 32;

/// Makes and checks cookies. `version | HMAC(secret, Ni | IPi | SPIi)`, the secret replaced once a minute.
#[derive(Default)]
pub(crate) struct Cookies {
    current: Option<Generation>,
    previous: Option<Generation>,
    next_version: u8,
}

struct Generation {
    version: u8,
    secret: Secret,
    expires: Instant,
}

/// What a cookie stands for.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// Ni's data.
    pub(crate) nonce: &'a [u8],
    /// Where the message came from.
    pub(crate) address: IpAddr,
    /// SPIi.
    pub(crate) spi: u64,
}

impl Cookies {
    /// A cookie for `claim`.
    pub(crate) fn make(
        &mut self,
        now: Instant,
        crypto: &dyn CryptoProvider,
        entropy: &mut dyn Entropy,
        claim: Claim<'_>,
    ) -> Vec<u8> {
        self.wake(now);
        let next_version = &mut self.next_version;
        let generation = self.current.get_or_insert_with(|| {
            let mut secret = vec![0; MAC_LEN];
            entropy.secret(&mut secret);
            *next_version = next_version.wrapping_add(1);
            Generation { version: *next_version, secret: Secret::new(secret), expires: now + LIFETIME }
        });
        // [7296:2.6-2]
        let mut cookie = vec![generation.version];
        cookie.extend_from_slice(&generation.mac(crypto, claim));
        cookie
    }

    /// Whether `cookie` is one that we made for `claim`, not more than two minutes ago.
    pub(crate) fn verify(
        &mut self,
        now: Instant,
        crypto: &dyn CryptoProvider,
        claim: Claim<'_>,
        cookie: &[u8],
    ) -> bool {
        self.wake(now);
        let Some((version, mac)) = cookie.split_first() else {
            return false;
        };
        [&self.current, &self.previous]
            .into_iter()
            .flatten()
            // [7296:2.6-4]
            .any(|g| g.version == *version && Secret::from(&g.mac(crypto, claim)[..]).equals(mac))
    }

    /// When a secret is to be replaced or forgotten.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.current.as_ref().or(self.previous.as_ref()).map(|g| g.expires)
    }

    /// Replaces and forgets what is due.
    pub(crate) fn wake(&mut self, now: Instant) {
        if self.previous.as_ref().is_some_and(|g| g.expires <= now) {
            self.previous = None;
        }
        if self.current.as_ref().is_some_and(|g| g.expires <= now) {
            self.previous = self.current.take().and_then(|mut g| {
                g.expires = g.expires + LIFETIME;
                (g.expires > now).then_some(g)
            });
        }
    }
}

impl Generation {
    fn mac(&self, crypto: &dyn CryptoProvider, claim: Claim<'_>) -> [u8; MAC_LEN] {
        let mut mac = [0; MAC_LEN];
        let address = match claim.address {
            IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
            IpAddr::V6(a) => a.octets(),
        };
        let parts = [claim.nonce, &address[..], &claim.spi.to_be_bytes()];
        crypto.prf(Prf::HmacSha256, self.secret.expose(), &parts, &mut mac);
        mac
    }
}
