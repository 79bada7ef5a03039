//! Keys replaced because somebody wants it so.

use std::str::FromStr;

use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::{ChildId, Input, SaId};
use adit_profile::TunnelKind;

use super::sad::Sad;
use crate::registry::Role;

/// Whose keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rekey {
    /// The IKE_SA's and every CHILD_SA's.
    All,
    /// The IKE_SA's.
    Ike,
    /// Every CHILD_SA's.
    Child,
}

impl FromStr for Rekey {
    type Err = Failure;

    fn from_str(word: &str) -> Result<Self, Failure> {
        match word {
            "all" => Ok(Self::All),
            "ike" => Ok(Self::Ike),
            "child" => Ok(Self::Child),
            _ => {
                let text = format!("\"{}\" has no keys", word.escape_debug());
                let hint = "all, ike and child have";
                Err(Failure::new(FailureCode::NotFound, Step::Established, text).hint(hint))
            }
        }
    }
}

/// What is said of a connection's keys that are not IKE's to replace.
#[must_use]
pub fn not_on_demand(kind: TunnelKind, role: Role) -> Failure {
    let (text, hint) = match (kind, role) {
        (TunnelKind::Pptp | TunnelKind::Ikev2, _) => (
            "keys of a PPTP connection are not replaced on demand: MPPE changes them by itself (RFC 3078 §7)",
            "ctl down, then ctl up  gives it other ones",
        ),
        (TunnelKind::Sstp, _) => (
            "keys of an SSTP connection are TLS's, and not replaced on demand",
            "ctl down, then ctl up  gives it other ones",
        ),
        (TunnelKind::L2tp, Role::Client) => (
            "no IPsec is around this L2TP connection now, so it has no keys to replace",
            "ctl status  shows whether it is connected, and what protects it",
        ),
        (TunnelKind::L2tp, Role::Server) => (
            "keys of a client's L2TP/IPsec are replaced when it wants it, or when they are as old as [l2tp] says",
            "rekey-ike and rekey-child in [l2tp] of server.toml  say how old",
        ),
    };
    Failure::new(FailureCode::NotFound, Step::Established, text).hint(hint)
}

impl Sad {
    /// Has keys replaced now; returns how many SAs are to be, those included where that is under way.
    #[must_use]
    pub fn rekey(&self, sa: SaId, which: Rekey) -> u32 {
        let mut wanted: Vec<Option<ChildId>> = match which {
            Rekey::Ike => Vec::new(),
            Rekey::All | Rekey::Child => self
                .books()
                .children(sa)
                .filter(|child| !child.replaced)
                .map(|child| Some(child.id))
                .collect(),
        };
        if which != Rekey::Child {
            wanted.push(None);
        }
        let told = wanted.into_iter().filter(|child| self.tell(Input::Rekey { sa, child: *child })).count();
        u32::try_from(told).unwrap_or(u32::MAX)
    }
}
