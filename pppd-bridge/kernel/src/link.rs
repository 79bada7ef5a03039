//! rtnetlink messages of kind `ppp`, in a form that could go upstream: netlink-packet-route has none.

use std::os::fd::RawFd;

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;

use crate::netlink::{self, HEADER, NLM_F_ACK, NLM_F_REQUEST, attribute, find};
use crate::{LinkSpec, PppError, Statistics};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// `linux/if_link.h`: the kernel makes no link-local address by itself.
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
/// `linux/if_link.h`.
const IFLA_PPP_DEV_FD: u16 = 1;
const NESTED: u16 = 0x8000;
const IFINFO: usize = 16;
/// Of `ifi_flags` in a message; `ifi_change` follows.
const FLAGS_AT: usize = HEADER + 8;

/// RTM_NEWLINK of kind `ppp` for an open `/dev/ppp`.
pub(crate) fn make(spec: &LinkSpec<'_>, fd: RawFd) -> Result<(), PppError> {
    if !(1..=15).contains(&spec.name.len()) {
        return Err(PppError::Invalid(format!("\"{}\" is not a link's name", spec.name.escape_debug())));
    }
    let name = [spec.name.as_bytes(), &[0]].concat();
    let data = attribute(IFLA_PPP_DEV_FD, &fd.to_ne_bytes());
    let info = [attribute(IFLA_INFO_KIND, b"ppp\0"), attribute(IFLA_INFO_DATA | NESTED, &data)].concat();
    let attributes = [
        attribute(IFLA_IFNAME, &name),
        attribute(IFLA_GROUP, &spec.group.to_ne_bytes()),
        attribute(IFLA_LINKINFO | NESTED, &info),
    ]
    .concat();
    let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    exchange("a ppp interface", &message(RTM_NEWLINK, flags, 0, &attributes)).map(drop)
}

/// Gives an interface that is not up its name and link group.
pub(crate) fn rename(index: u32, spec: &LinkSpec<'_>) -> Result<(), PppError> {
    let name = [spec.name.as_bytes(), &[0]].concat();
    let attributes =
        [attribute(IFLA_IFNAME, &name), attribute(IFLA_GROUP, &spec.group.to_ne_bytes())].concat();
    let request = message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, index, &attributes);
    exchange("naming the interface", &request).map(drop)
}

/// Gives an interface its link group, and no address of IPv6 but those that somebody sets: as it is with ppp.
pub(crate) fn prepare(index: u32, group: u32) -> Result<(), PppError> {
    let set = |attributes: &[u8]| message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, index, attributes);
    exchange("the interface's group", &set(&attribute(IFLA_GROUP, &group.to_ne_bytes())))?;
    let family = u16::try_from(libc::AF_INET6).unwrap_or_default();
    let mode = attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
    let spec = attribute(IFLA_AF_SPEC | NESTED, &attribute(family | NESTED, &mode));
    match exchange("the interface's IPv6", &set(&spec)) {
        // A kernel without IPv6 makes no addresses of it.
        Err(PppError::Refused { errno: Errno::EAFNOSUPPORT | Errno::EINVAL, .. }) => Ok(()),
        done => done.map(drop),
    }
}

/// Packets that have gone through an interface, both ways, without multicast of IPv6: a router that advertises itself uses
/// nobody's link. The number may wrap; whether it has changed counts.
pub(crate) fn packets(index: u32, name: &str) -> Result<u64, PppError> {
    let multicast = multicast6(name);
    let Statistics { packets_in, packets_out, .. } = statistics(index)?;
    Ok(packets_in.wrapping_add(packets_out).wrapping_sub(multicast))
}

/// Sets an interface up, with this MTU.
pub(crate) fn set_up(index: u32, mtu: u16) -> Result<(), PppError> {
    let attributes = attribute(IFLA_MTU, &u32::from(mtu).to_ne_bytes());
    let mut request = message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, index, &attributes);
    // ifi_flags and ifi_change: IFF_UP and nothing else.
    for at in [FLAGS_AT, FLAGS_AT + 4] {
        request.iter_mut().skip(at).zip(1_u32.to_ne_bytes()).for_each(|(to, from)| *to = from);
    }
    exchange("setting the interface up", &request).map(drop)
}

/// Deletes an interface of kind `ppp`: who has its file open has nothing any more. One that is gone is.
pub(crate) fn remove(index: u32) -> Result<(), PppError> {
    let request = message(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, index, &[]);
    match exchange("removing the interface", &request) {
        Err(PppError::Refused { errno: Errno::ENODEV, .. }) => Ok(()),
        done => done.map(drop),
    }
}

/// The index of the interface of that name.
pub(crate) fn index(name: &str) -> Result<u32, PppError> {
    nix::net::if_::if_nametoindex(name).map_err(PppError::refused("the interface's index"))
}

/// IFLA_STATS64 of an interface.
pub(crate) fn statistics(index: u32) -> Result<Statistics, PppError> {
    let answer = exchange("the interface's counters", &message(RTM_GETLINK, NLM_F_REQUEST, index, &[]))?;
    let stats = answer.get(IFINFO..).and_then(|attributes| find(attributes, IFLA_STATS64));
    read_statistics(stats.unwrap_or_default()).ok_or(PppError::Dialogue("the interface's counters"))
}

/// `struct rtnl_link_stats64`: rx_packets, tx_packets, rx_bytes, tx_bytes, …
fn read_statistics(bytes: &[u8]) -> Option<Statistics> {
    let mut numbers = bytes.as_chunks::<8>().0.iter().map(|n| u64::from_ne_bytes(*n));
    let (packets_in, packets_out) = (numbers.next()?, numbers.next()?);
    let (bytes_in, bytes_out) = (numbers.next()?, numbers.next()?);
    Some(Statistics { bytes_in, bytes_out, packets_in, packets_out })
}

/// Multicast packets of IPv6 that an interface has taken and sent: IFLA_STATS64 has none of ppp's. None without IPv6.
fn multicast6(name: &str) -> u64 {
    read_multicast6(&std::fs::read_to_string(format!("/proc/net/dev_snmp6/{name}")).unwrap_or_default())
}

fn read_multicast6(text: &str) -> u64 {
    let fields = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
    let counts = fields.filter(|(name, _)| ["Ip6InMcastPkts", "Ip6OutMcastPkts"].contains(name));
    counts.filter_map(|(_, count)| count.trim().parse().ok()).fold(0, u64::wrapping_add)
}

fn message(kind: u16, flags: u16, index: u32, attributes: &[u8]) -> Vec<u8> {
    // struct ifinfomsg: family, padding, type, index, flags, change.
    let info = [&[0; 4][..], &index.to_ne_bytes(), &[0; 8]].concat();
    netlink::message(kind, flags, &info, attributes)
}

fn exchange(what: &'static str, request: &[u8]) -> Result<Vec<u8>, PppError> {
    netlink::exchange(NETLINK_ROUTE, what, request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multicast_is_counted_both_ways() {
        let text = "ifIndex                         \t7\nIp6InReceives                   \t0\n\
                    Ip6InMcastPkts                  \t3\nIp6OutMcastPkts                 \t9\nIp6InMcastOctets \t700\n";
        assert_eq!((read_multicast6(text), read_multicast6("")), (12, 0));
    }
}
