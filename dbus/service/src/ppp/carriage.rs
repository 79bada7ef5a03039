//! What carries PPP links, and where that makes a difference.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use adit_core::{Failure, Step};
use adit_profile::{LinkKind, PppServer, Profile, ServerName, TunnelKind};
use tokio::runtime::Handle;

use super::Carrier;
use crate::blocking::blocking;
use crate::{l2tp, lanes, pptp, sstp};

/// What carries a connection's PPP link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Carriage {
    /// PPTP.
    Pptp,
    /// SSTP, and what its links' interfaces are.
    Sstp(LinkKind),
    /// L2TP.
    L2tp,
}

impl Carriage {
    /// A profile's. One that PPP does not carry has none, and never comes here.
    pub(crate) fn of(profile: &Profile) -> Self {
        Self::of_kind(profile.kind, profile.link_kind())
    }

    /// A server's.
    pub(crate) const fn of_server(config: &PppServer) -> Self {
        Self::of_kind(config.kind, config.interface)
    }

    const fn of_kind(kind: TunnelKind, link: LinkKind) -> Self {
        match kind {
            TunnelKind::Ikev2 | TunnelKind::Pptp => Self::Pptp,
            TunnelKind::Sstp => Self::Sstp(link),
            TunnelKind::L2tp => Self::L2tp,
        }
    }

    /// Its name for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pptp => "PPTP",
            Self::Sstp(_) => "SSTP",
            Self::L2tp => "L2TP",
        }
    }

    /// The same in small letters, as files and the registry have it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Pptp => "pptp",
            Self::Sstp(_) => "sstp",
            Self::L2tp => "l2tp",
        }
    }

    /// How a server's interfaces are named, before a number.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Pptp => "aditp",
            Self::Sstp(LinkKind::Tun) => "aditt",
            // Whoever says `ppp+` or `ppp*` means it too.
            Self::Sstp(LinkKind::Ppp) => "pppt",
            Self::L2tp => "aditl",
        }
    }

    /// What an interface is made of.
    pub(crate) const fn carrier(self) -> Carrier {
        match self {
            Self::Pptp | Self::L2tp => Carrier::Kernel,
            Self::Sstp(LinkKind::Tun) => Carrier::Tun,
            Self::Sstp(LinkKind::Ppp) => Carrier::Fed,
        }
    }

    /// What encrypts SSTP's packets, and how they come to this host, in words.
    pub(crate) fn shown(self, cipher: &str) -> String {
        let carrier = match self.carrier() {
            Carrier::Kernel => "the kernel's GRE",
            Carrier::Tun => "a TUN",
            Carrier::Fed => "the kernel's PPP",
        };
        format!("{cipher}; packets by {carrier}")
    }

    /// Where a server's sessions run.
    pub(crate) fn lane(self) -> Handle {
        match self {
            // The kernel carries their packets.
            Self::Pptp | Self::L2tp => Handle::current(),
            Self::Sstp(_) => lanes::next(),
        }
    }

    /// What the kernel lacks for it. It is asked until it has all: what it could it can.
    pub(crate) async fn is_in_kernel(self) -> Result<(), Failure> {
        static CARRIED: Mutex<Vec<Carriage>> = Mutex::new(Vec::new());
        let carried = || CARRIED.lock().unwrap_or_else(PoisonError::into_inner);
        if !carried().contains(&self) {
            blocking(Step::Kernel, "asking the kernel", move || self.check_kernel()).await??;
            carried().push(self);
        }
        Ok(())
    }

    fn check_kernel(self) -> Result<(), Failure> {
        match self {
            Self::Pptp => {
                adit_pptp_kernel::probe()?;
                adit_ppp_kernel::probe()?;
            }
            Self::Sstp(LinkKind::Tun) => adit_ppp_kernel::Tun::probe()?,
            Self::Sstp(LinkKind::Ppp) => adit_ppp_kernel::Feed::probe()?,
            Self::L2tp => {
                adit_ppp_kernel::probe()?;
                adit_ppp_kernel::probe_l2tp()?;
            }
        }
        Ok(())
    }

    /// Those of a server's addresses that it can use, with its port.
    pub(crate) fn usable(self, gateway: &ServerName, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        match self {
            Self::Pptp => {
                let v4 = addresses.into_iter().filter(SocketAddr::is_ipv4);
                v4.map(|a| SocketAddr::new(a.ip(), adit_pptp::PORT)).collect()
            }
            Self::Sstp(_) => {
                let port = gateway.port.unwrap_or(adit_sstp::PORT);
                addresses.into_iter().map(|a| SocketAddr::new(a.ip(), port)).collect()
            }
            Self::L2tp => addresses.into_iter().map(|a| SocketAddr::new(a.ip(), adit_l2tp::PORT)).collect(),
        }
    }

    /// Every address of this host that it can use.
    pub(crate) fn any(self) -> Vec<IpAddr> {
        match self {
            Self::Pptp => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            // That takes connections of IPv4 too.
            Self::Sstp(_) => vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
            Self::L2tp => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        }
    }

    /// The longest packet of a link, in octets, over a path of this MTU to that peer.
    pub(crate) fn mtu(self, path: u32, to: IpAddr, wanted: Option<u16>) -> u16 {
        match self {
            Self::Pptp => pptp::link_mtu(path, wanted),
            // TCP carries any.
            Self::Sstp(_) => wanted.unwrap_or(sstp::MOST_MTU),
            Self::L2tp => l2tp::link_mtu(path, to.is_ipv6(), wanted),
        }
    }

    /// An interface's MTU in octets while its link is down.
    pub(crate) fn waiting_mtu(self, wanted: Option<u16>) -> u16 {
        match self {
            Self::Pptp => pptp::waiting_mtu(wanted),
            Self::Sstp(_) => wanted.unwrap_or(sstp::MOST_MTU),
            Self::L2tp => l2tp::waiting_mtu(wanted),
        }
    }

    /// The longest packet of a link whose path is not known.
    pub(crate) const fn most_mtu(self) -> u16 {
        match self {
            Self::Pptp => pptp::MOST_MTU,
            Self::Sstp(_) => sstp::MOST_MTU,
            Self::L2tp => l2tp::MOST_MTU,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::LINK;

    /// One host may be every kind of server; and what holds for all links of one is written `PREFIX*` in its tables.
    #[test]
    fn no_server_s_links_are_another_s() {
        let sstp = [LinkKind::Tun, LinkKind::Ppp].map(Carriage::Sstp);
        let carriages = [Carriage::Pptp, sstp[0], sstp[1], Carriage::L2tp];
        let all: Vec<&str> = carriages.iter().map(|c| c.prefix()).chain([LINK]).collect();
        for one in carriages.map(Carriage::prefix) {
            assert_eq!(all.iter().filter(|other| other.starts_with(one)).count(), 1, "{one}*");
        }
    }
}
