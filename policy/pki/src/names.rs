use adit_core::Identity;
use der::Decode as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use crate::PkiError;
use crate::cert::{Parsed, name_text, san_address};
use crate::verify::Role;

const MAX_SHOWN: usize = 8;

/// Whether the certificate is for `wanted`. `constrained`: an authority of its chain has name constraints,
/// which were checked against the subjectAltName as written, so only names of the right type there count.
pub(crate) fn check(leaf: &Parsed, wanted: &Identity, role: Role, constrained: bool) -> Result<(), PkiError> {
    let found = match (wanted, &leaf.san) {
        (Identity::DistinguishedName(dn), _) => same_subject(leaf.subject(), dn),
        (Identity::KeyId(_), _) => false,
        (_, Some(san)) => san.iter().any(|name| matches(name, wanted, role, constrained)),
        (_, None) => {
            !constrained && leaf.common_name().is_some_and(|cn| common_name_matches(&cn, wanted, role))
        }
    };
    if found { Ok(()) } else { Err(mismatch(leaf, wanted)) }
}

fn matches(name: &GeneralName, wanted: &Identity, role: Role, constrained: bool) -> bool {
    match (name, wanted) {
        (GeneralName::DnsName(presented), Identity::Fqdn(host)) => {
            host_matches(presented.as_str(), host, role)
        }
        // Windows' own clients want an address as dNSName, so certificates for them have it there.
        (GeneralName::DnsName(presented), Identity::Address(address)) => {
            !constrained && presented.as_str().parse() == Ok(*address)
        }
        (GeneralName::IpAddress(bytes), Identity::Address(address)) => {
            san_address(bytes.as_bytes()) == Some(*address)
        }
        (GeneralName::Rfc822Name(mail), Identity::Email(_)) => {
            Identity::Email(mail.as_str().into()).matches(wanted)
        }
        _ => false,
    }
}

fn common_name_matches(cn: &str, wanted: &Identity, role: Role) -> bool {
    match wanted {
        Identity::Fqdn(host) => host_matches(cn, host, role),
        Identity::Address(_) | Identity::Email(_) => {
            cn.parse::<Identity>().is_ok_and(|id| id.matches(wanted))
        }
        Identity::DistinguishedName(_) | Identity::KeyId(_) => false,
    }
}

/// RFC 6125 §6.4: without regard to case; a wildcard is the whole leftmost label, stands for exactly one
/// label, and has two or more labels after it. A client's claim is never met by a wildcard: it would be
/// anybody's.
fn host_matches(presented: &str, host: &str, role: Role) -> bool {
    if !is_host_name(host) {
        return false;
    }
    if presented.eq_ignore_ascii_case(host) {
        return true;
    }
    match (role, presented.strip_prefix("*."), host.split_once('.')) {
        (Role::Server, Some(domain), Some((_, rest))) => {
            domain.contains('.') && is_host_name(domain) && domain.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

fn is_host_name(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn same_subject(subject: &Name, dn: &[u8]) -> bool {
    !subject.is_empty() && Name::from_der(dn).is_ok_and(|name| name == *subject)
}

fn mismatch(leaf: &Parsed, wanted: &Identity) -> PkiError {
    let mut names = leaf.names();
    if names.is_empty() || matches!(wanted, Identity::DistinguishedName(_)) {
        names.insert(0, leaf.subject_text());
    }
    let more = names.len().saturating_sub(MAX_SHOWN);
    names.truncate(MAX_SHOWN);
    let wanted = match wanted {
        Identity::DistinguishedName(dn) => {
            Name::from_der(dn).map_or_else(|_| wanted.to_string(), |name| name_text(&name))
        }
        other => other.to_string(),
    };
    PkiError::Name { wanted, names, more }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_one_leftmost_label_of_a_server() {
        let server = |presented, host| host_matches(presented, host, Role::Server);
        assert!(server("vpn.example.com", "VPN.Example.com"));
        assert!(server("*.example.com", "vpn.example.com"));
        assert!(!server("*.example.com", "example.com"));
        assert!(!server("*.example.com", "a.b.example.com"));
        assert!(!server("v*.example.com", "vpn.example.com"));
        assert!(!server("*.com", "example.com"));
        assert!(!server("*", "vpn"));
        assert!(!server("*.*.com", "a.b.com"));
        assert!(!server("vpn.example.com.", "vpn.example.com"));
        assert!(!host_matches("*.example.com", "vpn.example.com", Role::Client));
        assert!(!host_matches("*.example.com", "*.example.com", Role::Client));
    }
}
