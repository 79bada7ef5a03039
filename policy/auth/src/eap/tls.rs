//! Methods that run TLS within EAP: EAP-TLS (RFC 5216, RFC 9190), EAP-TTLSv0 (RFC 5281) and PEAPv0 ([MS-PEAP]).
//!
//! TLS itself is none of this: it reads a clock and randomness. What it shall do is a [`TlsAsk`], and a door answers
//! each with a [`TlsAnswer`], in order. One engine serves one conversation, made before the conversation begins; it
//! knows whom to trust and which name the server must have.

pub(super) mod authenticator;
mod frames;
pub(super) mod peap;
pub(super) mod peer;
#[cfg(test)]
mod tests;
mod ttls;

use adit_core::{Failure, FailureCode, Secret, Step};

use super::packet::Method;

/// What the engine shall do, in this order: take the peer's records, write, export. Answered by `tls` of
/// [`super::Peer`] and [`super::Authenticator`].
#[derive(Debug)]
pub struct TlsAsk {
    /// Records of the other side. Empty at the very start.
    pub records: Vec<u8>,
    /// Plaintext that goes out afterwards. Only after the handshake.
    pub write: Option<Secret>,
    /// Key material that is wanted. Only after the handshake.
    pub export: Vec<Export>,
}

/// Key material: an exporter's arguments (RFC 5705 §4, RFC 8446 §7.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Export {
    /// The label.
    pub label: &'static str,
    /// The context; `None` and an empty one differ in TLS 1.2.
    pub context: Option<u8>,
    /// Length in bytes.
    pub length: usize,
}

/// What the engine has done.
#[derive(Debug, Default)]
pub struct TlsAnswer {
    /// Records for the other side; an alert's too.
    pub records: Vec<u8>,
    /// Plaintext that the other side has sent.
    pub plaintext: Vec<Secret>,
    /// What was exported, in the order of [`TlsAsk::export`].
    pub exported: Vec<Secret>,
    /// There from the moment when the handshake is complete.
    pub tunnel: Option<Tunnel>,
    /// TLS is over: what is wrong. `records` may hold the alert that says so to the other side.
    pub failure: Option<Failure>,
}

/// A handshake that is complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tunnel {
    /// Which TLS it is.
    pub version: TlsVersion,
    /// The names in the other side's certificate, which the engine has verified: the subject's alternative names, then
    /// its distinguished name. Empty: it has shown no certificate.
    pub names: Vec<String>,
}

/// A version of TLS. Older ones are not spoken (RFC 8996).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// What runs inside of TTLS and PEAP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InnerConfig {
    /// EAP methods inside, best first.
    pub methods: Vec<Method>,
    /// How a peer proves itself inside of TTLS. An authenticator takes each of the three, EAP with `methods`.
    pub ttls: TtlsInner,
    /// Whether PEAP must bind the inner method to the TLS session.
    pub binding: Binding,
}

impl Default for InnerConfig {
    fn default() -> Self {
        let methods = vec![Method::MSCHAPV2];
        Self { methods, ttls: TtlsInner::MsChapV2, binding: Binding::Offered }
    }
}

/// What a peer does inside of TTLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TtlsInner {
    /// MS-CHAP-V2 (RFC 5281 §11.2.4): the server proves that it knows the password too.
    MsChapV2,
    /// The password as it is (§11.2.5): who has the server's certificate learns it.
    Pap,
    /// EAP (§11.2.1).
    Eap,
}

/// Cryptobinding of PEAP ([MS-PEAP] §3.1.5.5): it proves that both ends of the TLS session are the ends of the inner
/// method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binding {
    /// Checked where the other side does it. FreeRADIUS and strongSwan don't.
    Offered,
    /// Who does not do it is refused.
    Required,
}

/// The keys of a conversation.
pub(super) struct Keys {
    /// Key_Material, 128 octets: MSK and EMSK (RFC 5216 §2.3, RFC 9190 §2.3, RFC 9427 §2.1, RFC 5281 §8).
    material: Secret,
    /// TTLS: the implicit challenge and its identifier, 17 octets (RFC 5281 §11.1).
    challenge: Option<Secret>,
}

impl Keys {
    fn wanted(method: Method, version: TlsVersion) -> Vec<Export> {
        let material = match (version, method) {
            (TlsVersion::Tls13, _) => {
                Export { label: "EXPORTER_EAP_TLS_Key_Material", context: Some(method.0), length: 128 }
            }
            (TlsVersion::Tls12, Method::TTLS) => {
                Export { label: "ttls keying material", context: None, length: 128 }
            }
            (TlsVersion::Tls12, _) => Export { label: "client EAP encryption", context: None, length: 128 },
        };
        let challenge = Export { label: "ttls challenge", context: None, length: 17 };
        let mut wanted = vec![material];
        wanted.extend((method == Method::TTLS).then_some(challenge));
        wanted
    }

    fn of(exported: Vec<Secret>) -> Option<Self> {
        let mut exported = exported.into_iter();
        let material = exported.next().filter(|m| m.len() == 128)?;
        Some(Self { material, challenge: exported.next().filter(|c| c.len() == 17) })
    }

    /// The first 64 octets.
    fn msk(&self) -> Secret {
        Secret::from(self.material.expose().get(..64).unwrap_or_default())
    }

    /// TTLS: the challenge and its identifier.
    fn challenge(&self) -> Option<([u8; 16], u8)> {
        let (challenge, rest) = self.challenge.as_ref()?.expose().split_first_chunk::<16>()?;
        Some((*challenge, *rest.first()?))
    }
}

fn failure(method: Method, text: &str) -> Failure {
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, format!("{method}: {text}"))
}

fn join(plaintext: Vec<Secret>) -> Secret {
    let mut parts = plaintext.into_iter();
    match (parts.next(), parts.len()) {
        (None, _) => Secret::new(Vec::new()),
        (Some(only), 0) => only,
        (Some(first), _) => {
            let mut all = first.expose().to_vec();
            let rest: usize = parts.as_slice().iter().map(Secret::len).sum();
            // Reserved at once: growing would leave copies behind.
            let mut joined = Vec::with_capacity(all.len().saturating_add(rest));
            joined.extend_from_slice(&all);
            zeroize::Zeroize::zeroize(&mut all);
            parts.for_each(|part| joined.extend_from_slice(part.expose()));
            Secret::new(joined)
        }
    }
}
