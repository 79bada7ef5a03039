//! Proposals: text of a configuration to what is offered, and what was agreed to what the kernel takes.

use adit_auth::mschap::MppeStrength;
use adit_core::Failure;
use adit_ikev2::api::Timing;
use adit_isakmp::proposal::{EspProposal, IkeProposal};
use adit_isakmp::{Encryption, EspSuite, Integrity};
use adit_plan::EspOverhead;
use adit_ppp::{AuthMethod, Mppe, MppeWish};
use adit_profile::{MppeRule, PppAuth, Rekeying, Suite, SuiteCheck};
use adit_xfrm_kernel as xfrm;

/// Whether `text` is an IKE_SA proposal, and which of its algorithms need `legacy = true`.
///
/// # Errors
/// What is wrong with it, and what is allowed.
pub fn check_ike(text: &str) -> SuiteCheck {
    // What is allowed is told without what is not meant to be used.
    let strict = IkeProposal::read(text, false).map_err(|e| e.to_string());
    IkeProposal::read(text, true).map(|p| p.legacy()).or(strict.map(|_| Vec::new()))
}

/// Whether `text` is a CHILD_SA proposal, likewise.
///
/// # Errors
/// What is wrong with it, and what is allowed.
pub fn check_esp(text: &str) -> SuiteCheck {
    let strict = EspProposal::read(text, false).map_err(|e| e.to_string());
    EspProposal::read(text, true).map(|p| p.legacy()).or(strict.map(|_| Vec::new()))
}

/// How a PPP link proves somebody.
#[must_use]
pub const fn ppp_auth(auth: PppAuth) -> AuthMethod {
    match auth {
        PppAuth::Eap => AuthMethod::Eap,
        PppAuth::MsChapV2 => AuthMethod::MsChapV2,
        PppAuth::MsChapV1 => AuthMethod::MsChapV1,
        PppAuth::Chap => AuthMethod::ChapMd5,
    }
}

/// How a PPP link encrypts.
#[must_use]
pub const fn mppe(rule: &MppeRule) -> Mppe {
    let MppeRule { required, bits128, bits40, stateful } = *rule;
    let wish = if required { MppeWish::Require } else { MppeWish::Take };
    Mppe { wish, bits40, bits128, stateful }
}

/// What encrypts a PPP link's packets, in words: what is outside of it, if anything is, or the link itself; and what of that
/// is weak.
#[must_use]
pub fn ppp_shown(outside: &Outside, mppe: Option<(MppeStrength, bool)>) -> (String, Vec<String>) {
    match outside {
        Outside::Tls(shown) => (shown.clone(), Vec::new()),
        Outside::Pptp => mppe_shown(&["PPTP", "MS-CHAPv2"], mppe),
        Outside::L2tp => mppe_shown(&["L2TP without IPsec"], mppe),
        Outside::Ipsec { shown, weak } => (shown.clone(), weak.clone()),
    }
}

/// What a PPP link is inside of.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Outside {
    /// PPTP, which protects nothing.
    #[default]
    Pptp,
    /// TLS: what it encrypts with, and how packets come to this host, in words.
    Tls(String),
    /// L2TP that nothing protects.
    L2tp,
    /// IPsec, in words, and what of it is weak.
    Ipsec {
        /// What it encrypts with.
        shown: String,
        /// What can be broken.
        weak: Vec<String>,
    },
}

/// A PPP link's encryption in words, and what of its connection is weak.
fn mppe_shown(outside: &[&str], agreed: Option<(MppeStrength, bool)>) -> (String, Vec<String>) {
    let weak = |more: &str| outside.iter().copied().chain([more]).map(str::to_owned).collect();
    let Some((strength, stateless)) = agreed else {
        return ("not encrypted".into(), weak("no encryption"));
    };
    let bits = if strength == MppeStrength::Bits128 { "MPPE-128" } else { "MPPE-40" };
    let mode = if stateless { "stateless" } else { "stateful" };
    (format!("{bits} {mode}"), weak(bits))
}

/// A configuration's IKE_SA proposals, or the defaults. With `legacy`, what old peers have comes after the defaults.
#[must_use]
pub fn ike_proposals(suites: &[Suite], legacy: bool) -> Vec<IkeProposal> {
    let read: Vec<_> = suites.iter().filter_map(|s| IkeProposal::read(&s.text, legacy).ok()).collect();
    match (read.is_empty(), legacy) {
        (false, _) => read,
        (true, false) => IkeProposal::defaults(),
        (true, true) => [IkeProposal::defaults(), IkeProposal::legacy_defaults()].concat(),
    }
}

