//! Failures as people meet them: what happened, what the peer said, what to do next.

use core::net::SocketAddr;
use core::time::Duration;

use adit_core::{Failure, FailureCode, Identity, Step};
use adit_isakmp::crypto::CryptoError;
use adit_isakmp::proposal::NoProposal;
use adit_isakmp::v1::NotifyKind;
use adit_isakmp::v1::proposal::{describe_esp, describe_ike};
use adit_isakmp::v1::{SecurityAssociation, proposal::Encapsulation};

use crate::api::{Auth, InitiatorConfig};

fn word(kind: NotifyKind) -> String {
    kind.name().map_or_else(|| format!("notify {}", kind.0), |name| name.replace('_', "-"))
}

fn tries(count: u32, time: Duration) -> String {
    let seconds = time.as_millis().saturating_add(500) / 1000;
    if count == 1 { format!("1 try in {seconds} s") } else { format!("{count} tries in {seconds} s") }
}

/// Nothing usable came back.
pub(crate) fn unreachable(
    config: &InitiatorConfig,
    to: SocketAddr,
    step: Step,
    (sent, time): (u32, Duration),
) -> Failure {
    let text = format!("vpn server {} did not answer on UDP {} ({})", to.ip(), to.port(), tries(sent, time));
    let hint = match (step, &config.auth) {
        (Step::Authenticate, Auth::Psk) => {
            "it answered until the pre-shared key came into use: check that both ends have the same key, and that it \
             knows who we are; its log says more"
                .into()
        }
        (Step::Authenticate, Auth::Signature { .. }) => {
            "it answered until certificates came into use: check that it trusts ours, and that fragments get through; \
             its log says more"
                .into()
        }
        _ => format!(
            "check the server's address, that firewalls let UDP 500 and UDP 4500 through (tried: UDP {}), and that \
             it offers IKEv1",
            to.port()
        ),
    };
    Failure::new(FailureCode::ServerUnreachable, step, text).hint(hint)
}

/// The server refused phase 1, twice, in clear.
pub(crate) fn refused(
    config: &InitiatorConfig,
    offered: &SecurityAssociation,
    step: Step,
    kind: NotifyKind,
) -> Failure {
    let server = config.path.remote.ip();
    let failure = match kind {
        NotifyKind::NO_PROPOSAL_CHOSEN => Failure::new(
            FailureCode::ProposalMismatch,
            step,
            format!("vpn server {server} accepts none of the IKE proposals: {}", describe_ike(offered)),
        )
        .hint("add a proposal that the server has to `ike` in the profile (its log names what it accepts)"),
        NotifyKind::PAYLOAD_MALFORMED
        | NotifyKind::INVALID_HASH_INFORMATION
        | NotifyKind::AUTHENTICATION_FAILED
        | NotifyKind::INVALID_SIGNATURE
        | NotifyKind::INVALID_CERTIFICATE
        | NotifyKind::INVALID_ID_INFORMATION
            if step == Step::Authenticate =>
        {
            not_accepted(config)
        }
        _ => Failure::new(
            FailureCode::PeerMisbehaved,
            step,
            format!("vpn server {server} refused our message"),
        )
        .hint("the server's log says why"),
    };
    failure.said(word(kind))
}

fn not_accepted(config: &InitiatorConfig) -> Failure {
    let us = &config.local_id;
    let (how, hint) = match config.auth {
        Auth::Psk => (
            "pre-shared key",
            "check that both ends have the same pre-shared key, and that the server knows our identity",
        ),
        Auth::Signature { .. } => (
            "certificate",
            "check that the server trusts the certificate's authority, and that the certificate is for our identity",
        ),
    };
    let text = format!("the server did not accept us as {us} with our {how}");
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text).hint(hint)
}

/// The server's answers can't be used, again and again.
pub(crate) fn unusable(to: SocketAddr, step: Step, why: &str) -> Failure {
    let text = format!("vpn server {} answers with what can't be used: {why}", to.ip());
    Failure::new(FailureCode::PeerMisbehaved, step, text)
}

/// The server's HASH is wrong, or its answer can't be read.
pub(crate) fn server_unproven(config: &InitiatorConfig) -> Failure {
    let text = format!("vpn server {} could not prove who it is", config.path.remote.ip());
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text).hint(match config.auth {
        Auth::Psk => "check that both ends have the same pre-shared key",
        Auth::Signature { .. } => {
            "its certificate's key did not make its signature: somebody may be in between"
        }
    })
}

/// The server calls itself something else.
pub(crate) fn wrong_identity(wanted: &Identity, got: &Identity) -> Failure {
    let text = format!("the server calls itself {got}, not {wanted}");
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text)
        .hint(format!("if that is the right server, set  remote-id = \"{got}\"  in the profile"))
}

/// Who has dialled us has the key of a server that we have dialled, but says that it is another.
pub(crate) fn another(dialled: &Identity, got: &Identity) -> Failure {
    let text = format!("the server would renew the connection as {got}, and was dialled as {dialled}");
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text)
}

/// A peer could not prove who it is.
pub(crate) fn client_unproven(psk: bool) -> Failure {
    let (text, hint) = if psk {
        (
            "the peer's message can't be read with the pre-shared key that is for its address",
            "check that both ends have the same pre-shared key",
        )
    } else {
        ("the peer's signature is wrong or its certificate is missing", "the peer's log may say more")
    };
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text).hint(hint)
}

