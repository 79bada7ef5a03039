use std::sync::Arc;

use adit_core::Identity;
use adit_pki::{Signer, TrustAnchors};

/// A certificate of ours, with what signs for it.
#[derive(Clone)]
pub struct OwnCertificate {
    /// The certificate and what leads from it to an authority, each in DER.
    pub chain: Vec<Vec<u8>>,
    /// Signs with its key: a file's, or a token's.
    pub signer: Arc<dyn Signer>,
}

/// Which versions may be spoken. None older than 1.2 exists here (RFC 8996).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Versions {
    /// TLS 1.2 and 1.3.
    #[default]
    Both,
    /// TLS 1.2 only.
    Only12,
    /// TLS 1.3 only.
    Only13,
}

/// What a client needs.
#[derive(Clone)]
pub struct ClientConfig {
    /// Whom it trusts.
    pub anchors: Arc<TrustAnchors>,
    /// Who the server must be.
    pub name: Identity,
    /// Whether the name is said in clear (server_name, RFC 6066 §3), where it is a host's. EAP has no use for that.
    pub says_name: bool,
    /// Our certificate, if the server asks for one.
    pub own: Option<OwnCertificate>,
    /// Which versions.
    pub versions: Versions,
}

/// What a server needs.
#[derive(Clone)]
pub struct ServerConfig {
    /// Our certificate.
    pub own: OwnCertificate,
    /// Clients must have a certificate of one of these. `None`: they are not asked for one.
    pub clients: Option<Arc<TrustAnchors>>,
    /// Which versions.
    pub versions: Versions,
}
