use core::net::IpAddr;
use core::time::Duration;

use adit_core::{Identity, Prefix};

use crate::secret::{CertSource, FileRef, KeySource, PskSource};
use crate::value::{Host, InterfaceName, ProfileName, ServerName, Suite};

/// How somebody proves who they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AuthMethod {
    /// A pre-shared key.
    Psk,
    /// An X.509 certificate and its private key.
    Certificate,
}

impl AuthMethod {
    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Psk => "psk",
            Self::Certificate => "certificate",
        }
    }
}

/// What goes into the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tunnel {
    /// Everything.
    Full,
    /// What the profile's `remote-subnets` or the server's traffic selectors name.
    Split,
}

impl Tunnel {
    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Split => "split",
        }
    }
}

/// What to do with the DNS servers that the peer gives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dns {
    /// Use them while the tunnel is up.
    Auto,
    /// Leave this host's DNS alone.
    Ignore,
}

impl Dns {
    /// The word for it in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ignore => "ignore",
        }
    }
}

/// Which kinds of address to ask the server for. At least one is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Families {
    /// An IPv4 address.
    pub ipv4: bool,
    /// An IPv6 address.
    pub ipv6: bool,
}

/// A checked connection profile. `Debug` shows no secret.
#[derive(Debug)]
pub struct Profile {
    /// The file's name without `.toml`.
    pub name: ProfileName,
    /// Where the server is.
    pub server: ServerName,
    /// How we prove ourselves.
    pub auth: AuthMethod,
    /// How the server must prove itself. Default: as we do.
    pub remote_auth: AuthMethod,
    /// Who we claim to be. Always there with a PSK; without it the certificate's own name is used.
    pub local_id: Option<Identity>,
    /// Who the server must prove to be. Default: the server's name or address.
    pub remote_id: Identity,
    /// Whether `remote_id` was written in the file.
    pub(crate) remote_id_written: bool,
    /// The PSK, for whichever side uses one. Always there if one does.
    pub psk: Option<PskSource>,
    /// Authorities for the server's certificate. Empty: the system's trust store.
    pub ca: Vec<CertSource>,
    /// Our certificate, and those between it and its authority. Always there with `auth = "certificate"`.
    pub certificate: Vec<CertSource>,
    /// Our certificate's private key. Always there with `auth = "certificate"`.
    pub key: Option<KeySource>,
    /// IKE_SA proposals, best first. Empty: the default ones.
    pub ike: Vec<Suite>,
    /// CHILD_SA proposals, best first. Empty: the default ones.
    pub esp: Vec<Suite>,
    /// What goes into the tunnel.
    pub tunnel: Tunnel,
    /// With a split tunnel, the networks to ask for. Empty: whatever the server offers. Host bits are clear.
    pub remote_subnets: Vec<Prefix>,
    /// Which addresses to ask for. Default: both.
    pub addresses: Families,
    /// Silence after which the peer is asked whether it is alive. Default: 30 s.
    pub dpd: Duration,
    /// The tunnel's interface. Default: the first free `adit0`, `adit1`, …
    pub interface: Option<InterfaceName>,
    /// The interface's MTU, in bytes. Default: what fits the path.
    pub mtu: Option<u16>,
    /// What to do with the server's DNS servers.
    pub dns: Dns,
    /// Wrap ESP in UDP although no NAT was found.
    pub force_encapsulation: bool,
    /// The address to send from. Default: the routing table's choice.
    pub local_address: Option<IpAddr>,
}

impl Profile {
    /// The server's host.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.server.host
    }

    /// The server's UDP port for the first packet: 500 unless the profile says otherwise. A port other than 500 is
    /// one that speaks UDP encapsulation, as 4500 does (RFC 7296 §2.23).
    #[must_use]
    pub const fn port(&self) -> u16 {
        match self.server.port {
            Some(port) => port,
            None => 500,
        }
    }

    /// Every file that the profile refers to.
    #[must_use]
    pub fn files(&self) -> Vec<&FileRef> {
        let psk = match &self.psk {
            Some(PskSource::File(file)) => Some(file),
            _ => None,
        };
        let key = match &self.key {
            Some(KeySource::File(file)) => Some(file),
            _ => None,
        };
        let certificates = self.ca.iter().chain(&self.certificate).filter_map(|source| match source {
            CertSource::File(file) => Some(file),
            CertSource::Inline(_) => None,
        });
        psk.into_iter().chain(key).chain(certificates).collect()
    }
}
