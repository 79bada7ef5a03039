//! Certificates made on the spot.
#![allow(
    dead_code,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test; each test file uses a part of it"
)]

use std::sync::Arc;

use adit_core::Secret;
use adit_pki::{FileSigner, TrustAnchors};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Eku, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use ring::rand::SystemRandom;

use adit_tls::{ClientConfig, OwnCertificate, ServerConfig, Versions};

pub struct Ca {
    pub pem: String,
    pub issuer: Issuer<'static, KeyPair>,
}

pub struct Leaf {
    pub pem: String,
    pub key_pem: String,
    pub der: Vec<u8>,
}

pub fn named(cn: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, cn);
    params
}

pub fn ca(cn: &str) -> Ca {
    let mut params = named(cn);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Ca { pem, issuer: Issuer::new(params, key) }
}

pub fn server(ca: &Ca, name: &str) -> Leaf {
    issue(ca, SanType::DnsName(name.try_into().unwrap()), name, Eku::ServerAuth)
}

pub fn client(ca: &Ca, mail: &str) -> Leaf {
    issue(ca, SanType::Rfc822Name(mail.try_into().unwrap()), mail, Eku::ClientAuth)
}

fn issue(ca: &Ca, name: SanType, cn: &str, usage: Eku) -> Leaf {
    let mut params = named(cn);
    params.subject_alt_names = vec![name];
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Long, so that the handshake needs several fragments.
    params.distinguished_name.push(DnType::OrganizationName, "Example ".repeat(120));
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &ca.issuer).unwrap();
    Leaf { pem: certificate.pem(), key_pem: key.serialize_pem(), der: certificate.der().to_vec() }
}

pub fn own(leaf: &Leaf) -> OwnCertificate {
    let key = Secret::from(leaf.key_pem.as_bytes());
    let signer = FileSigner::new(key, &leaf.der, &SystemRandom::new()).unwrap();
    OwnCertificate { chain: vec![leaf.der.clone()], signer: Arc::new(signer) }
}

pub fn anchors(ca: &Ca) -> Arc<TrustAnchors> {
    Arc::new(TrustAnchors::from_content(ca.pem.as_bytes()).unwrap())
}

/// A world in which all is well.
pub struct World {
    pub client: ClientConfig,
    pub server: ServerConfig,
}

pub fn world(versions: Versions, client_certificate: bool) -> World {
    let (servers, clients) = (ca("Server CA"), ca("Client CA"));
    let ann = client(&clients, "ann@example.com");
    World {
        client: ClientConfig {
            anchors: anchors(&servers),
            name: "radius.example.com".parse().unwrap(),
            says_name: false,
            own: client_certificate.then(|| own(&ann)),
            versions,
        },
        server: ServerConfig {
            own: own(&server(&servers, "radius.example.com")),
            clients: client_certificate.then(|| anchors(&clients)),
            versions,
        },
    }
}
