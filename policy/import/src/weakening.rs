//! What of a foreign profile would protect less than Adit does.

/// A setting that weakens. Some can be taken with somebody's explicit word; the others never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Weakening {
    /// 3DES, MODP-1024, MODP-1536.
    LegacyAlgorithms,
    /// A pre-shared key that many have, which proves no server.
    GroupPsk,
    /// L2TP that nothing protects.
    NoIpsec,
    /// PPTP, or L2TP without IPsec, that need not be encrypted.
    NoEncryption,
    /// MPPE with keys of 40 bits.
    Mppe40,
    /// MS-CHAPv1.
    Mschapv1,
    /// CHAP with MD5.
    Chap,
    /// EAP methods that say the password in clear or nearly so.
    WeakEap,
    /// Nobody is asked whether a certificate was revoked.
    NoRevocation,
    /// A server's certificate that nobody checks.
    UncheckedCertificate,
    /// A server that may have any name.
    UncheckedName,
    /// PAP: the password in clear.
    Pap,
    /// A server that only a pre-shared key proves, beside EAP.
    PskServer,
}

/// A row: the word, whether it can be taken, what it means, what does it safely.
type Row = (Weakening, &'static str, bool, &'static str, &'static str);

const ROWS: &[Row] = &[
    (
        Weakening::LegacyAlgorithms,
        "legacy-algorithms",
        true,
        "3DES, MODP-1024 and MODP-1536 can be broken",
        "have the server take  ike = \"aes256-sha256-modp2048\"",
    ),
    (
        Weakening::GroupPsk,
        "group-psk",
        true,
        "everybody who has this pre-shared key can pose as the server",
        "tunnel = \"ikev2\" with  auth = \"eap\"  and  ca = \"corp-ca.pem\", if the server has IKEv2",
    ),
    (
        Weakening::NoIpsec,
        "no-ipsec",
        true,
        "L2TP without IPsec encrypts nothing",
        "psk-file = \"corp.psk\": IPsec then protects it",
    ),
    (
        Weakening::NoEncryption,
        "no-encryption",
        true,
        "a server that does not encrypt would be gone along with",
        "require-mppe = true, which holds if nothing is said",
    ),
    (
        Weakening::Mppe40,
        "mppe-40",
        true,
        "keys of 40 bits are found in hours",
        "mppe = \"128\", which holds if nothing is said",
    ),
    (
        Weakening::Mschapv1,
        "mschapv1",
        true,
        "MS-CHAPv1 can be broken in minutes",
        "ppp-auth = [\"eap\", \"mschapv2\"], which holds if nothing is said",
    ),
    (
        Weakening::Chap,
        "chap",
        true,
        "CHAP proves no server, and makes no keys for MPPE",
        "ppp-auth = [\"eap\", \"mschapv2\"], which holds if nothing is said",
    ),
    (
        Weakening::WeakEap,
        "weak-eap",
        true,
        "GTC and MD5 say the password in clear or nearly so",
        "eap-methods = [\"mschapv2\"]",
    ),
    (
        Weakening::NoRevocation,
        "no-revocation",
        true,
        "a certificate that was revoked would be accepted",
        "revocation = \"soft\", which holds if nothing is said",
    ),
    (
        Weakening::UncheckedCertificate,
        "unchecked-certificate",
        false,
        "anybody could pose as the server; Adit always checks its certificate",
        "ca = \"corp-ca.pem\": name the authority's certificate beside the profile:  ctl import PROFILE corp-ca.pem",
    ),
    (
        Weakening::UncheckedName,
        "unchecked-name",
        false,
        "whoever has any certificate of that authority could pose as the server",
        "remote-id = \"vpn.example.com\", if its certificate is for another name than  server",
    ),
    (
        Weakening::Pap,
        "pap",
        false,
        "PAP sends the password in clear; Adit does not do it",
        "ppp-auth = [\"eap\", \"mschapv2\"], which holds if nothing is said",
    ),
    (
        Weakening::PskServer,
        "psk-server",
        false,
        "a pre-shared key proves nobody who has it; with EAP the server has to show a certificate",
        "ca = \"corp-ca.pem\": name the authority's certificate beside the profile:  ctl import PROFILE corp-ca.pem",
    ),
];

impl Weakening {
    /// All that can be taken with somebody's word.
    pub fn acceptable() -> impl Iterator<Item = Self> {
        ROWS.iter().filter(|row| row.2).map(|row| row.0)
    }

    fn row(self) -> Row {
        const NONE: Row = (Weakening::Pap, "", false, "", "");
        ROWS.iter().find(|row| row.0 == self).copied().unwrap_or(NONE)
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// What that word stands for, if it can be taken.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::acceptable().find(|w| w.as_str() == word)
    }

    /// Whether somebody's word is enough to take it.
    #[must_use]
    pub fn can_be_accepted(self) -> bool {
        self.row().2
    }

    /// What it means.
    #[must_use]
    pub fn why(self) -> &'static str {
        self.row().3
    }

    /// The line that does it safely.
    #[must_use]
    pub fn instead(self) -> &'static str {
        self.row().4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_of_one_weakening_each() {
        for (n, row) in ROWS.iter().enumerate() {
            assert_eq!(row.0.as_str(), row.1);
            assert_eq!(Weakening::from_word(row.1), row.2.then_some(row.0));
            assert!(ROWS.iter().skip(n + 1).all(|other| other.1 != row.1));
        }
    }
}
