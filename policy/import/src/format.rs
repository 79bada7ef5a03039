//! Which format a file has, by its content.

use adit_core::Secret;
use adit_pki::Pkcs12;
use zeroize::Zeroizing;

use crate::report::ImportError;

/// A foreign format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// A keyfile of NetworkManager (`.nmconnection`) for its strongswan, l2tp, sstp or pptp plugin.
    NetworkManager,
    /// A configuration profile of Apple's systems (`.mobileconfig`).
    Mobileconfig,
    /// A profile of strongSwan's app (`.sswan`).
    Sswan,
    /// A phone book of Windows (`rasphone.pbk`).
    PhoneBook,
    /// A ProfileXML of Windows' VPNv2 configuration service provider.
    ProfileXml,
    /// strongSwan's `swanctl.conf`.
    Swanctl,
    /// `ipsec.conf` of strongSwan and libreswan.
    IpsecConf,
}

impl Format {
    /// Every one.
    pub const ALL: &'static [Self] = &[
        Self::NetworkManager,
        Self::Mobileconfig,
        Self::Sswan,
        Self::PhoneBook,
        Self::ProfileXml,
        Self::Swanctl,
        Self::IpsecConf,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NetworkManager => "networkmanager",
            Self::Mobileconfig => "mobileconfig",
            Self::Sswan => "sswan",
            Self::PhoneBook => "pbk",
            Self::ProfileXml => "profilexml",
            Self::Swanctl => "swanctl",
            Self::IpsecConf => "ipsec.conf",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetworkManager => "a NetworkManager keyfile",
            Self::Mobileconfig => "an Apple configuration profile",
            Self::Sswan => "a profile of strongSwan's app",
            Self::PhoneBook => "a Windows phone book",
            Self::ProfileXml => "a Windows ProfileXML",
            Self::Swanctl => "a swanctl.conf",
            Self::IpsecConf => "an ipsec.conf",
        }
    }

    /// What that word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.as_str() == word)
    }
}

/// What a file on the command line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    Profile(Format),
    Certificates,
    /// PEM, perhaps with its certificates.
    Key,
    Pkcs12,
    /// Secrets of an ipsec.conf.
    IpsecSecrets,
}

/// What it is, as far as can be seen.
pub(crate) fn detect(bytes: &[u8]) -> Result<Content, ImportError> {
    if bytes.starts_with(b"bplist00") {
        let next =
            "convert it:  plistutil -i FILE -f xml -o plain.mobileconfig  (macOS: plutil -convert xml1)";
        return Err(ImportError::new("it is a property list in Apple's binary form", next));
    }
    if Pkcs12::is(bytes) {
        return Ok(Content::Pkcs12);
    }
    if bytes.first() == Some(&0x30) {
        return of_der(bytes);
    }
    let text = text(bytes)?;
    if text.contains("-----BEGIN ") {
        return of_pem(&text);
    }
    of_text(&text).ok_or_else(|| {
        let words: Vec<&str> = Format::ALL.iter().map(|format| format.as_str()).collect();
        let next =
            format!("if it is a profile all the same, say of which kind: --format {}", words.join("|"));
        ImportError::new("it is not a profile of any kind that Adit can read", next)
    })
}

fn of_der(bytes: &[u8]) -> Result<Content, ImportError> {
    if adit_pki::summarize(bytes).is_ok() {
        return Ok(Content::Certificates);
    }
    if bytes.windows(6).any(|w| w == b"<plist") {
        let next = "take the signature off:  openssl smime -verify -noverify -inform DER -in FILE -out plain.mobileconfig";
        return Err(ImportError::new("it is a signed configuration profile", next));
    }
    let next = "keys go as PEM or PKCS#12, certificates as PEM or DER";
    Err(ImportError::new("it is neither a certificate nor PKCS#12", next))
}

fn of_pem(text: &str) -> Result<Content, ImportError> {
    if text.contains("PRIVATE KEY-----") {
        Ok(Content::Key)
    } else if text.contains("-----BEGIN CERTIFICATE-----") {
        Ok(Content::Certificates)
    } else if let Some(content) = of_text(text) {
        Ok(content)
    } else {
        let next = "certificates and private keys can go beside a profile";
        Err(ImportError::new("it is PEM, but neither a certificate nor a private key", next))
    }
}

