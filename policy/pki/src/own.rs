use adit_core::Identity;
use der::Encode as _;
use x509_cert::ext::pkix::name::GeneralName;

use crate::PkiError;
use crate::cert::{Parsed, san_address};

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
