//! Failures as people meet them: what happened, what the peer said, what to do next.

use core::fmt::Display;
use core::net::SocketAddr;
use core::time::Duration;

use adit_core::{Failure, FailureCode, Identity, Path, Step, TrafficSelector};
use adit_isakmp::KeMethod;
use adit_isakmp::crypto::CryptoError;
use adit_isakmp::payload::{Notify, NotifyType};
use adit_isakmp::proposal::{EspProposal, IkeProposal};

use crate::api::{ChildMode, InitiatorConfig, LocalAuth, PpkRule, RemoteAuth};

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let texts: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    texts.join(", ")
}

fn word(kind: NotifyType) -> String {
    kind.name().map_or_else(|| format!("notify {}", kind.0), str::to_owned)
}

/// What an IKE notify says, with the number that Microsoft puts into MS_STATUS.
fn said(notify: &Notify) -> String {
    match (notify.kind, notify.data_u32()) {
        (NotifyType::MS_STATUS, Some(code)) => format!("MS_STATUS {code}"),
        (kind, _) => word(kind),
    }
}

fn seconds(time: Duration) -> u64 {
    // Rounded: "31 s" for 30.9.
    u64::try_from(time.as_millis().saturating_add(500) / 1000).unwrap_or(u64::MAX)
}

fn tries(count: u32) -> String {
    if count == 1 { "1 try".into() } else { format!("{count} tries") }
}

/// Nothing usable came back.
pub(crate) fn unreachable(to: SocketAddr, step: Step, sent: u32, time: Duration) -> Failure {
    let text = format!(
        "vpn server {} did not answer on UDP {} ({} in {} s)",
        to.ip(),
        to.port(),
        tries(sent),
        seconds(time)
    );
    let hint = match step {
        Step::Authenticate => format!(
            "it answered IKE_SA_INIT, but not IKE_AUTH: check that a firewall lets UDP {} and fragments through, and \
             the server's log",
            to.port()
        ),
        _ => format!(
            "check the server's address, and that firewalls let UDP 500 and UDP 4500 through (tried: UDP {})",
            to.port()
        ),
    };
    Failure::new(FailureCode::ServerUnreachable, step, text).hint(hint)
}

/// IKE_SA_INIT was refused, twice.
pub(crate) fn init_refused(config: &InitiatorConfig, to: SocketAddr, kind: NotifyType) -> Failure {
    let at = Step::IkeInit;
    match kind {
        NotifyType::NO_PROPOSAL_CHOSEN => Failure::new(
            FailureCode::ProposalMismatch,
            at,
            format!("vpn server {} accepts none of the IKE proposals: {}", to.ip(), offered_ike(&config.ike)),
        )
        .hint("add a proposal that the server has to `ike` in the profile (its log names what it accepts)"),
        NotifyType::INVALID_MAJOR_VERSION => {
            Failure::new(FailureCode::PeerMisbehaved, at, format!("{} does not speak IKEv2", to.ip()))
                .hint("check that the server offers IKEv2")
        }
        NotifyType::TEMPORARY_FAILURE => {
            Failure::new(FailureCode::PeerBusy, at, format!("vpn server {} asks to come back later", to.ip()))
        }
        _ => Failure::new(
            FailureCode::PeerMisbehaved,
            at,
            format!("vpn server {} refused the first message", to.ip()),
        )
        .hint("the server's log says why"),
    }
    .said(word(kind))
}

/// The server answered IKE_SA_INIT with something that we had not offered, or that can't be read, again and again.
pub(crate) fn init_unusable(to: SocketAddr, why: &str) -> Failure {
    Failure::new(
        FailureCode::PeerMisbehaved,
        Step::IkeInit,
        format!("vpn server {} answers with what can't be used: {why}", to.ip()),
    )
}

/// `aes256gcm16-prfsha256-x25519, …`
pub(crate) fn offered_ike(list_of: &[IkeProposal]) -> String {
    list(list_of)
}

fn offered_esp(list_of: &[EspProposal]) -> String {
    list(list_of)
}