fn of_text(text: &str) -> Option<Content> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let has_line = |line: &str| lines().any(|l| l == line);
    let first = lines().next().unwrap_or("");
    if first.starts_with('{') {
        return Some(Content::Profile(Format::Sswan));
    }
    if first.starts_with('<') {
        return match (text.contains("<plist"), text.contains("<VPNProfile")) {
            (true, _) => Some(Content::Profile(Format::Mobileconfig)),
            (false, true) => Some(Content::Profile(Format::ProfileXml)),
            (false, false) => None,
        };
    }
    if has_line("[connection]") || has_line("[vpn]") {
        return Some(Content::Profile(Format::NetworkManager));
    }
    let begins = |start: &str| lines().any(|l| l.to_ascii_lowercase().starts_with(start));
    if first.starts_with('[') && (begins("vpnstrategy=") || begins("media=") || begins("phonenumber=")) {
        return Some(Content::Profile(Format::PhoneBook));
    }
    let section = |l: &str| l.starts_with("conn ") || l == "config setup";
    if lines().any(section) {
        return Some(Content::Profile(Format::IpsecConf));
    }
    if lines().any(|l| l.starts_with("connections") && l.trim_end().ends_with(['{', 's'])) {
        return Some(Content::Profile(Format::Swanctl));
    }
    let secrets = lines().next().is_some() && lines().all(crate::ipsec_secrets::is_line);
    secrets.then_some(Content::IpsecSecrets)
}

/// A text file as Windows or others write it: UTF-8, or UTF-16 with its mark.
pub(crate) fn text(bytes: &[u8]) -> Result<Zeroizing<String>, ImportError> {
    let wide = |from: fn([u8; 2]) -> u16, rest: &[u8]| {
        let units: Zeroizing<Vec<u16>> =
            Zeroizing::new(rest.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(from).collect());
        String::from_utf16(&units).map(Zeroizing::new).ok()
    };
    let found = match bytes {
        [0xff, 0xfe, rest @ ..] => wide(u16::from_le_bytes, rest),
        [0xfe, 0xff, rest @ ..] => wide(u16::from_be_bytes, rest),
        [0xef, 0xbb, 0xbf, rest @ ..] => {
            core::str::from_utf8(rest).ok().map(|t| Zeroizing::new(t.to_owned()))
        }
        _ => core::str::from_utf8(bytes).ok().map(|t| Zeroizing::new(t.to_owned())),
    };
    match found {
        Some(text) if !text.contains('\0') => Ok(text),
        _ => Err(ImportError::new(
            "it is neither UTF-8 nor UTF-16 text",
            "convert it with iconv, or name another file",
        )),
    }
}

/// Certificates as one PEM file, and how many; `Err` says what is wrong.
pub(crate) fn pem_of_certificates(content: &[u8]) -> Result<(Secret, Vec<Vec<u8>>), String> {
    let all = adit_pki::read_certificates(content).map_err(|e| e.to_string())?;
    for der in &all {
        adit_pki::summarize(der).map_err(|e| e.to_string())?;
    }
    let mut pem = String::new();
    for der in &all {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let base64 = <base64ct::Base64 as base64ct::Encoding>::encode_string(der);
        for line in base64.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    Ok((Secret::new(pem.into_bytes()), all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_known_by_its_content() {
        let of = |text: &str| match detect(text.as_bytes()) {
            Ok(Content::Profile(format)) => format.as_str(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(of("[connection]\nid=corp\n[vpn]\n"), "networkmanager");
        assert_eq!(of("<?xml version=\"1.0\"?>\n<!DOCTYPE plist>\n<plist version=\"1.0\">"), "mobileconfig");
        assert_eq!(of("  {\"uuid\": 1}"), "sswan");
        assert_eq!(of("[Corp]\r\nMEDIA=rastapi\r\n"), "pbk");
        assert_eq!(of("<VPNProfile>"), "profilexml");
        assert_eq!(of("# mine\nconnections {\n"), "swanctl");
        assert_eq!(of("config setup\n\nconn corp\n  auto=add\n"), "ipsec.conf");
        assert_eq!(detect(b": PSK \"x\"\nalice : EAP \"y\"\n"), Ok(Content::IpsecSecrets));
        assert!(detect(b"hello").is_err() && detect(b"").is_err());
    }

    #[test]
    fn windows_text_is_read() {
        let wide: Vec<u8> =
            [0xff, 0xfe].into_iter().chain("[a]".encode_utf16().flat_map(u16::to_le_bytes)).collect();
        assert_eq!(text(&wide).unwrap().as_str(), "[a]");
        assert!(text(&[0x80, 0x81]).is_err());
    }
}
