//! What IKE has agreed on around a tunnel, whichever version of it.

use std::time::Duration;

use adit_core::{Identity, Path};
use adit_ikev1::api as v1;
use adit_ikev2::api as v2;
use adit_isakmp::{EspSuite, IkeSuite, Integrity};
use adit_plan::{Encapsulation, inner_mtu};

use super::OVERHEAD;
use crate::suites::{self, Outside};

/// Transport mode for L2TP's UDP, and what made it.
pub(crate) struct Agreed {
    /// As people call it: `IKEv1`, `IKEv2`.
    pub(crate) by: &'static str,
    /// Where both ends are now.
    pub(crate) path: Path,
    /// Whether ESP is carried in UDP.
    pub(crate) encapsulated: bool,
    pub(crate) ike: IkeSuite,
    pub(crate) esp: EspSuite,
    /// Who the peer has proven to be.
    pub(crate) remote_id: Identity,
    /// How.
    pub(crate) auth: v1::AuthMethod,
}

impl From<&v1::Established> for Agreed {
    fn from(up: &v1::Established) -> Self {
        Self {
            by: "IKEv1",
            path: up.path,
            encapsulated: up.encapsulated,
            ike: up.ike,
            esp: up.child.esp,
            remote_id: up.remote_id.clone(),
            auth: up.auth,
        }
    }
}

impl From<&v2::Established> for Agreed {
    fn from(up: &v2::Established) -> Self {
        Self {
            by: "IKEv2",
            path: up.path,
            encapsulated: up.encapsulated,
            ike: up.ike,
            esp: up.esp,
            remote_id: up.remote_id.clone(),
            // Nothing else is offered or accepted around L2TP.
            auth: v1::AuthMethod::Psk,
        }
    }
}

/// What a responder of Quick Mode may take.
const MOMENT: Duration = Duration::from_millis(50);

impl Agreed {
    /// How long the peer may take to set up what it has agreed to. The last message of Quick Mode is the initiator's (RFC 2409 §5.5),
    /// and nothing says that it has been taken: what comes on its heels is answered in clear by some (strongSwan with xl2tpd), and
    /// then goes again after a second. By IKEv2 all stands before the answer leaves.
    pub(crate) fn moment(&self) -> Duration {
        if self.by == "IKEv1" { MOMENT } else { Duration::ZERO }
    }

    /// The same of what goes on from a process before. `None`: it has no CHILD_SA.
    pub(super) fn again_v1(up: &v1::Restored) -> Option<(v1::SaId, Self)> {
        let esp = up.children.last()?.suite;
        let (ike, auth, remote_id) = (up.ike, up.auth, up.remote_id.clone());
        let agreed =
            Self { by: "IKEv1", path: up.path, encapsulated: up.encapsulated, ike, esp, remote_id, auth };
        Some((up.sa, agreed))
    }

    /// Likewise.
    pub(super) fn again_v2(up: &v2::Restored) -> Option<(v2::SaId, Self)> {
        let esp = up.children.last()?.suite;
        let (ike, auth, remote_id) = (up.ike, v1::AuthMethod::Psk, up.remote_id.clone());
        let agreed =
            Self { by: "IKEv2", path: up.path, encapsulated: up.encapsulated, ike, esp, remote_id, auth };
        Some((up.sa, agreed))
    }

    /// What protects it, as people read it.
    pub(crate) fn shown(&self) -> Outside {
        Outside::Ipsec {
            shown: format!("ESP {} by {} {}", self.esp, self.by, self.ike),
            weak: weak(self.ike, self.esp),
        }
    }

    /// The longest packet inside that fits a path of so many octets, in octets, MPPE's header included.
    pub(super) fn room(&self, path: u32) -> u16 {
        let how = Encapsulation {
            outer: self.path.remote.ip(),
            udp: self.encapsulated,
            esp: suites::overhead(self.esp),
        };
        inner_mtu(u16::try_from(path).unwrap_or(u16::MAX), how, false).saturating_sub(OVERHEAD)
    }
}

/// What of it only `legacy = true` allows, SHA-1 among it.
fn weak(ike: IkeSuite, esp: EspSuite) -> Vec<String> {
    let old = Integrity::HmacSha1_96;
    let sha1 = [ike.integrity, esp.integrity].contains(&Some(old)).then(|| old.to_string());
    let mut all: Vec<String> = Vec::new();
    for word in [ike.legacy(), esp.legacy()].concat().into_iter().chain(sha1) {
        if !all.contains(&word) {
            all.push(word);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_weak_is_named_once_and_sha1_too() {
        use adit_isakmp::algorithm::{AdditionalKe, Encryption, KeMethod, KeyBits, Prf};
        let (sha1, aes) = (Some(Integrity::HmacSha1_96), Encryption::AesCbc(KeyBits::B256));
        let additional = AdditionalKe::default();
        let ike = IkeSuite {
            encryption: aes,
            integrity: sha1,
            prf: Prf::HmacSha1,
            ke: KeMethod::Ecp384,
            additional,
        };
        let esp = EspSuite { encryption: aes, integrity: sha1, ke: None, additional, esn: false };
        assert_eq!(weak(ike, esp), ["sha1"]);
        let encryption = Encryption::TripleDesCbc;
        let ike = IkeSuite { encryption, ke: KeMethod::Modp1024, ..ike };
        assert_eq!(weak(ike, EspSuite { encryption, ..esp }), ["3des", "modp1024", "sha1"]);
        let sha2 = Some(Integrity::HmacSha256_128);
        let ike = IkeSuite {
            encryption: aes,
            integrity: sha2,
            prf: Prf::HmacSha256,
            ke: KeMethod::Ecp256,
            additional,
        };
        assert!(weak(ike, EspSuite { integrity: sha2, ..esp }).is_empty());
    }
}
