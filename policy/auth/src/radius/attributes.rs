//! What attributes mean.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use adit_core::{Prefix, Secret};

use super::packet::{Packet, Writer};
use super::protect::read_salted;

/// An attribute to send: its type and its value.
pub type Attribute = (u8, Vec<u8>);

/// Attribute types (RFC 2865 §5, RFC 2866 §5, RFC 2869 §5, RFC 3162, RFC 6911, RFC 3579).
pub mod attribute {
    #![allow(missing_docs, reason = "the names are those of the RFCs")]
    pub const USER_NAME: u8 = 1;
    pub const USER_PASSWORD: u8 = 2;
    pub const CHAP_PASSWORD: u8 = 3;
    pub const NAS_IP_ADDRESS: u8 = 4;
    pub const NAS_PORT: u8 = 5;
    pub const SERVICE_TYPE: u8 = 6;
    pub const FRAMED_PROTOCOL: u8 = 7;
    pub const FRAMED_IP_ADDRESS: u8 = 8;
    pub const FRAMED_IP_NETMASK: u8 = 9;
    pub const FILTER_ID: u8 = 11;
    pub const FRAMED_MTU: u8 = 12;
    pub const REPLY_MESSAGE: u8 = 18;
    pub const FRAMED_ROUTE: u8 = 22;
    pub const STATE: u8 = 24;
    pub const CLASS: u8 = 25;
    pub const VENDOR_SPECIFIC: u8 = 26;
    pub const SESSION_TIMEOUT: u8 = 27;
    pub const IDLE_TIMEOUT: u8 = 28;
    pub const CALLED_STATION_ID: u8 = 30;
    pub const CALLING_STATION_ID: u8 = 31;
    pub const NAS_IDENTIFIER: u8 = 32;
    pub const PROXY_STATE: u8 = 33;
    pub const ACCT_STATUS_TYPE: u8 = 40;
    pub const ACCT_DELAY_TIME: u8 = 41;
    pub const ACCT_INPUT_OCTETS: u8 = 42;
    pub const ACCT_OUTPUT_OCTETS: u8 = 43;
    pub const ACCT_SESSION_ID: u8 = 44;
    pub const ACCT_AUTHENTIC: u8 = 45;
    pub const ACCT_SESSION_TIME: u8 = 46;
    pub const ACCT_INPUT_PACKETS: u8 = 47;
    pub const ACCT_OUTPUT_PACKETS: u8 = 48;
    pub const ACCT_TERMINATE_CAUSE: u8 = 49;
    pub const ACCT_INPUT_GIGAWORDS: u8 = 52;
    pub const ACCT_OUTPUT_GIGAWORDS: u8 = 53;
    pub const EVENT_TIMESTAMP: u8 = 55;
    pub const CHAP_CHALLENGE: u8 = 60;
    pub const NAS_PORT_TYPE: u8 = 61;
    pub const CONNECT_INFO: u8 = 77;
    pub const EAP_MESSAGE: u8 = 79;
    pub const MESSAGE_AUTHENTICATOR: u8 = 80;
    pub const ACCT_INTERIM_INTERVAL: u8 = 85;
    pub const NAS_PORT_ID: u8 = 87;
    pub const FRAMED_POOL: u8 = 88;
    pub const NAS_IPV6_ADDRESS: u8 = 95;
    pub const FRAMED_INTERFACE_ID: u8 = 96;
    pub const FRAMED_IPV6_PREFIX: u8 = 97;
    pub const FRAMED_IPV6_ROUTE: u8 = 99;
    pub const FRAMED_IPV6_POOL: u8 = 100;
    pub const ERROR_CAUSE: u8 = 101;
    pub const FRAMED_IPV6_ADDRESS: u8 = 168;
    pub const DNS_SERVER_IPV6_ADDRESS: u8 = 169;
}

/// Microsoft's attributes (RFC 2548), within Vendor-Specific.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vendor(pub u8);

