//! EAP of a client: which methods, and what is inside of them.

use adit_core::Identity;

use crate::read::{Reader, Table, entry};
use crate::value::{NameError, parse_identity, quoted};

/// An EAP method of a client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EapType {
    /// EAP-MSCHAPv2.
    Mschapv2,
    /// EAP-TLS: our certificate proves us.
    Tls,
    /// EAP-TTLS.
    Ttls,
    /// PEAP.
    Peap,
    /// EAP-GTC: the password in clear, for the server that has shown its certificate.
    Gtc,
    /// EAP-MD5.
    Md5,
}

/// How a client proves itself inside of TTLS and PEAP.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum EapInner {
    /// MS-CHAP-V2: in TTLS as it is, in PEAP as EAP-MSCHAPv2.
    #[default]
    Mschapv2,
    /// EAP-MSCHAPv2, in TTLS too.
    EapMschapv2,
    /// The password as it is; TTLS only.
    Pap,
    /// EAP-GTC.
    Gtc,
    /// EAP-MD5.
    Md5,
}

/// EAP of a profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EapChoice {
    /// The methods that we do, best first. Default: EAP-TLS where there is a key, EAP-MSCHAPv2 where there is a name.
    pub methods: Vec<EapType>,
    /// Inside of TTLS and PEAP.
    pub inner: EapInner,
    /// Who the server of EAP-TLS, TTLS and PEAP must be, by its certificate. `None`: the gateway itself.
    pub server: Option<Identity>,
    /// The gateway may leave out its own certificate, where EAP-TLS proves it (RFC 5998).
    pub only: bool,
}

impl Default for EapChoice {
    fn default() -> Self {
        Self { methods: vec![EapType::Mschapv2], inner: EapInner::default(), server: None, only: false }
    }
}

impl EapChoice {
    /// Whether each method leaves it to the server what it asks for (EAP-GTC: often a code that can't be known before).
    #[must_use]
    pub fn asks_as_it_goes(&self) -> bool {
        let by_token = |method: &EapType| match method {
            EapType::Gtc => true,
            EapType::Ttls | EapType::Peap => self.inner == EapInner::Gtc,
            EapType::Mschapv2 | EapType::Tls | EapType::Md5 => false,
        };
        !self.methods.is_empty() && self.methods.iter().all(by_token)
    }
}

const METHODS: &[(&str, EapType)] = &[
    ("mschapv2", EapType::Mschapv2),
    ("tls", EapType::Tls),
    ("ttls", EapType::Ttls),
    ("peap", EapType::Peap),
    ("gtc", EapType::Gtc),
    ("md5", EapType::Md5),
];
const INNER: &[(&str, EapInner)] = &[
    ("mschapv2", EapInner::Mschapv2),
    ("eap-mschapv2", EapInner::EapMschapv2),
    ("pap", EapInner::Pap),
    ("gtc", EapInner::Gtc),
    ("md5", EapInner::Md5),
];

impl EapType {
    /// Whether it runs TLS.
    #[must_use]
    pub const fn runs_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Ttls | Self::Peap)
    }

    /// Whether something else proves the peer inside of TLS.
    #[must_use]
    pub const fn has_inner(self) -> bool {
        matches!(self, Self::Ttls | Self::Peap)
    }

    /// Whether a name and a password decide.
    #[must_use]
    pub const fn has_password(self) -> bool {
        !matches!(self, Self::Tls)
    }
}

/// `eap-methods`.
pub(crate) fn methods(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<Vec<EapType>> {
    let method = |text: &str| {
        METHODS.iter().find(|(word, _)| *word == text).map(|(_, method)| *method).ok_or_else(|| {
            let words: Vec<String> = METHODS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            NameError::new(format!("{} is not an EAP method of ours", quoted(text)), words.join(", "))
        })
    };
    reader.parse_some(table, "eap-methods", method)
}

/// Keys of EAP, and by which methods each has a use.
pub(crate) type Uses = [Use];
pub(crate) type Use = (&'static str, fn(EapType) -> bool);

/// A peer's. A server may want a certificate in TTLS and PEAP, too.
pub(crate) const OF_PEER: &Uses = &[
    ("eap-inner", EapType::has_inner),
    ("eap-server", EapType::runs_tls),
    ("certificate", EapType::runs_tls),
    ("key", EapType::runs_tls),
    ("key-password-file", EapType::runs_tls),
];

/// A key for what is not done would be believed to protect.
pub(crate) fn useless_by_method(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    methods: &[EapType],
    uses: &Uses,
) {
    // A list that is empty, or has what is no method, has been told of.
    let written = match entry(table, "eap-methods") {
        Some((value, _)) => value.as_array().map_or(1, |list| list.len()),
        None => methods.len(),
    };
    if methods.is_empty() || methods.len() != written {
        return;
    }
    for (key, by) in uses {
        if !methods.iter().any(|method| by(*method)) {
            let help = "take the line out, or name a method that does";
            reader.useless(table, key, "no method of `eap-methods` needs it", help);
        }
    }
}

pub(crate) fn eap(reader: &mut Reader<'_>, table: &Table<'_>) -> EapChoice {
    let mut methods = methods(reader, table).unwrap_or_default();
    let has = |key| entry(table, key).is_some();
    match entry(table, "eap-methods") {
        None if has("key") && has("user") => methods.extend([EapType::Tls, EapType::Mschapv2]),
        None if has("key") => methods.push(EapType::Tls),
        None => methods.push(EapType::Mschapv2),
        Some((_, span)) if methods.contains(&EapType::Tls) && !has("key") => {
            let help = r#"add certificate = "NAME.pem" and key = "NAME.pem", or take "tls" out"#;
            reader.error(span, "`eap-methods`: EAP-TLS needs a certificate of ours", help);
        }
        Some(_) => {}
    }
    let choice = EapChoice {
        methods,
        inner: reader.choice(table, "eap-inner", INNER).unwrap_or_default(),
        server: reader.parse(table, "eap-server", parse_identity),
        only: reader.boolean(table, "eap-only").unwrap_or(false),
    };
    if let (true, Some((_, span))) = (choice.only, entry(table, "eap-only"))
        && choice.methods != [EapType::Tls]
    {
        let help = r#"add eap-methods = ["tls"]: no other method proves the server"#;
        reader.error(span, "`eap-only`: the server would prove itself by nothing", help);
    }
    choice
}

impl EapChoice {
    /// The words of a profile for the methods.
    pub(crate) fn words(&self) -> Vec<&'static str> {
        let word = |m: &EapType| METHODS.iter().find(|(_, method)| method == m).map(|(word, _)| *word);
        self.methods.iter().filter_map(word).collect()
    }

    /// The word of a profile for what is inside.
    pub(crate) fn inner_word(&self) -> &'static str {
        INNER.iter().find(|(_, inner)| *inner == self.inner).map_or("", |(word, _)| word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_not_known_beforehand() {
        let asks = |methods: &[EapType], inner| {
            EapChoice { methods: methods.to_vec(), inner, ..EapChoice::default() }.asks_as_it_goes()
        };
        assert!(asks(&[EapType::Gtc], EapInner::Mschapv2) && asks(&[EapType::Peap], EapInner::Gtc));
        assert!(!asks(&[EapType::Peap], EapInner::Mschapv2) && !asks(&[], EapInner::Gtc));
        assert!(!asks(&[EapType::Gtc, EapType::Mschapv2], EapInner::Gtc));
    }
}