/// The server answered IKE_AUTH with an error instead of its identity.
pub(crate) fn auth_refused(config: &InitiatorConfig, notify: &Notify) -> Failure {
    let (us, server) = (&config.local_id, &config.remote_id);
    let how = match config.local_auth {
        LocalAuth::Psk => "pre-shared key",
        LocalAuth::Signature { .. } => "certificate",
        LocalAuth::Eap { .. } => "user name and password (EAP)",
    };
    let failure = match notify.kind {
        NotifyType::AUTHENTICATION_FAILED => {
            let hint = match config.local_auth {
                LocalAuth::Psk => format!(
                    "check that both ends have the same key, that the server knows the identity {us}, and that it \
                     calls itself {server}"
                ),
                LocalAuth::Signature { .. } => format!(
                    "check that the server trusts the certificate's authority, that the certificate is for {us}, and \
                     that the server calls itself {server}"
                ),
                LocalAuth::Eap { .. } => {
                    format!("check that the server has EAP for {us}, and that it calls itself {server}")
                }
            };
            let hint = match &config.ppk {
                Some(_) => format!("{hint}; and that both have the same key under the ppk-id"),
                None => hint,
            };
            let text = format!("the server did not accept us as {us} with our {how}");
            Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text).hint(hint)
        }
        NotifyType::AUTHORIZATION_FAILED => Failure::new(
            FailureCode::AuthenticationFailed,
            Step::Authenticate,
            format!("the server knows {us}, but does not let it in"),
        )
        .hint("ask the server's administrator"),
        NotifyType::MS_STATUS => {
            let (code, meaning, hint) = ms_status(notify.data_u32());
            let text = format!("the server refused us as {us} with a Windows error code: {meaning}");
            Failure::new(code, Step::Authenticate, text).hint(hint)
        }
        _ => return child_refused(config, notify),
    };
    failure.said(said(notify))
}

/// What Windows means by the number in MS_STATUS, and what may be done.
const fn ms_status(number: Option<u32>) -> (FailureCode, &'static str, &'static str) {
    use FailureCode::{AuthenticationFailed, ProposalMismatch};
    match number {
        Some(13801) => (
            AuthenticationFailed,
            "authentication credentials are unacceptable (13801)",
            "check that our certificate is for client authentication, that the server trusts its authority, and that \
             the server's own certificate names the server",
        ),
        Some(13806) => (
            AuthenticationFailed,
            "no valid machine certificate was found (13806)",
            "the server has no certificate of its own for IKE, or wants one of us from an authority that it trusts",
        ),
        Some(13816) => (
            ProposalMismatch,
            "it could not process the request (13816)",
            "Windows says so of a key exchange for a CHILD_SA where it is not set up for perfect forward secrecy: take \
             the key exchange methods out of `esp`",
        ),
        Some(13863) => (
            ProposalMismatch,
            "it does not take this request from us (13863)",
            "Windows says so of a rekey that it did not begin itself, behind a NAT: let it rekey",
        ),
        Some(13868) => (
            ProposalMismatch,
            "its policy and our proposals have nothing in common (13868)",
            "compare `ike` and `esp` with Get-VpnServerIPsecConfiguration; with its defaults, set legacy = true",
        ),
        _ => (
            AuthenticationFailed,
            "its number is in Microsoft's list of errors",
            "look the number up in Microsoft's list of RAS and IPsec errors",
        ),
    }
}

/// The server let us in, but gave no CHILD_SA.
pub(crate) fn child_refused(config: &InitiatorConfig, notify: &Notify) -> Failure {
    let (code, step, text, hint) = match notify.kind {
        NotifyType::NO_PROPOSAL_CHOSEN => (
            FailureCode::ProposalMismatch,
            Step::Child,
            format!("the server accepts none of the ESP proposals: {}", offered_esp(&config.esp)),
            "add a proposal that the server has to `esp` in the profile",
        ),
        NotifyType::TS_UNACCEPTABLE | NotifyType::SINGLE_PAIR_REQUIRED => (
            FailureCode::TrafficSelectors,
            Step::Child,
            format!(
                "the server does not carry traffic from {} to {}",
                list(&config.local_ts),
                list(&config.remote_ts)
            ),
            "make the profile's traffic selectors those that the server has for this connection",
        ),
        NotifyType::INTERNAL_ADDRESS_FAILURE => (
            FailureCode::NoAddress,
            Step::Address,
            "the server has no address to give".to_owned(),
            "its pool may be used up, or it has none for this user",
        ),
        NotifyType::FAILED_CP_REQUIRED => (
            FailureCode::NoAddress,
            Step::Address,
            "the server lets nobody in who does not ask for an address".to_owned(),
            "ask for one in the profile",
        ),
        NotifyType::TEMPORARY_FAILURE | NotifyType::NO_ADDITIONAL_SAS => (
            FailureCode::PeerBusy,
            Step::Child,
            "the server can't set up the tunnel now".to_owned(),
            "try again later; the server's log says why",
        ),
        _ => (
            FailureCode::PeerMisbehaved,
            Step::Child,
            "the server let us in, but refused the tunnel".to_owned(),
            "the server's log says why",
        ),
    };
    Failure::new(code, step, text).said(said(notify)).hint(hint)
}

