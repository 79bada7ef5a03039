use adit_core::{Identity, KeyKind, WallTime};
use der::Encode as _;
use x509_cert::ext::pkix::name::GeneralName;

use crate::cert::{Parsed, san_address};
use crate::signature::PublicKey;
use crate::verify::{IKE_PURPOSES, Role, usable};
use crate::{PkiError, names};

/// Who a certificate of ours says that we are: its alternative names in their order, then its subject. What a
/// configuration without an identity claims is the first.
pub fn identities(der: &[u8]) -> Result<Vec<Identity>, PkiError> {
    let parsed = Parsed::from_der(der)?;
    let named = |name: &GeneralName| match name {
        // A wildcard is nobody's identity.
        GeneralName::DnsName(host) if !host.as_str().contains('*') => {
            Some(Identity::Fqdn(host.as_str().into()))
        }
        GeneralName::Rfc822Name(mail) => Some(Identity::Email(mail.as_str().into())),
        GeneralName::IpAddress(bytes) => san_address(bytes.as_bytes()).map(Identity::Address),
        _ => None,
    };
    let mut out: Vec<Identity> = parsed.san.iter().flatten().filter_map(named).collect();
    if !parsed.subject().is_empty() {
        let dn = parsed.subject().to_der().map_err(|_| PkiError::Malformed("its subject is not DER"))?;
        out.push(Identity::DistinguishedName(dn));
    }
    Ok(out)
}

/// Whether a certificate of ours is for that host, as those see it who dial it (RFC 6125 §6.4).
#[must_use]
pub fn is_for_host(der: &[u8], host: &str) -> bool {
    let wanted = Identity::Fqdn(host.to_owned());
    Parsed::from_der(der).is_ok_and(|leaf| names::check(&leaf, &wanted, Role::Server, false).is_ok())
}

/// The names in a certificate as people write them: its alternative names in their order, then its subject. Whoever asks
/// has verified the certificate. Empty if it can't be read.
#[must_use]
pub fn identity_texts(der: &[u8]) -> Vec<String> {
    let subject = Parsed::from_der(der).map(|parsed| parsed.subject_text()).unwrap_or_default();
    let identities = identities(der).unwrap_or_default();
    let texts = identities.iter().map(|identity| match identity {
        Identity::DistinguishedName(_) => subject.clone(),
        other => other.to_string(),
    });
    texts.collect()
}

/// Of what kind the key of a certificate is.
///
/// # Errors
/// It can't be read, or its key is of no kind that Adit uses.
pub fn key_kind(der: &[u8]) -> Result<KeyKind, PkiError> {
    PublicKey::from_spki(&Parsed::from_der(der)?.spki).map(|key| key.kind)
}

/// Whether a certificate may issue others.
#[must_use]
pub fn is_authority(der: &[u8]) -> bool {
    Parsed::from_der(der).is_ok_and(|parsed| parsed.is_ca)
}

/// How well a certificate of ours suits, the better the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Suits {
    /// It is within its dates, and its usages are what the peer will look for.
    pub valid: bool,
    /// It is made for IKE: its extendedKeyUsage has id-kp-ipsecIKE (RFC 4945 §5.1.3.12) or what Windows chooses by among
    /// several, iKEIntermediate.
    pub for_ike: bool,
}

/// How well the certificate `der` suits us, a server or a client, at that time. One that can't be read does not.
#[must_use]
pub fn suits(der: &[u8], server: bool, now: WallTime) -> Suits {
    let Ok(parsed) = Parsed::from_der(der) else { return Suits::default() };
    let summary = parsed.summary();
    let for_ike = parsed.eku.iter().flatten().any(|purpose| IKE_PURPOSES.contains(purpose));
    Suits {
        valid: usable(&parsed, server) && (summary.not_before..=summary.not_after).contains(&now),
        for_ike,
    }
}
