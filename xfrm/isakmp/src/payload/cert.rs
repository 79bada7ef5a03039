use adit_core::DecodeError;

use crate::wire::{Reader, registry};

registry! {
    /// Cert Encoding (RFC 7296 §3.6).
    CertificateEncoding(u8) {
        /// PKCS #7 wrapped X.509 certificate.
        PKCS7_X509 = 1,
        /// X.509 Certificate - Signature: one DER certificate.
        X509_SIGNATURE = 4,
        /// Certificate Revocation List.
        CRL = 7,
        /// Hash and URL of X.509 certificate.
        HASH_AND_URL_X509 = 12,
        /// Hash and URL of X.509 bundle.
        HASH_AND_URL_BUNDLE = 13,
        /// OCSP content (RFC 4806).
        OCSP_CONTENT = 14,
        /// Raw public key (RFC 7670).
        RAW_PUBLIC_KEY = 15,
    }
}

/// CERT (RFC 7296 §3.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// Cert Encoding.
    pub encoding: CertificateEncoding,
    /// Certificate Data.
    pub data: Vec<u8>,
}

impl Certificate {
    /// One DER certificate.
    #[must_use]
    pub const fn x509(der: Vec<u8>) -> Self {
        Self { encoding: CertificateEncoding::X509_SIGNATURE, data: der }
    }

    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            encoding: CertificateEncoding(r.u8("the certificate encoding is cut off")?),
            data: r.rest().to_vec(),
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.encoding.0);
        out.extend_from_slice(&self.data);
    }
}

/// CERTREQ (RFC 7296 §3.7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateRequest {
    /// Cert Encoding.
    pub encoding: CertificateEncoding,
    /// Certification Authority: of X.509 the SHA-1 hashes of the trust anchors' public keys, one after the other.
    pub authority: Vec<u8>,
}

impl CertificateRequest {
    /// Asks for an X.509 certificate of one of these authorities; none: of any.
    #[must_use]
    pub fn x509(authorities: &[[u8; 20]]) -> Self {
        Self { encoding: CertificateEncoding::X509_SIGNATURE, authority: authorities.concat() }
    }

    /// The hashes. A trailing part of less than 20 bytes is ignored.
    pub fn authorities(&self) -> impl Iterator<Item = [u8; 20]> {
        self.authority.as_chunks::<20>().0.iter().copied()
    }

    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            encoding: CertificateEncoding(r.u8("the certificate encoding is cut off")?),
            authority: r.rest().to_vec(),
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.encoding.0);
        out.extend_from_slice(&self.authority);
    }
}
