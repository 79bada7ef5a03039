use core::net::IpAddr;
use core::time::Duration;

use adit_core::Identity;

use crate::secret::{CertSource, FileRef};

/// `[aaa]` and `[[radius]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aaa {
    /// The servers, in the order in which they are asked.
    pub servers: Vec<RadiusServer>,
    /// NAS-Identifier. `None`: the server's identity.
    pub nas_identifier: Option<String>,
    /// Whether the servers are told who is in, since when and how much it has moved. Default: yes.
    pub accounting: bool,
    /// How often they are told so while somebody is in, where they do not say it themselves. `None`, the default: never.
    pub interim: Option<Duration>,
    /// First retransmission of a question after this long, each later one after twice the time. Default: 2 s.
    pub timeout: Duration,
    /// Packets that one server gets for one question, before the next server is asked. Default: 3.
    pub tries: u32,
    /// The UDP port on which servers may end and change sessions (RFC 5176). `None`, the default: they may not.
    pub dynamic_port: Option<u16>,
}

/// `[[radius]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RadiusServer {
    /// Where it is.
    pub address: IpAddr,
    /// Its port for authentication. Default 1812; over TLS 2083.
    pub port: u16,
    /// Its port for accounting. Default 1813; over TLS the same.
    pub accounting_port: u16,
    /// What keeps others out.
    pub security: RadiusSecurity,
}

/// What keeps others out of a conversation with a RADIUS server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RadiusSecurity {
    /// What it shares with us (UDP, RFC 2865).
    Secret(FileRef),
    /// TLS over TCP (RadSec, RFC 6614).
    Tls(Box<RadiusTls>),
}

impl RadiusSecurity {
    /// The files that it refers to.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        let (secret, tls) = match self {
            Self::Secret(file) => (Some(file), None),
            Self::Tls(tls) => (None, Some(tls)),
        };
        let certificates = tls.into_iter().flat_map(|tls| tls.ca.iter().chain(&tls.certificate));
        let certificates = certificates.filter_map(CertSource::file);
        let keys = tls.into_iter().flat_map(|tls| tls.key.iter().chain(&tls.key_password));
        secret.into_iter().chain(certificates).chain(keys)
    }
}

/// How TLS is spoken with a RADIUS server. Whether its certificates have been revoked is asked softly: one that is known to
/// be is refused, and where nobody answers it is believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RadiusTls {
    /// Who it has to prove to be.
    pub name: Identity,
    /// Authorities of its certificate. Empty: the system's trust store.
    pub ca: Vec<CertSource>,
    /// Our certificate and its intermediates. Empty: none is shown.
    pub certificate: Vec<CertSource>,
    /// Its private key.
    pub key: Option<FileRef>,
    /// The file that holds the password of `key`, where it is encrypted.
    pub key_password: Option<FileRef>,
}

impl Default for Aaa {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            nas_identifier: None,
            accounting: true,
            interim: None,
            timeout: Duration::from_secs(2),
            tries: 3,
            dynamic_port: None,
        }
    }
}
