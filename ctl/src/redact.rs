//! Takes secrets, names and addresses out of a text. The same name or address becomes the same token throughout, so that what
//! belongs together is still seen: `ipv4-1-private` here is `ipv4-1-private` there. Tokens are counted in the order in which
//! things are met and say nothing of what they stand for but its kind.

mod address;
mod name;
mod secret;

use std::collections::BTreeMap;

/// What a token stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Ipv4,
    Ipv6,
    Mac,
    User,
    Host,
    Name,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Mac => "mac",
            Self::User => "user",
            Self::Host => "host",
            Self::Name => "name",
        }
    }
}

/// What has been met so far.
pub(crate) struct Redactor {
    /// Whether names and addresses are taken out too; secrets always are.
    names: bool,
    known: Vec<(String, Kind)>,
    tokens: BTreeMap<(Kind, String), usize>,
}

impl Redactor {
    /// With `names` false, secrets alone are taken out.
    pub(crate) const fn new(names: bool) -> Self {
        Self { names, known: Vec::new(), tokens: BTreeMap::new() }
    }

    /// This is a name of that kind wherever it stands, though nothing about it tells. Of `alice@example.com`, `alice` too.
    pub(crate) fn learn(&mut self, name: &str, kind: Kind) {
        let name = name.trim().to_lowercase();
        if let Some((user, _)) = name.split_once('@').filter(|(user, _)| user.len() > 2) {
            self.learn(user, Kind::User);
        }
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        let is_common =
            ["root", "adit", "localhost", "default", "any", "none", "auto", "system", "true", "false"]
                .contains(&name.as_str());
        if name.len() < 2 || is_address || is_common || self.known.iter().any(|(known, _)| *known == name) {
            return;
        }
        self.known.push((name, kind));
        // What is part of a longer name does not hide it.
        self.known.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    }

    /// The text without what is to be kept.
    pub(crate) fn redact(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut inside_pem = false;
        for line in text.split_inclusive('\n') {
            if line.contains("-----BEGIN ") {
                inside_pem = true;
                out.push_str("(hidden)\n");
            }
            if !inside_pem {
                self.line(line, &mut out);
            }
            if line.contains("-----END ") {
                inside_pem = false;
            }
        }
        out
    }

    fn line(&mut self, line: &str, out: &mut String) {
        let mut rest = line;
        let mut before = ' ';
        while let Some(first) = rest.chars().next() {
            // Nothing begins in the middle of a word.
            let found = if before.is_alphanumeric() { None } else { self.found(rest, before) };
            let (length, last) = match found {
                Some((length, instead)) => {
                    out.push_str(&instead);
                    (length, 'x')
                }
                None => {
                    out.push(first);
                    (first.len_utf8(), first)
                }
            };
            before = last;
            rest = rest.get(length..).unwrap_or_default();
        }
    }

    /// What the text begins with, and what is to stand there instead.
    fn found(&mut self, text: &str, before: char) -> Option<(usize, String)> {
        if let Some(length) = secret::at(text) {
            return Some((length, "(hidden)".to_owned()));
        }
        if let Some((lead, length)) = secret::assigned(text) {
            return Some((length, format!("{lead}(hidden)")));
        }
        if !self.names {
            return None;
        }
        let found = self
            .known_name(text)
            .or_else(|| self.labelled(text))
            .or_else(|| self.mac(text))
            .or_else(|| self.address(text));
        // The rest of a name that was left is none of its own.
        match found {
            None if !"._-".contains(before) => self.identity(text).or_else(|| self.host(text)),
            found => found,
        }
    }

    fn known_name(&mut self, text: &str) -> Option<(usize, String)> {
        let (name, kind) = self.known.iter().find(|(name, _)| name::begins_with(text, name))?.clone();
        Some((name.len(), self.token(kind, &name, "")))
    }

    /// `user=alice`, `CN=vpn.example.com`: the label stays.
    fn labelled(&mut self, text: &str) -> Option<(usize, String)> {
        let (label, value) = name::labelled(text)?;
        let kind = if label.starts_with(char::is_lowercase) { Kind::User } else { Kind::Name };
        let length = label.len().saturating_add(value.len());
        let value = value.trim_matches('"');
        match !value.contains(char::is_alphabetic) || value.parse::<std::net::IpAddr>().is_ok() {
            true => None,
            false => Some((length, format!("{label}{}", self.token(kind, value, "")))),
        }
    }

    fn mac(&mut self, text: &str) -> Option<(usize, String)> {
        let mac = address::mac(text)?;
        Some((mac.len(), self.token(Kind::Mac, mac, "")))
    }

