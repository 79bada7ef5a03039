use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use thiserror::Error;

/// Who somebody claims to be (RFC 7296 §3.5, RFC 2407 §4.6.2). A claim, until it has been authenticated.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Identity {
    /// ID_IPV4_ADDR or ID_IPV6_ADDR.
    Address(IpAddr),
    /// ID_FQDN: a host name without a trailing dot.
    Fqdn(String),
    /// ID_RFC822_ADDR: `user@domain`.
    Email(String),
    /// ID_DER_ASN1_DN: an X.501 Name, DER.
    DistinguishedName(Vec<u8>),
    /// ID_KEY_ID: opaque bytes.
    KeyId(Vec<u8>),
}

/// Why text is not an [`Identity`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum IdentityError {
    /// Nothing was written.
    #[error("an identity may not be empty")]
    Empty,
    /// Neither address, name, e-mail address nor `keyid:`.
    #[error("an identity is a host name, user@domain, an IP address, or keyid: and text")]
    Form,
}

impl Identity {
    /// RFC 7296's ID type number.
    #[must_use]
    pub const fn id_type(&self) -> u8 {
        match self {
            Self::Address(IpAddr::V4(_)) => 1,
            Self::Fqdn(_) => 2,
            Self::Email(_) => 3,
            Self::Address(IpAddr::V6(_)) => 5,
            Self::DistinguishedName(_) => 9,
            Self::KeyId(_) => 11,
        }
    }

    /// The Identification Data of an ID payload.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        match self {
            Self::Address(IpAddr::V4(a)) => a.octets().to_vec(),
            Self::Address(IpAddr::V6(a)) => a.octets().to_vec(),
            Self::Fqdn(s) | Self::Email(s) => s.as_bytes().to_vec(),
            Self::DistinguishedName(b) | Self::KeyId(b) => b.clone(),
        }
    }

    /// The identity that an ID payload of `id_type` holds; `None` if the data is not of that type or the type is
    /// not one that Adit knows.
    #[must_use]
    pub fn from_parts(id_type: u8, data: &[u8]) -> Option<Self> {
        let text = || {
            core::str::from_utf8(data).ok().filter(|s| !s.is_empty() && !s.contains('\0')).map(str::to_owned)
        };
        match id_type {
            1 => <[u8; 4]>::try_from(data).ok().map(|a| Self::Address(Ipv4Addr::from(a).into())),
            2 => text().map(Self::Fqdn),
            3 => text().map(Self::Email),
            5 => <[u8; 16]>::try_from(data).ok().map(|a| Self::Address(Ipv6Addr::from(a).into())),
            9 => Some(Self::DistinguishedName(data.to_vec())),
            11 => Some(Self::KeyId(data.to_vec())),
            _ => None,
        }
    }

    /// Whether both name the same entity: host names and the domain of an e-mail address without regard to case.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fqdn(a), Self::Fqdn(b)) => a.eq_ignore_ascii_case(b),
            (Self::Email(a), Self::Email(b)) => match (a.rsplit_once('@'), b.rsplit_once('@')) {
                (Some((ua, da)), Some((ub, db))) => ua == ub && da.eq_ignore_ascii_case(db),
                _ => a == b,
            },
            _ => self == other,
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    /// An IP address, `user@domain`, a host name, or `keyid:` and text.
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        if text.is_empty() {
            return Err(IdentityError::Empty);
        }
        // [7296:3.5-6] [7296:3.5-5]
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        // [7296:3.5-5]
        if let Some(key) = text.strip_prefix("keyid:") {
            return Ok(Self::KeyId(key.as_bytes().to_vec()));
        }
        // [7296:3.5-3] [7296:3.5-4]
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(IdentityError::Form);
        }
        if text.contains('@') { Ok(Self::Email(text.into())) } else { Ok(Self::Fqdn(text.into())) }
    }
}

impl fmt::Display for Identity {
    /// As a person writes it; bytes that are not text are shown in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(a) => write!(f, "{a}"),
            Self::Fqdn(s) | Self::Email(s) => escaped(f, s),
            Self::DistinguishedName(b) => hex(f, "dn:", b),
            Self::KeyId(b) => match core::str::from_utf8(b) {
                Ok(s) => {
                    f.write_str("keyid:")?;
                    escaped(f, s)
                }
                Err(_) => hex(f, "keyid:0x", b),
            },
        }
    }
}

/// Text that may hold anything. Nearly all of it is plain, and written in one piece.
fn escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let plain = |b: u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\'' | b'\\');
    if text.bytes().all(plain) { f.write_str(text) } else { write!(f, "{}", text.escape_debug()) }
}

fn hex(f: &mut fmt::Formatter<'_>, prefix: &str, bytes: &[u8]) -> fmt::Result {
    f.write_str(prefix)?;
    bytes.iter().take(64).try_for_each(|b| write!(f, "{b:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // [7296:3.5-3] [7296:3.5-4] [7296:3.5-5] [7296:3.5-6]
    #[test]
    fn text_becomes_the_right_type() {
        let kind = |s: &str| s.parse::<Identity>().unwrap().id_type();
        assert_eq!(
            [kind("192.0.2.1"), kind("vpn.example.com"), kind("a@b"), kind("2001:db8::1"), kind("keyid:x")],
            [1, 2, 3, 5, 11]
        );
        assert_eq!("".parse::<Identity>(), Err(IdentityError::Empty));
        assert_eq!("a b".parse::<Identity>(), Err(IdentityError::Form));
    }

    #[test]
    fn parts_round_trip() {
        for text in ["192.0.2.1", "vpn.example.com", "a@b", "2001:db8::1", "keyid:x"] {
            let id: Identity = text.parse().unwrap();
            assert_eq!(Identity::from_parts(id.id_type(), &id.data()), Some(id));
        }
        assert_eq!(Identity::from_parts(1, &[1, 2, 3]), None);
        assert_eq!(Identity::from_parts(2, b"a\0b"), None);
        assert_eq!(Identity::from_parts(200, b"x"), None);
    }

    #[test]
    fn what_is_not_plain_is_escaped() {
        let shown = |text: &str| Identity::Fqdn(text.into()).to_string();
        for byte in 0..=0x7f_u8 {
            let text = format!("a{}b", char::from(byte));
            assert_eq!(shown(&text), text.escape_debug().to_string());
        }
        assert_eq!(shown("caf\u{e9}\u{202e}"), "caf\u{e9}\\u{202e}");
        assert_eq!(Identity::KeyId(b"a\nb".to_vec()).to_string(), "keyid:a\\nb");
    }

    #[test]
    fn a_user_name_keeps_its_case_and_a_domain_does_not() {
        let id = |s: &str| s.parse::<Identity>().unwrap();
        assert!(id("Ann@Example.com").matches(&id("Ann@example.com")));
        assert!(!id("ann@example.com").matches(&id("Ann@example.com")));
        assert!(id("VPN.example.com").matches(&id("vpn.example.com")));
    }
}