impl Vendor {
    /// Microsoft's number.
    pub const MICROSOFT: u32 = 311;
    /// MS-CHAP-Error: the text of RFC 2759 §6.
    pub const CHAP_ERROR: Self = Self(2);
    /// MS-MPPE-Encryption-Policy: 1 allowed, 2 required.
    pub const MPPE_POLICY: Self = Self(7);
    /// MS-MPPE-Encryption-Types.
    pub const MPPE_TYPES: Self = Self(8);
    /// MS-CHAP-Challenge.
    pub const CHAP_CHALLENGE: Self = Self(11);
    /// MS-MPPE-Send-Key.
    pub const MPPE_SEND_KEY: Self = Self(16);
    /// MS-MPPE-Recv-Key.
    pub const MPPE_RECV_KEY: Self = Self(17);
    /// MS-CHAP2-Response.
    pub const CHAP2_RESPONSE: Self = Self(25);
    /// MS-CHAP2-Success.
    pub const CHAP2_SUCCESS: Self = Self(26);
    /// MS-Primary-DNS-Server.
    pub const PRIMARY_DNS: Self = Self(28);
    /// MS-Secondary-DNS-Server.
    pub const SECONDARY_DNS: Self = Self(29);

    /// The value of a Vendor-Specific attribute that holds `value` under this type.
    #[must_use]
    pub fn wrap(self, value: &[u8]) -> Vec<u8> {
        let mut out = Self::MICROSOFT.to_be_bytes().to_vec();
        out.extend([self.0, u8::try_from(value.len().saturating_add(2)).unwrap_or(u8::MAX)]);
        out.extend_from_slice(value);
        out
    }
}

/// Microsoft's attributes of a packet: type and value.
pub(super) fn microsoft<'a>(packet: &Packet<'a>) -> impl Iterator<Item = (Vendor, &'a [u8])> {
    packet.attributes().filter(|(_, kind, _)| *kind == attribute::VENDOR_SPECIFIC).flat_map(
        |(_, _, value)| {
            let (vendor, mut rest) = value.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
            if u32::from_be_bytes(*vendor) != Vendor::MICROSOFT {
                rest = &[];
            }
            core::iter::from_fn(move || {
                let [kind, length, ..] = rest else {
                    return None;
                };
                let whole = rest.get(..usize::from(*length)).filter(|w| w.len() >= 2)?;
                rest = rest.get(whole.len()..)?;
                Some((Vendor(*kind), whole.get(2..)?))
            })
        },
    )
}

/// What an Access-Accept grants.
#[derive(Debug, Default)]
pub struct Granted {
    /// User-Name: what accounting is to call the user (RFC 2865 §5.1).
    pub user: Option<String>,
    /// EAP-Message: EAP-Success.
    pub eap: Option<Vec<u8>>,
    /// The keys of the method, named from our side: what we send with, what we receive with.
    pub keys: Option<(Secret, Secret)>,
    /// Framed-IP-Address, where it names one.
    pub address: Option<Ipv4Addr>,
    /// Framed-IPv6-Address.
    pub address6: Option<Ipv6Addr>,
    /// Framed-IPv6-Prefix: the network of a user's link.
    pub prefix6: Option<Prefix>,
    /// Framed-Pool.
    pub pool: Option<String>,
    /// Framed-IPv6-Pool.
    pub pool6: Option<String>,
    /// Framed-Route and Framed-IPv6-Route: networks behind the user.
    pub routes: Vec<Prefix>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
    /// Session-Timeout.
    pub session: Option<Duration>,
    /// Idle-Timeout.
    pub idle: Option<Duration>,
    /// Acct-Interim-Interval, at least a minute (RFC 2869 §5.16).
    pub interim: Option<Duration>,
    /// Filter-Id.
    pub filters: Vec<String>,
    /// Class: goes into every Accounting-Request as it is.
    pub class: Vec<Vec<u8>>,
    /// MS-CHAP2-Success: the authenticator's proof, for PPP.
    pub chap2_success: Option<Vec<u8>>,
    /// Reply-Message.
    pub message: Option<String>,
}

impl Granted {
    /// The same for a session that goes on: without what belongs to the conversation in which it was granted.
    #[must_use]
    pub fn without_keys(&self) -> Self {
        Self {
            user: self.user.clone(),
            eap: None,
            keys: None,
            address: self.address,
            address6: self.address6,
            prefix6: self.prefix6,
            pool: self.pool.clone(),
            pool6: self.pool6.clone(),
            routes: self.routes.clone(),
            dns: self.dns.clone(),
            session: self.session,
            idle: self.idle,
            interim: self.interim,
            filters: self.filters.clone(),
            class: self.class.clone(),
            chap2_success: None,
            message: None,
        }
    }