/// A configuration's CHILD_SA proposals, or the defaults, likewise.
#[must_use]
pub fn esp_proposals(suites: &[Suite], legacy: bool) -> Vec<EspProposal> {
    let read: Vec<_> = suites.iter().filter_map(|s| EspProposal::read(&s.text, legacy).ok()).collect();
    match (read.is_empty(), legacy) {
        (false, _) => read,
        (true, false) => EspProposal::defaults(),
        (true, true) => [EspProposal::defaults(), EspProposal::legacy_defaults()].concat(),
    }
}

/// When keys are replaced, as the core takes it.
#[must_use]
pub fn timing(rekeying: Rekeying) -> Timing {
    Timing {
        rekey_ike: rekeying.ike.unwrap_or_default(),
        rekey_child: rekeying.child.unwrap_or_default(),
        ..Timing::default()
    }
}

/// The kernel's algorithm for an agreed suite.
///
/// # Errors
/// A cipher without integrity: a defect, since no proposal has one.
pub fn algorithm(suite: EspSuite) -> Result<xfrm::Algorithm, Failure> {
    Ok(match (suite.encryption, suite.integrity) {
        (Encryption::AesGcm16(k), _) => xfrm::Algorithm::AesGcm16 { bits: k.bits() },
        (Encryption::ChaCha20Poly1305, _) => xfrm::Algorithm::ChaCha20Poly1305,
        (Encryption::AesCbc(k), Some(i)) => {
            xfrm::Algorithm::AesCbc { bits: k.bits(), integrity: integrity(i) }
        }
        (Encryption::TripleDesCbc, Some(i)) => xfrm::Algorithm::TripleDesCbc { integrity: integrity(i) },
        (Encryption::AesCbc(_) | Encryption::TripleDesCbc, None) => {
            let text = "a CBC cipher was agreed without integrity";
            return Err(Failure::new(adit_core::FailureCode::Internal, adit_core::Step::Child, text));
        }
    })
}

/// What a suite adds to a packet.
#[must_use]
pub fn overhead(suite: EspSuite) -> EspOverhead {
    let iv = u16::try_from(suite.encryption.iv_len()).unwrap_or(u16::MAX);
    let icv = suite.integrity.map_or(16, |i| u16::try_from(i.icv_len()).unwrap_or(u16::MAX));
    // The ESP trailer ends on 4 bytes whatever the cipher (RFC 4303 §2.4).
    let block = u16::try_from(suite.encryption.block_len().max(4)).unwrap_or(u16::MAX);
    EspOverhead { iv, icv, block }
}

fn integrity(integrity: Integrity) -> xfrm::Integrity {
    match integrity {
        Integrity::HmacSha1_96 => xfrm::Integrity::HmacSha1_96,
        Integrity::HmacSha256_128 => xfrm::Integrity::HmacSha256_128,
        Integrity::HmacSha384_192 => xfrm::Integrity::HmacSha384_192,
        Integrity::HmacSha512_256 => xfrm::Integrity::HmacSha512_256,
    }
}

#[cfg(test)]
mod tests {
    use adit_profile::SuiteKind;

    use super::*;

    /// `ctl import` and `ctl check` have no core of IKE to ask.
    #[test]
    fn what_an_import_takes_for_a_proposal_is_one() {
        let ciphers = [
            "aes128",
            "aes256",
            "3des",
            "aes256gcm16",
            "aes128gcm",
            "chacha20poly1305",
            "aes",
            "null",
            "rot13",
        ];
        let hashes = ["", "-sha256", "-sha1", "-sha2_512", "-prfsha384", "-sha384-prfsha256", "-md5"];
        let rest = [
            "",
            "-x25519",
            "-modp2048",
            "-modp1024",
            "-ecp384-modp1536",
            "-curve25519-ke1_mlkem768",
            "-esn",
            "-noesn-ecp256",
            "-ke1_none",
        ];
        for cipher in ciphers {
            for hash in hashes {
                for rest in rest {
                    let text = format!("{cipher}{hash}{rest}");
                    for (kind, ours) in
                        [(SuiteKind::Ike, check_ike(&text)), (SuiteKind::Esp, check_esp(&text))]
                    {
                        let theirs = adit_import::check_suite(kind, &text);
                        // What it makes itself it makes whole; what it lets pass the daemon tells.
                        match (&ours, &theirs) {
                            (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{text}"),
                            (Ok(_), Err(why)) => panic!("{kind:?} {text}: {why}"),
                            (Err(why), Ok(_)) => panic!("{kind:?} {text}: {why}"),
                            (Err(_), Err(_)) => {}
                        }
                    }
                }
            }
        }
    }
}
