//! Which types of tunnel a connection may have.

use crate::ppp::TunnelKind;
use crate::profile::Profile;

/// How a file says which types there are, and in which order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TunnelOrder {
    /// `auto`: IKEv2, SSTP, PPTP, L2TP, and first what worked last in the same network.
    Auto,
    /// `ikev2-first`, `sstp-first`, `pptp-first` or `l2tp-first`: that one, then the others.
    First(TunnelKind),
    /// Those.
    These(Vec<TunnelKind>),
}

/// As RRAS' clients have it.
const USUAL: [TunnelKind; 4] = [TunnelKind::Ikev2, TunnelKind::Sstp, TunnelKind::Pptp, TunnelKind::L2tp];

impl TunnelOrder {
    pub(crate) const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("ikev2-first", Self::First(TunnelKind::Ikev2)),
        ("sstp-first", Self::First(TunnelKind::Sstp)),
        ("pptp-first", Self::First(TunnelKind::Pptp)),
        ("l2tp-first", Self::First(TunnelKind::L2tp)),
    ];

    /// The types, in that order.
    #[must_use]
    pub fn kinds(&self) -> Vec<TunnelKind> {
        match self {
            Self::Auto => USUAL.to_vec(),
            Self::First(first) => {
                core::iter::once(*first).chain(USUAL.into_iter().filter(|kind| kind != first)).collect()
            }
            Self::These(kinds) => kinds.clone(),
        }
    }

    /// The word for it in a file; `None`: it is a list.
    #[must_use]
    pub fn word(&self) -> Option<&'static str> {
        Self::WORDS.iter().find(|(_, order)| order == self).map(|(word, _)| *word)
    }
}

/// What a profile says of several types of tunnel. The profile that has it is that of the first one that takes part.
#[derive(Debug)]
pub struct TunnelStrategy {
    /// Which, and in which order.
    pub order: TunnelOrder,
    /// The profiles of those that take part after the first, in that order.
    pub others: Vec<Profile>,
    /// Those that do not take part, and why.
    pub left_out: Vec<(TunnelKind, String)>,
    /// Later ones begin while earlier ones are silent. Default: yes.
    pub race: bool,
    /// Whether PPTP, and L2TP with a group's pre-shared key, take part. Default: no.
    pub weak: bool,
    /// Whether SSTP may follow a server's certificate that is not good. Default: no.
    pub sstp_after_bad_certificate: bool,
}

impl Profile {
    /// Whether its server proves nothing before the password's proof leaves, or no more than that it is one of a group.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        match self.kind {
            TunnelKind::Ikev2 | TunnelKind::Sstp => false,
            TunnelKind::Pptp => true,
            TunnelKind::L2tp => {
                let protected = self.ppp.as_ref().and_then(|ppp| ppp.l2tp.as_ref());
                protected.is_none_or(|rule| rule.ipsec == crate::Ipsec::None) || self.psk.is_some()
            }
        }
    }

    /// The types that it may have, in their order.
    #[must_use]
    pub fn kinds(&self) -> Vec<TunnelKind> {
        let others = self.strategy.iter().flat_map(|strategy| &strategy.others);
        core::iter::once(self).chain(others).map(|profile| profile.kind).collect()
    }
}
