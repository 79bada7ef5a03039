//! `ipsec.secrets` of strongSwan and libreswan (ipsec.secrets(5)): who a secret is for, its kind, and the secret.

use zeroize::Zeroizing;

/// One line.
pub(crate) struct Secret {
    /// Whose it is; none: everybody's.
    pub(crate) ids: Vec<String>,
    /// `PSK`, `EAP`, `RSA`, ….
    pub(crate) kind: String,
    /// The secret, or a key's file.
    pub(crate) value: Zeroizing<String>,
    /// The password of a key's file.
    pub(crate) password: Option<Zeroizing<String>>,
    /// Whether a connection needs it.
    pub(crate) used: core::cell::Cell<bool>,
}

const KINDS: &[&str] =
    &["PSK", "EAP", "XAUTH", "NTLM", "RSA", "ECDSA", "PKCS8", "P12", "PIN", "PPK", "BLISS"];

/// Whether it is a line of such a file.
pub(crate) fn is_line(line: &str) -> bool {
    line.starts_with("include ") || parse(line).is_some()
}

/// Every secret of the text; a line that is none is left out.
pub(crate) fn read(text: &str) -> Vec<Secret> {
    text.lines().map(str::trim).filter(|line| !line.starts_with('#')).filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Secret> {
    let words = words(line)?;
    let colon = words.iter().position(|word| word.as_str() == ":")?;
    let (ids, rest) = words.split_at_checked(colon)?;
    let [_, kind, value, more @ ..] = rest else { return None };
    let kind = kind.to_ascii_uppercase();
    KINDS.contains(&kind.as_str()).then(|| Secret {
        ids: ids.iter().map(|id| id.to_string()).collect(),
        kind,
        value: value.clone(),
        password: more.first().cloned(),
        used: core::cell::Cell::new(false),
    })
}

/// Words between spaces, or in quotation marks.
fn words(line: &str) -> Option<Vec<Zeroizing<String>>> {
    let mut out = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = match rest.strip_prefix('"') {
            Some(inside) => inside.split_once('"')?,
            None => rest.split_at_checked(rest.find(char::is_whitespace).unwrap_or(rest.len()))?,
        };
        // The colon may stand at the end of an identity.
        match word
            .strip_suffix(':')
            .filter(|id| !id.is_empty() && !rest.starts_with('"') && !id.contains(':'))
        {
            Some(id) => out.extend([id, ":"].map(|w| Zeroizing::new(w.to_owned()))),
            None => out.push(Zeroizing::new(word.to_owned())),
        }
        rest = after.trim_start();
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_owners() {
        let all = read(
            "# c\nalice@example.com %any : PSK \"a b\"\n: RSA key.pem \"pw\"\ncarol: EAP plain\nnonsense\n",
        );
        let shown: Vec<_> =
            all.iter().map(|s| (s.ids.join(","), s.kind.as_str(), s.value.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("alice@example.com,%any".to_owned(), "PSK", "a b"),
                (String::new(), "RSA", "key.pem"),
                ("carol".to_owned(), "EAP", "plain")
            ]
        );
        assert_eq!(all[1].password.as_ref().unwrap().as_str(), "pw");
        assert!(!is_line("hello world") && !is_line(": PSK \"open"));
    }
}
