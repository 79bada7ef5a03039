//! What is said of a connection on its way up.

use std::net::SocketAddr;

use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::ChildId;
use adit_profile::Profile;

/// Names the way out where a server takes nothing but what can be broken.
pub(crate) fn hint_at_legacy(failure: Failure, profile: &Profile) -> Failure {
    if failure.code != FailureCode::ProposalMismatch || profile.legacy {
        return failure;
    }
    let hint = failure.hint.clone().map(|h| format!("{h}; ")).unwrap_or_default();
    let more = "or add  legacy = true  if it is one that takes only 3DES or MODP-1024, as Windows' RRAS and Azure do by \
                default: both can be broken";
    failure.hint(format!("{hint}{more}"))
}

/// A CHILD_SA, or the IKE_SA, that the peer does not rekey.
pub(crate) fn not_rekeyed(child: Option<ChildId>, why: &Failure) -> String {
    let (what, key) = match child {
        Some(_) => ("CHILD_SA", "esp"),
        None => ("IKE_SA", "ike"),
    };
    let next = match why.code {
        FailureCode::ProposalMismatch => {
            format!(": make the proposals in `{key}`, with their key exchanges, the same at both ends")
        }
        _ => "; the peer's log says why".to_owned(),
    };
    format!("the {what} could not be rekeyed: {why} It carries on until the end of its life{next}.")
}

/// A step, as a person reads it.
pub(super) fn describe(step: Step, remote: SocketAddr) -> Option<String> {
    match step {
        Step::IkeInit => Some(format!("IKEv2: contacting {remote}")),
        Step::Authenticate => Some("IKEv2: authenticating".to_owned()),
        Step::Child => Some("IKEv2: authenticated, installing the tunnel".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use adit_profile::{Source, parse_profile};

    use super::*;

    #[test]
    fn a_server_of_old_algorithms_only_is_told_how_to_reach() {
        let parse = |more: &str| {
            let text = format!("server = \"a\"\nauth = \"psk\"\nlocal-id = \"b\"\npsk-file = \"c\"\n{more}");
            let source = Source { file: "t", text: &text, access: None };
            parse_profile(&"t".parse().unwrap(), &source, &|_, _| Ok(Vec::new())).unwrap()
        };
        let refused = || {
            Failure::new(FailureCode::ProposalMismatch, Step::IkeInit, "none of the proposals")
                .hint("add one")
        };
        let hint = hint_at_legacy(refused(), &parse("")).hint.unwrap();
        assert!(hint.starts_with("add one; or add  legacy = true  if"), "{hint}");
        assert_eq!(hint_at_legacy(refused(), &parse("legacy = true\n")).hint.unwrap(), "add one");
    }
}