/// The peer refused a CHILD_SA after the first one.
pub(crate) fn create_refused(
    esp: &[EspProposal],
    ts: (&[TrafficSelector], &[TrafficSelector]),
    notify: &Notify,
) -> Failure {
    let (code, text) = match notify.kind {
        NotifyType::NO_PROPOSAL_CHOSEN | NotifyType::INVALID_KE_PAYLOAD => (
            FailureCode::ProposalMismatch,
            format!("the peer accepts none of the ESP proposals: {}", offered_esp(esp)),
        ),
        NotifyType::TS_UNACCEPTABLE | NotifyType::SINGLE_PAIR_REQUIRED => (
            FailureCode::TrafficSelectors,
            format!("the peer does not carry traffic from {} to {}", list(ts.0), list(ts.1)),
        ),
        NotifyType::TEMPORARY_FAILURE | NotifyType::NO_ADDITIONAL_SAS => {
            (FailureCode::PeerBusy, "the peer takes no further CHILD_SA".to_owned())
        }
        _ => (FailureCode::PeerMisbehaved, "the peer refused a CHILD_SA".to_owned()),
    };
    Failure::new(code, Step::Child, text).said(said(notify))
}

/// The peer refused an IKE_SA in place of the one that there is.
pub(crate) fn rekey_refused(ike: &[IkeProposal], notify: &Notify) -> Failure {
    let (code, text) = match notify.kind {
        NotifyType::NO_PROPOSAL_CHOSEN | NotifyType::INVALID_KE_PAYLOAD => (
            FailureCode::ProposalMismatch,
            format!("the peer accepts none of the IKE proposals: {}", offered_ike(ike)),
        ),
        _ => (FailureCode::PeerMisbehaved, "the peer refused to rekey the IKE_SA".to_owned()),
    };
    Failure::new(code, Step::Established, text).said(said(notify))
}

/// A key exchange of ours could not be computed.
pub(crate) fn crypto_failed(step: Step, method: Option<KeMethod>, error: CryptoError) -> Failure {
    let code = match error {
        CryptoError::BadPublicValue => FailureCode::PeerMisbehaved,
        CryptoError::Unsupported | CryptoError::Integrity | CryptoError::Length => FailureCode::Internal,
    };
    let name = method.map_or_else(String::new, |m| format!(" {m}"));
    Failure::new(code, step, format!("key exchange{name}: {error}"))
}

/// The same peer has come in anew.
pub(crate) fn replaced(peer: &Identity) -> Failure {
    let text = format!("{peer} has come in anew");
    Failure::new(FailureCode::PeerClosed, Step::Established, text)
}

/// The peer goes on from here with another IKE_SA.
pub(crate) fn resumed(peer: &Identity) -> Failure {
    let text = format!("{peer} has resumed its session with another IKE_SA");
    Failure::new(FailureCode::PeerLost, Step::Established, text)
}

/// Seen by a responder: a session that is not resumed. The peer is told TICKET_NACK and no more.
pub(crate) fn not_resumed_by_us(peer: &Identity, why: impl Display) -> Failure {
    let text = format!("the session of {peer} was not resumed: {why}");
    Failure::new(FailureCode::AuthenticationFailed, Step::IkeInit, text)
        .hint("nothing is to be done: the client proves itself anew")
}

/// Seen by an initiator: the server does not resume the session.
pub(crate) fn not_resumed(to: SocketAddr, why: impl Display) -> Failure {
    let text = format!("vpn server {} does not resume the session: {why}", to.ip());
    Failure::new(FailureCode::PeerClosed, Step::IkeInit, text)
        .hint("nothing is to be done: the connection is begun from scratch")
}

/// Transport mode was asked for and tunnel mode was got, or the other way round.
pub(crate) fn other_mode(asked: ChildMode) -> Failure {
    let (asked, got) = match asked {
        ChildMode::Transport => ("transport", "tunnel"),
        ChildMode::Tunnel => ("tunnel", "transport"),
    };
    let text = format!("the server gave {got} mode, not {asked} mode");
    Failure::new(FailureCode::ProposalMismatch, Step::Child, text)
        .hint("make `mode` in the profile what the server has for this connection")
}