/// A peer began phase 1 and did not finish it.
pub(crate) fn half_open(step: Step) -> Failure {
    Failure::new(FailureCode::PeerLost, step, "the peer began IKEv1's Main Mode and went silent")
}

/// Nothing that a peer offers in phase 1 is allowed.
pub(crate) fn no_ike_proposal(from: SocketAddr, no: &NoProposal) -> Failure {
    let text =
        format!("IKEv1 from {}: nothing in common: offered {}; allowed {}", from, no.offered, no.allowed);
    Failure::new(FailureCode::ProposalMismatch, Step::IkeInit, text).hint(if no.legacy {
        "what it offers is not allowed by default, as it is old and weak; to allow it all the same, set  legacy = true  in \
         [l2tp] of server.toml (where `ike` stands there, add one of what it offers to it, too)"
    } else {
        "add one of what it offers to `ike` in [l2tp] of server.toml"
    })
}

/// Nothing that a peer offers in Quick Mode is allowed.
pub(crate) fn no_esp_proposal(no: &NoProposal) -> Failure {
    let text = format!("Quick Mode: nothing in common: offered {}; allowed {}", no.offered, no.allowed);
    Failure::new(FailureCode::ProposalMismatch, Step::Child, text).hint(if no.legacy {
        "what it offers is not allowed by default, as it is old and weak; to allow it all the same, set  legacy = true  in \
         [l2tp] of server.toml (where `esp` stands there, add one of what it offers to it, too)"
    } else {
        "add one of what it offers to `esp` in [l2tp] of server.toml"
    })
}

/// A peer asks for traffic that it may not have.
pub(crate) fn traffic(local: &str, remote: &str) -> Failure {
    let text =
        format!("Quick Mode: the peer asks for {remote} to {local}, which its connection does not allow");
    Failure::new(FailureCode::TrafficSelectors, Step::Child, text)
}

/// The peer refused Quick Mode.
pub(crate) fn quick_refused(offered: &SecurityAssociation, how: Encapsulation, kind: NotifyKind) -> Failure {
    let failure = match kind {
        NotifyKind::NO_PROPOSAL_CHOSEN => Failure::new(
            FailureCode::ProposalMismatch,
            Step::Child,
            format!("the peer accepts none of the ESP proposals: {}", describe_esp(offered, how)),
        )
        .hint("add a proposal that the peer has to `esp` in the profile"),
        NotifyKind::INVALID_ID_INFORMATION => Failure::new(
            FailureCode::TrafficSelectors,
            Step::Child,
            "the peer does not allow the traffic that was asked for",
        )
        .hint("compare the networks, protocols and ports of both ends"),
        _ => Failure::new(FailureCode::PeerMisbehaved, Step::Child, "the peer refused Quick Mode"),
    };
    failure.said(word(kind))
}

/// The peer did not answer Quick Mode.
pub(crate) fn quick_unanswered(sent: u32, time: Duration) -> Failure {
    let text = format!("the peer did not answer Quick Mode ({})", tries(sent, time));
    Failure::new(FailureCode::PeerLost, Step::Child, text)
        .hint("its log says why: often it does not allow the traffic or the algorithms")
}

/// The peer's answer to Quick Mode is no answer to what was sent.
pub(crate) fn quick_unusable(why: &str) -> Failure {
    Failure::new(FailureCode::PeerMisbehaved, Step::Child, format!("Quick Mode: {why}"))
}

/// The peer is silent.
pub(crate) fn lost(sent: u32, time: Duration) -> Failure {
    let text = format!("the peer stopped answering ({})", tries(sent, time));
    Failure::new(FailureCode::PeerLost, Step::Established, text)
}

/// The peer ended it.
pub(crate) fn peer_closed() -> Failure {
    Failure::new(FailureCode::PeerClosed, Step::Established, "the peer ended the connection")
}

/// The peer came in anew and says that it has nothing else.
pub(crate) fn replaced() -> Failure {
    Failure::new(FailureCode::PeerClosed, Step::Established, "the peer came in anew")
}

/// No Quick Mode came.
pub(crate) fn no_quick_mode() -> Failure {
    Failure::new(FailureCode::PeerLost, Step::Child, "the peer authenticated itself and asked for nothing")
}

/// An SA's life is over.
pub(crate) fn life_over() -> Failure {
    Failure::new(
        FailureCode::PeerLost,
        Step::Established,
        "the SAs' life is over, and nobody has rekeyed them",
    )
}

/// The configuration has nothing that IKEv1 can do.
pub(crate) fn nothing_to_offer(what: &str) -> Failure {
    let text =
        format!("nothing in `{what}` is for IKEv1, which has AES-CBC and 3DES with MODP and ECP groups");
    Failure::new(FailureCode::ConfigurationInvalid, Step::IkeInit, text)
}

/// IKEv1 has no words for the traffic.
pub(crate) fn no_words() -> Failure {
    let text = "IKEv1 can't ask for a range of ports: one port, or all";
    Failure::new(FailureCode::ConfigurationInvalid, Step::Child, text)
}

/// A primitive gave no result.
pub(crate) fn crypto(step: Step, error: CryptoError) -> Failure {
    let code = match error {
        CryptoError::BadPublicValue => FailureCode::PeerMisbehaved,
        _ => FailureCode::Internal,
    };
    Failure::new(code, step, error.to_string())
}