    fn address(&mut self, text: &str) -> Option<(usize, String)> {
        let (length, address) = address::at(text)?;
        if !address::tells_who(address) {
            return Some((length, text.get(..length)?.to_owned()));
        }
        let kind = if address.is_ipv4() { Kind::Ipv4 } else { Kind::Ipv6 };
        Some((length, self.token(kind, &address.to_string(), address::sort(address))))
    }

    fn identity(&mut self, text: &str) -> Option<(usize, String)> {
        let identity = name::identity(text)?;
        Some((identity.len(), self.token(Kind::User, identity, "")))
    }

    fn host(&mut self, text: &str) -> Option<(usize, String)> {
        let host = name::host(text)?;
        Some((host.len(), self.token(Kind::Host, host, "")))
    }

    fn token(&mut self, kind: Kind, what: &str, sort: &str) -> String {
        let next = self.tokens.keys().filter(|(of, _)| *of == kind).count().saturating_add(1);
        let number = *self.tokens.entry((kind, what.to_lowercase())).or_insert(next);
        format!("{}-{number}{sort}", kind.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        Redactor::new(true).redact(text)
    }

    #[test]
    fn the_same_becomes_the_same_and_another_another() {
        let mut redactor = Redactor::new(true);
        redactor.learn("alice@example.com", Kind::User);
        redactor.learn("vpn", Kind::Host);
        let text =
            "192.168.1.10 to 203.0.113.1:4500, 203.0.113.10/24, alice@example.com, alice.pem, VPN and vpn2";
        let first = redactor.redact(text);
        assert_eq!(first, "ipv4-1-private to ipv4-2:4500, ipv4-3/24, user-1, user-2.pem, host-1 and vpn2");
        assert_eq!(redactor.redact(text), first);
        assert_eq!(redactor.redact("src 203.0.113.1 dst 192.168.1.10"), "src ipv4-2 dst ipv4-1-private");
    }

    #[test]
    fn addresses_are_found_in_every_notation() {
        let text = "inet6 fe80::1234%eth0/64 [2001:db8::1]:500 fd00:9::7/128 link/ether 52:54:00:12:34:56 (10.2.0.1)";
        assert_eq!(
            redacted(text),
            "inet6 ipv6-1-link%eth0/64 [ipv6-2]:500 ipv6-3-private/128 link/ether mac-1 (ipv4-1-private)"
        );
        assert_eq!(redacted("at 10.2.0.1. Or 10.2.0.1: no"), "at ipv4-1-private. Or ipv4-1-private: no");
    }

    #[test]
    fn what_tells_nothing_stays() {
        for text in [
            "127.0.0.1 ::1 0.0.0.0/0 ::/0 127.0.0.53 ff02::1 255.255.255.255 00:00:00:00:00:00",
            "2026-11-20 11:40:07 UTC  IKEv2: aes256gcm16-prfsha256-x25519",
            "/etc/adit/profiles/corp.toml aditd.service org.adit1.Manager adit@corp.service",
            "Linux 6.12.43+deb13-amd64, aditd 0.1.0, net.ipv4.ip_forward, spi 0xc3f1a2b4 reqid 1",
            "IKEv2: a CHILD_SA of 1.5 s",
            "2: wan@if55: <UP> 3: adit0@NONE: <UP>",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn names_that_nobody_has_told_of_are_found_by_their_form() {
        let text = "resolving vpn.example.com, peer bob@corp.example, user=carol, CN=Corp CA, O=Corp, identity=\"dora\"";
        assert_eq!(
            redacted(text),
            "resolving host-1, peer user-1, user=user-2, CN=name-1, O=name-2, identity=user-3"
        );
    }

    #[test]
    fn secrets_go_whoever_asks_for_names() {
        let key = "0x".to_owned() + &"ab".repeat(16);
        let text = format!(
            "enc cbc(aes) {key} 96\n$6$salt$abcdefgh and $y$j9T$salt$hash\n8846f7eaee8fb117ad06bdd830b7586c\n\
             -----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----\npassword = \"hunter2\"\npsk=swordfish\n"
        );
        for names in [true, false] {
            let out = Redactor::new(names).redact(&text);
            assert_eq!(
                out,
                "enc cbc(aes) (hidden) 96\n(hidden) and (hidden)\n(hidden)\n(hidden)\npassword = (hidden)\npsk=(hidden)\n"
            );
        }
        let text = "password-file = \"corp.password\", psk-file = \"corp.psk\"";
        assert_eq!(Redactor::new(false).redact(text), text);
    }

    #[test]
    fn with_names_they_stay() {
        let mut redactor = Redactor::new(false);
        redactor.learn("alice", Kind::User);
        assert_eq!(redactor.redact("alice at 203.0.113.1"), "alice at 203.0.113.1");
    }
}