/// The peer has said TEMPORARY_FAILURE for minutes (RFC 7296 §2.25).
pub(crate) fn out_of_step(peer: &Identity) -> Failure {
    Failure::new(
        FailureCode::PeerMisbehaved,
        Step::Established,
        format!("{peer} has put everything off for minutes: it does not have what we have"),
    )
    .said("TEMPORARY_FAILURE")
}

/// The end of a lifetime came first.
pub(crate) fn never_rekeyed(what: &str, peer: &Identity) -> Failure {
    let text = format!("the {what} with {peer} was not rekeyed before its life was over");
    Failure::new(FailureCode::PeerMisbehaved, Step::Established, text)
        .hint("what the peer refuses is in the log; a longer rekey-ike or rekey-child makes it last longer")
}

/// The server says that it is somebody else.
pub(crate) fn wrong_identity(config: &InitiatorConfig, answered: &str) -> Failure {
    let code = match config.remote_auth {
        RemoteAuth::Psk | RemoteAuth::Eap { .. } => FailureCode::AuthenticationFailed,
        RemoteAuth::Certificate { .. } => FailureCode::CertificateName,
    };
    Failure::new(
        code,
        Step::Authenticate,
        format!("the server calls itself {answered}, not {}", config.remote_id),
    )
    .hint("if that is the server you mean, make it `remote-id` in the profile")
}

fn ppk_name(rule: Option<&PpkRule>) -> String {
    rule.map(|rule| String::from_utf8_lossy(&rule.id).into_owned()).unwrap_or_default()
}

/// There is no postquantum preshared key of that name on this host (RFC 8784).
pub(crate) fn ppk_missing(rule: Option<&PpkRule>) -> Failure {
    let text = format!("this host has no postquantum preshared key {}", ppk_name(rule));
    Failure::new(FailureCode::NoSecret, Step::Authenticate, text)
        .hint("check ppk-id and ppk-file in the profile")
}

/// The server goes on without the postquantum preshared key that has to be there (RFC 8784).
pub(crate) fn no_ppk(rule: Option<&PpkRule>) -> Failure {
    let name = ppk_name(rule);
    let text =
        format!("the server does not use the postquantum preshared key {name}, and the profile requires it");
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text)
        .hint("give the server the key under this name, or set ppk = \"optional\"")
}

/// The server has not the key.
pub(crate) fn wrong_psk(config: &InitiatorConfig) -> Failure {
    Failure::new(
        FailureCode::AuthenticationFailed,
        Step::Authenticate,
        format!("the server could not prove that it is {}: it has another pre-shared key", config.remote_id),
    )
    .hint("check that both ends have the same key")
}

/// The server did something that the protocol does not allow.
pub(crate) fn misbehaved(step: Step, text: impl Into<String>) -> Failure {
    Failure::new(FailureCode::PeerMisbehaved, step, text)
}

/// The server proves itself in a way that was not asked for.
pub(crate) fn other_method(expected: &str, got: &str) -> Failure {
    Failure::new(
        FailureCode::AuthenticationFailed,
        Step::Authenticate,
        format!("the peer has to prove itself with a {expected}, and did so with {got}"),
    )
}

/// RSA without RFC 7427 means SHA-1.
pub(crate) fn sha1_only(who: &str) -> Failure {
    Failure::new(
        FailureCode::AuthenticationFailed,
        Step::Authenticate,
        format!("{who} knows RSA signatures with SHA-1 only, which are not safe"),
    )
    .hint("let the peer use RFC 7427 signatures (SIGNATURE_HASH_ALGORITHMS), or an ECDSA certificate")
}

/// Our key and the peer have no signature scheme in common.
pub(crate) fn no_common_signature() -> Failure {
    Failure::new(
        FailureCode::AuthenticationFailed,
        Step::Authenticate,
        "the peer accepts no signature that our key can make",
    )
    .hint("use another key, or let the peer accept SHA-256")
}

/// The peer wants EAP.
pub(crate) fn eap_wanted() -> Failure {
    Failure::new(
        FailureCode::AuthenticationFailed,
        Step::Authenticate,
        "the server wants a user name and a password (EAP), which this profile does not use",
    )
    .said("EAP")
    .hint("use a pre-shared key or a certificate, or let the server accept one")
}