    /// Reads an Access-Accept. `request`: the authenticator of the request that it answers.
    pub(super) fn read(packet: &Packet<'_>, request: &[u8; 16], secret: &Secret) -> Self {
        let text = |kind| packet.value(kind).map(printable);
        let all = |kind: u8| packet.attributes().filter(move |(_, k, _)| *k == kind).map(|(_, _, v)| v);
        let seconds = |kind| number(packet.value(kind)).map(|n| Duration::from_secs(n.into()));
        // 255.255.255.255: the user chooses; 255.255.255.254: we do (RFC 2865 §5.8).
        let address = v4(packet.value(attribute::FRAMED_IP_ADDRESS)).filter(|a| a.octets()[..3] != [255; 3]);
        let mut out = Self {
            user: text(attribute::USER_NAME),
            eap: packet.joined(attribute::EAP_MESSAGE),
            address,
            address6: packet.value(attribute::FRAMED_IPV6_ADDRESS).and_then(v6),
            prefix6: packet.value(attribute::FRAMED_IPV6_PREFIX).and_then(prefix6),
            pool: text(attribute::FRAMED_POOL),
            pool6: text(attribute::FRAMED_IPV6_POOL),
            routes: all(attribute::FRAMED_ROUTE)
                .chain(all(attribute::FRAMED_IPV6_ROUTE))
                .filter_map(route)
                .collect(),
            dns: all(attribute::DNS_SERVER_IPV6_ADDRESS).filter_map(v6).map(IpAddr::V6).collect(),
            session: seconds(attribute::SESSION_TIMEOUT),
            idle: seconds(attribute::IDLE_TIMEOUT),
            interim: seconds(attribute::ACCT_INTERIM_INTERVAL).map(|t| t.max(Duration::from_secs(60))),
            filters: all(attribute::FILTER_ID).map(printable).collect(),
            class: all(attribute::CLASS).map(<[u8]>::to_vec).collect(),
            message: text(attribute::REPLY_MESSAGE),
            ..Self::default()
        };
        let (mut send, mut receive) = (None, None);
        for (kind, value) in microsoft(packet) {
            match kind {
                Vendor::MPPE_SEND_KEY => send = read_salted(value, request, secret),
                Vendor::MPPE_RECV_KEY => receive = read_salted(value, request, secret),
                Vendor::PRIMARY_DNS | Vendor::SECONDARY_DNS => {
                    out.dns.extend(v4(Some(value)).map(IpAddr::V4))
                }
                Vendor::CHAP2_SUCCESS => out.chap2_success = Some(value.to_vec()),
                _ => {}
            }
        }
        out.keys = send.zip(receive);
        out
    }
}

/// A text of the server as it may be shown: no control characters, not without end.
pub(super) fn printable(value: &[u8]) -> String {
    String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()).take(253).collect()
}

fn number(value: Option<&[u8]>) -> Option<u32> {
    value.and_then(|v| v.try_into().ok()).map(u32::from_be_bytes)
}

fn v4(value: Option<&[u8]>) -> Option<Ipv4Addr> {
    number(value).map(Ipv4Addr::from_bits)
}

fn v6(value: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from)
}

/// A reserved octet, the length, and as many octets as there are (RFC 3162 §2.3).
fn prefix6(value: &[u8]) -> Option<Prefix> {
    let ([_, length @ 0..=128], given) = value.split_first_chunk::<2>()? else { return None };
    let mut octets = [0; 16];
    octets.get_mut(..given.len())?.copy_from_slice(given);
    Some(Prefix { address: IpAddr::from(octets), length: *length }.network())
}

/// `198.51.100.0/24 0.0.0.0 1`: of a route only the network counts, since its gateway is the user.
fn route(value: &[u8]) -> Option<Prefix> {
    let text = core::str::from_utf8(value).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Writes a whole list.
pub(super) fn write_all(writer: &mut Writer, attributes: &[Attribute]) {
    for (kind, value) in attributes {
        writer.attribute(*kind, value);
    }
}
