//! Bytes of PPP: a frame's protocol, the packets of control protocols, and their options, each as a checked view; and the
//! few messages of IPv6 that a router of a link has to do with.
//!
//! A frame here begins with the two octets of its protocol: address and control, and a shortened protocol field, are the
//! carrier's and the kernel's.

mod advertisement;
mod chap;
mod dhcpv6;
mod option;
mod packet;
mod pap;

pub use advertisement::{
    PrefixInformation, ROUTER_SOLICITATION, RouterAdvertisement, is_router_solicitation,
};
pub use chap::{ChapMessage, ChapProof};
pub use dhcpv6::Dhcpv6Message;
pub use option::{ConfigOption, Options, emit_options};
pub use packet::{Code, Packet, emit_frame, emit_packet, split_frame};
pub use pap::PapMessage;

/// A frame's protocol (RFC 1661 §2, and IANA's registry).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u16);

impl Protocol {
    /// IPv4.
    pub const IP: Self = Self(0x0021);
    /// IPv6.
    pub const IPV6: Self = Self(0x0057);
    /// A compressed or encrypted datagram (RFC 1962 §4). The kernel hands one up when it could not read it.
    pub const COMPRESSED: Self = Self(0x00fd);
    /// IPCP (RFC 1332).
    pub const IPCP: Self = Self(0x8021);
    /// IPV6CP (RFC 5072).
    pub const IPV6CP: Self = Self(0x8057);
    /// CCP (RFC 1962).
    pub const CCP: Self = Self(0x80fd);
    /// LCP (RFC 1661).
    pub const LCP: Self = Self(0xc021);
    /// PAP (RFC 1334).
    pub const PAP: Self = Self(0xc023);
    /// CHAP in all its kinds (RFC 1994).
    pub const CHAP: Self = Self(0xc223);
    /// EAP (RFC 3748 §3.1).
    pub const EAP: Self = Self(0xc227);

    /// Whether it belongs to the link, not to the network: LCP, authentication, quality. On Linux these come from and go to
    /// the channel, the others the unit.
    #[must_use]
    pub const fn of_link(self) -> bool {
        self.0 >= 0xc000
    }
}

impl core::fmt::Display for Protocol {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match *self {
            Self::IP => "IP",
            Self::IPV6 => "IPv6",
            Self::COMPRESSED => "compressed",
            Self::IPCP => "IPCP",
            Self::IPV6CP => "IPV6CP",
            Self::CCP => "CCP",
            Self::LCP => "LCP",
            Self::PAP => "PAP",
            Self::CHAP => "CHAP",
            Self::EAP => "EAP",
            Self(other) => return write!(f, "protocol {other:#06x}"),
        })
    }
}

impl core::fmt::Debug for Protocol {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}