/// EAP needs a server that has proven itself by a certificate before.
pub(crate) fn eap_unproven() -> Failure {
    Failure::new(
        FailureCode::AuthenticationFailed,
        Step::Authenticate,
        "the server asks for a name and a password before it has shown who it is",
    )
    .hint("nothing was sent to it; the server needs a certificate, and this profile  remote-auth = \"certificate\"")
}

/// A method that is not enough by itself.
pub(crate) fn eap_not_mutual() -> Failure {
    Failure::new(
        FailureCode::AuthenticationFailed,
        Step::Authenticate,
        "the EAP method does not prove the server, and the server has not shown a certificate either",
    )
}

/// The server's last AUTH, which comes of EAP, is not that of whom we spoke EAP with.
pub(crate) fn eap_broken() -> Failure {
    Failure::new(
        FailureCode::AuthenticationFailed,
        Step::Authenticate,
        "the peer's AUTH is not made with the key of the EAP conversation",
    )
    .hint("somebody may be in between, or the server's RADIUS server gave it another key")
}

/// Asked for addresses, got none.
pub(crate) fn no_address() -> Failure {
    Failure::new(FailureCode::NoAddress, Step::Address, "the server let us in, but gave no address")
        .hint("the server needs an address pool for this connection")
}

/// The driver has not answered.
pub(crate) fn unanswered(step: Step) -> Failure {
    Failure::new(
        FailureCode::TimedOut,
        step,
        "a part of this host that the connection needs did not answer in time",
    )
    .hint("the daemon's log says what it waited for")
}

/// It stopped answering.
pub(crate) fn peer_lost(peer: &Identity, path: Path, silent: Duration) -> Failure {
    Failure::new(
        FailureCode::PeerLost,
        Step::Established,
        format!("{peer} at {} has not answered for {} s", path.remote, seconds(silent)),
    )
}

/// It deleted the IKE_SA.
pub(crate) fn closed_by_peer(path: Path) -> Failure {
    Failure::new(
        FailureCode::PeerClosed,
        Step::Established,
        format!("{} ended the connection", path.remote.ip()),
    )
    .said("DELETE")
}

/// Nothing is left to carry.
pub(crate) fn last_child_closed(peer: &Identity) -> Failure {
    Failure::new(FailureCode::PeerClosed, Step::Established, format!("the tunnel to {peer} was closed"))
        .said("DELETE")
}

/// An initiator found our AUTH wrong.
pub(crate) fn peer_refused_us(path: Path) -> Failure {
    Failure::new(
        FailureCode::AuthenticationFailed,
        Step::Authenticate,
        format!("{} did not accept who we are", path.remote.ip()),
    )
    .said("AUTHENTICATION_FAILED")
    .hint("it may expect another identity, key or certificate of this server")
}

/// The peer can't read us.
pub(crate) fn peer_found_us_malformed() -> Failure {
    Failure::new(FailureCode::PeerMisbehaved, Step::Established, "the peer could not read a message of ours")
        .said("INVALID_SYNTAX")
}

/// Seen by a responder: why a peer was not let in. The peer is told AUTHENTICATION_FAILED and no more.
pub(crate) fn not_let_in(claimed: &str, why: impl Display) -> Failure {
    Failure::new(
        FailureCode::AuthenticationFailed,
        Step::Authenticate,
        format!("a peer that calls itself {claimed} was not let in: {why}"),
    )
}

/// Seen by a responder: a peer that never came back.
pub(crate) fn half_open_expired() -> Failure {
    Failure::new(FailureCode::TimedOut, Step::Authenticate, "the peer began and did not go on")
}

/// Seen by a responder: let in, but without a CHILD_SA.
pub(crate) fn no_child(peer: &Identity, told: NotifyType, why: impl Display) -> Failure {
    let code = match told {
        NotifyType::NO_PROPOSAL_CHOSEN => FailureCode::ProposalMismatch,
        NotifyType::TS_UNACCEPTABLE => FailureCode::TrafficSelectors,
        NotifyType::INTERNAL_ADDRESS_FAILURE | NotifyType::FAILED_CP_REQUIRED => FailureCode::NoAddress,
        _ => FailureCode::Internal,
    };
    Failure::new(
        code,
        Step::Child,
        format!("{peer} was let in, but got no tunnel: {why} (told: {})", word(told)),
    )
}
