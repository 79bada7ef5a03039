//! Which tunnels a foreign profile wants, and in which order. One place for what "automatic" becomes.

/// What carries a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Ikev2,
    Sstp,
    L2tp,
    Pptp,
}

impl Kind {
    /// The word of a profile's `tunnel`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ikev2 => "ikev2",
            Self::Sstp => "sstp",
            Self::L2tp => "l2tp",
            Self::Pptp => "pptp",
        }
    }

    pub(crate) const fn is_ppp(self) -> bool {
        !matches!(self, Self::Ikev2)
    }
}

/// Tunnels in the order in which they are to be tried.
#[derive(Clone, Debug)]
pub(crate) struct Strategy {
    /// What the source says, for people.
    pub(crate) called: &'static str,
    /// In order; the first one is taken for now.
    pub(crate) order: Vec<Kind>,
}

/// What a strategy's number or word stands for: how it is called, and its order (MS-RRASM 2.2.2.2.11 for 0 to 4; the
/// rest as Microsoft's `ras.h` and the VPNv2 CSP have them).
type Row = (&'static str, &'static str, &'static [Kind]);

const AUTOMATIC: &[Kind] = &[Kind::Ikev2, Kind::Sstp, Kind::L2tp, Kind::Pptp];

/// `VpnStrategy` of a rasphone.pbk.
const OF_PHONE_BOOK: &[Row] = &[
    ("0", "automatic", AUTOMATIC),
    ("1", "PPTP only", &[Kind::Pptp]),
    ("2", "PPTP first", &[Kind::Pptp, Kind::Ikev2, Kind::Sstp, Kind::L2tp]),
    ("3", "L2TP only", &[Kind::L2tp]),
    ("4", "L2TP first", &[Kind::L2tp, Kind::Ikev2, Kind::Sstp, Kind::Pptp]),
    ("5", "SSTP only", &[Kind::Sstp]),
    ("6", "SSTP first", &[Kind::Sstp, Kind::Ikev2, Kind::Pptp, Kind::L2tp]),
    ("7", "IKEv2 only", &[Kind::Ikev2]),
    ("8", "IKEv2 first", &[Kind::Ikev2, Kind::Sstp, Kind::Pptp, Kind::L2tp]),
    ("14", "IKEv2, then SSTP", &[Kind::Ikev2, Kind::Sstp]),
];

/// `NativeProtocolType` of a ProfileXML.
const OF_PROFILE_XML: &[Row] = &[
    ("ikev2", "IKEv2", &[Kind::Ikev2]),
    ("sstp", "SSTP", &[Kind::Sstp]),
    ("l2tp", "L2TP", &[Kind::L2tp]),
    ("pptp", "PPTP", &[Kind::Pptp]),
    ("automatic", "automatic", AUTOMATIC),
];

impl Strategy {
    pub(crate) fn of_phone_book(number: &str) -> Option<Self> {
        Self::of(OF_PHONE_BOOK, number)
    }

    pub(crate) fn of_profile_xml(word: &str) -> Option<Self> {
        Self::of(OF_PROFILE_XML, word)
    }

    /// A list, as `ProtocolList` has it.
    pub(crate) fn of_list(words: &[&str]) -> Option<Self> {
        let mut order: Vec<Kind> = Vec::new();
        for word in words {
            for kind in Self::of_profile_xml(word)?.order {
                if !order.contains(&kind) {
                    order.push(kind);
                }
            }
        }
        (!order.is_empty()).then_some(Self { called: "a list of protocols", order })
    }

    pub(crate) fn only(kind: Kind) -> Self {
        Self { called: "", order: vec![kind] }
    }

    fn of(rows: &[Row], word: &str) -> Option<Self> {
        let row = rows.iter().find(|row| row.0.eq_ignore_ascii_case(word))?;
        Some(Self { called: row.1, order: row.2.to_vec() })
    }

    /// What `tunnel` becomes.
    pub(crate) fn first(&self) -> Kind {
        self.order.first().copied().unwrap_or(Kind::Ikev2)
    }

    /// What is told where there was more than one.
    pub(crate) fn note(&self) -> Option<String> {
        let words: Vec<&str> = self.order.iter().map(|kind| kind.word()).collect();
        (words.len() > 1).then(|| {
            let (first, all) = (self.first().word(), words.join("\", \""));
            format!(
                "{}: {}; taken: tunnel = \"{first}\". Where the server takes a name and a password by each of them, write \
                 tunnel = [\"{all}\"]",
                self.called,
                words.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_each_once() {
        let strategy = Strategy::of_list(&["SSTP", "IKEv2", "sstp"]).unwrap();
        assert_eq!(strategy.order, [Kind::Sstp, Kind::Ikev2]);
        let note = strategy.note().unwrap();
        assert!(note.starts_with("a list of protocols: sstp, ikev2; taken: tunnel = \"sstp\"."), "{note}");
        assert!(note.ends_with("write tunnel = [\"sstp\", \"ikev2\"]"), "{note}");
        assert!(Strategy::of_list(&["SSTP", "OpenVPN"]).is_none());
        assert!(Strategy::of_phone_book("7").unwrap().note().is_none());
    }
}
