//! The kernel's L2TP: tunnels and sessions by generic netlink (`linux/l2tp.h`), and the sockets whose channels carry PPP
//! (`PX_PROTO_OL2TP`).
//!
//! A tunnel is a UDP socket of ours. The kernel takes data messages off it, and leaves control messages. Tunnel IDs are one
//! set for the network namespace; from Linux 6.11 on a data message is found by its two IDs alone, whichever of our sockets
//! it comes to.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use netlink_sys::protocols::NETLINK_GENERIC;
use nix::errno::Errno;

use crate::PppError;
use crate::feed::open;
use crate::netlink::{NLM_F_ACK, NLM_F_REQUEST, attribute, exchange, find, message};

/// `linux/genetlink.h`: whom to ask which number a family has.
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Of `struct genlmsghdr`.
const GENL_HEADER: usize = 4;
/// `linux/l2tp.h`.
const VERSION: u8 = 1;
const CMD_TUNNEL_CREATE: u8 = 1;
const CMD_TUNNEL_DELETE: u8 = 2;
const CMD_SESSION_CREATE: u8 = 5;
const CMD_SESSION_MODIFY: u8 = 7;
const ATTR_PW_TYPE: u16 = 1;
const ATTR_ENCAP_TYPE: u16 = 2;
const ATTR_PROTO_VERSION: u16 = 7;
const ATTR_CONN_ID: u16 = 9;
const ATTR_PEER_CONN_ID: u16 = 10;
const ATTR_SESSION_ID: u16 = 11;
const ATTR_PEER_SESSION_ID: u16 = 12;
const ATTR_RECV_SEQ: u16 = 18;
const ATTR_SEND_SEQ: u16 = 19;
const ATTR_LNS_MODE: u16 = 20;
const ATTR_FD: u16 = 23;
const PWTYPE_PPP: u16 = 7;
const ENCAPTYPE_UDP: u16 = 0;
const PROTOCOL: u8 = 2;
/// `linux/if_pppox.h`.
const PX_PROTO_OL2TP: libc::c_int = 1;
/// `struct sockaddr_pppol2tp`: family, protocol; then process, descriptor, an IPv4 address, and four IDs; packed.
const ADDRESS_LEN: usize = 38;
/// Of the four IDs within it: our tunnel, our session, the peer's tunnel, the peer's session.
const IDS_AT: usize = 30;

/// `struct sockaddr_pppol2tpin6`: family, protocol; process, descriptor, four IDs, an IPv6 address; packed.
const ADDRESS_V6_LEN: usize = 50;
const IDS_V6_AT: usize = 14;

pub(crate) const TUNNEL: &str = "an L2TP tunnel";
pub(crate) const SESSION: &str = "an L2TP session";

/// What data messages of a session have in their headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct L2tpIds {
    /// Our Tunnel ID.
    pub tunnel: u16,
    /// The peer's.
    pub peer_tunnel: u16,
    /// Our Session ID.
    pub session: u16,
    /// The peer's.
    pub peer_session: u16,
}

impl L2tpIds {
    /// Those of a session, by its socket.
    ///
    /// # Errors
    /// It is none.
    pub fn of(socket: BorrowedFd<'_>) -> Result<Self, PppError> {
        ids_of(socket).map_err(PppError::refused("the socket of an L2TP session"))
    }
}

/// A tunnel of the kernel's. It is gone, with its sessions, when its UDP socket is closed.
#[derive(Debug)]
pub struct L2tpTunnel {
    family: u16,
    id: u16,
}

/// A session of the kernel's: what an attached channel is of. Closing it (dropping) may take some 20 ms.
#[derive(Debug)]
pub struct L2tpSession {
    fd: OwnedFd,
    family: u16,
    ids: L2tpIds,
}

/// Whether this kernel has L2TP and this process may use it; loads its modules if it can.
///
/// # Errors
/// It has none.
pub fn probe_l2tp() -> Result<(), PppError> {
    open()?;
    family().map(drop)
}

/// Whether a data message is found by its two IDs alone, whichever of our sockets it comes to: from Linux 6.11 on. Several
/// peers that have one address and port (behind a NAT) need that: their tunnels' sockets can't be told apart.
#[must_use]
pub fn finds_sessions_by_ids() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        at_least(&release, (6, 11))
    })
}

fn at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= wanted,
        _ => false,
    }
}

impl L2tpTunnel {
    /// Makes a tunnel of a UDP socket that is bound and connected.
    ///
    /// # Errors
    /// The kernel has no L2TP, or refuses: the ID is taken.
    pub fn make(socket: BorrowedFd<'_>, id: u16, peer: u16) -> Result<Self, PppError> {
        let family = family()?;
        let attributes = [
            attribute(ATTR_CONN_ID, &u32::from(id).to_ne_bytes()),
            attribute(ATTR_PEER_CONN_ID, &u32::from(peer).to_ne_bytes()),
            attribute(ATTR_PROTO_VERSION, &[PROTOCOL]),
            attribute(ATTR_ENCAP_TYPE, &ENCAPTYPE_UDP.to_ne_bytes()),
            attribute(ATTR_FD, &socket.as_raw_fd().to_ne_bytes()),
        ];
        order(family, CMD_TUNNEL_CREATE, TUNNEL, &attributes.concat())?;
        Ok(Self { family, id })
    }

    /// One that a process before has made with this ID, by its socket, which is there again.
    ///
    /// # Errors
    /// The kernel has no L2TP.
    pub fn adopt(id: u16) -> Result<Self, PppError> {
        Ok(Self { family: family()?, id })
    }

    /// Takes it away with its sessions, also where somebody else has its socket.
    ///
    /// # Errors
    /// The kernel refuses: it is gone already.
    pub fn remove(&self) -> Result<(), PppError> {
        let id = attribute(ATTR_CONN_ID, &u32::from(self.id).to_ne_bytes());
        order(self.family, CMD_TUNNEL_DELETE, TUNNEL, &id)
    }

    /// A session in it that a process before has made, by its socket: that with these IDs. It goes on as it is.
    ///
    /// # Errors
    /// It is another, or is gone.
    pub fn session_again(&self, fd: OwnedFd, ids: L2tpIds) -> Result<L2tpSession, PppError> {
        match ids_of(fd.as_fd()) {
            Ok(found) if found == ids && ids.tunnel == self.id => {
                Ok(L2tpSession { fd, family: self.family, ids })
            }
            _ => Err(PppError::Invalid("what was handed over is not the L2TP session that it was".into())),
        }
    }

    /// Makes a session in it. `lns`: we are the LNS, which says whether there are sequence numbers; an LAC follows.
    ///
    /// # Errors
    /// The kernel refuses: an ID is taken.
    pub fn session(
        &self,
        session: u16,
        peer_tunnel: u16,
        peer_session: u16,
        lns: bool,
    ) -> Result<L2tpSession, PppError> {
        let ids = L2tpIds { tunnel: self.id, peer_tunnel, session, peer_session };
        let fd = open()?;
        let attributes = [
            attribute(ATTR_CONN_ID, &u32::from(ids.tunnel).to_ne_bytes()),
            attribute(ATTR_SESSION_ID, &u32::from(session).to_ne_bytes()),
            attribute(ATTR_PEER_SESSION_ID, &u32::from(peer_session).to_ne_bytes()),
            attribute(ATTR_PW_TYPE, &PWTYPE_PPP.to_ne_bytes()),
            attribute(ATTR_LNS_MODE, &[u8::from(lns)]),
        ];
        order(self.family, CMD_SESSION_CREATE, SESSION, &attributes.concat())?;
        connect(fd.as_fd(), ids).map_err(PppError::refused("the socket of an L2TP session"))?;
        Ok(L2tpSession { fd, family: self.family, ids })
    }
}

impl L2tpSession {
    /// Sends sequence numbers from now on. What comes is not held to have them: a loss is not made another one.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn number(&self) -> Result<(), PppError> {
        let attributes = [
            attribute(ATTR_CONN_ID, &u32::from(self.ids.tunnel).to_ne_bytes()),
            attribute(ATTR_SESSION_ID, &u32::from(self.ids.session).to_ne_bytes()),
            attribute(ATTR_SEND_SEQ, &[1]),
            attribute(ATTR_RECV_SEQ, &[0]),
        ];
        order(self.family, CMD_SESSION_MODIFY, "sequence numbers", &attributes.concat())
    }
}

impl AsFd for L2tpSession {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The number that generic netlink has given to L2TP's family.
fn family() -> Result<u16, PppError> {
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"l2tp\0");
    let request = message(GENL_ID_CTRL, NLM_F_REQUEST, &[CTRL_CMD_GETFAMILY, 1, 0, 0], &name);
    let answer = match exchange(NETLINK_GENERIC, "generic netlink", &request) {
        Err(PppError::Refused { errno: Errno::ENOENT, .. }) => return Err(PppError::NoL2tp(Errno::ENOENT)),
        answer => answer?,
    };
    let id = answer.get(GENL_HEADER..).and_then(|attributes| find(attributes, CTRL_ATTR_FAMILY_ID));
    let id = id.and_then(|id| <[u8; 2]>::try_from(id).ok()).map(u16::from_ne_bytes);
    id.ok_or(PppError::Dialogue("generic netlink's families"))
}

fn order(family: u16, command: u8, what: &'static str, attributes: &[u8]) -> Result<(), PppError> {
    let request = message(family, NLM_F_REQUEST | NLM_F_ACK, &[command, VERSION, 0, 0], attributes);
    exchange(NETLINK_GENERIC, what, &request).map(drop)
}

/// Where the IDs are of a session that there is already: the kernel looks at no more of it.
fn address(ids: L2tpIds) -> [u8; ADDRESS_LEN] {
    let family = u16::try_from(libc::AF_PPPOX).unwrap_or_default().to_ne_bytes();
    let numbers = [ids.tunnel, ids.session, ids.peer_tunnel, ids.peer_session];
    let numbers: Vec<u8> = numbers.into_iter().flat_map(u16::to_ne_bytes).collect();
    let mut out = [0; ADDRESS_LEN];
    for (at, bytes) in [(0, &family[..]), (2, &PX_PROTO_OL2TP.to_ne_bytes()), (IDS_AT, &numbers)] {
        out.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    }
    out
}

/// The IDs of a session, by its socket.
fn ids_of(fd: BorrowedFd<'_>) -> Result<L2tpIds, Errno> {
    let mut address = [0_u8; ADDRESS_V6_LEN];
    let mut length = libc::socklen_t::try_from(ADDRESS_V6_LEN).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel writes at most `length` octets to `address`, which has as many, and the length itself.
    Errno::result(unsafe {
        libc::getsockname(fd.as_raw_fd(), address.as_mut_ptr().cast(), &raw mut length)
    })?;
    read_ids(&address, usize::try_from(length).unwrap_or_default()).ok_or(Errno::EINVAL)
}

fn read_ids(address: &[u8], length: usize) -> Option<L2tpIds> {
    let at = match length {
        ADDRESS_LEN => IDS_AT,
        ADDRESS_V6_LEN => IDS_V6_AT,
        _ => return None,
    };
    let family = u16::try_from(libc::AF_PPPOX).ok()?.to_ne_bytes();
    let right = address.get(..2)? == family && address.get(2..6)? == PX_PROTO_OL2TP.to_ne_bytes();
    let number = |place: usize| {
        let from = at.checked_add(place.checked_mul(2)?)?;
        Some(u16::from_ne_bytes(*address.get(from..)?.first_chunk()?))
    };
    let ids = L2tpIds {
        tunnel: number(0)?,
        session: number(1)?,
        peer_tunnel: number(2)?,
        peer_session: number(3)?,
    };
    right.then_some(ids)
}

fn connect(fd: BorrowedFd<'_>, ids: L2tpIds) -> Result<(), Errno> {
    let address = address(ids);
    let length = libc::socklen_t::try_from(ADDRESS_LEN).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the pointer is to `length` octets that live until the call returns.
    Errno::result(unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr().cast(), length) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        assert!(at_least("6.12.107+deb13-amd64\n", (6, 11)) && at_least("7.0", (6, 11)));
        for older in ["6.1.0-40-amd64", "6.10.14", "5.14.0", ""] {
            assert!(!at_least(older, (6, 11)), "{older}");
        }
    }

    #[test]
    fn the_address_is_laid_out_as_the_kernel_reads_it() {
        let bytes =
            address(L2tpIds { tunnel: 0x1111, peer_tunnel: 0x2222, session: 0x3333, peer_session: 0x4444 });
        assert_eq!(bytes[..6], [24, 0, 1, 0, 0, 0]);
        assert!(bytes[6..30].iter().all(|b| *b == 0));
        assert_eq!(bytes[30..], [0x11, 0x11, 0x33, 0x33, 0x22, 0x22, 0x44, 0x44]);
    }

    #[test]
    fn ids_are_read_from_both_families_addresses() {
        let ids = L2tpIds { tunnel: 0x1111, peer_tunnel: 0x2222, session: 0x3333, peer_session: 0x4444 };
        let v4 = address(ids);
        assert_eq!(read_ids(&v4, v4.len()), Some(ids));
        let mut v6 = [0; ADDRESS_V6_LEN];
        v6[..6].copy_from_slice(&v4[..6]);
        v6[14..22].copy_from_slice(&v4[30..38]);
        assert_eq!(read_ids(&v6, v6.len()), Some(ids));
        assert_eq!((read_ids(&v6, 30), read_ids(&[0; 50], 50)), (None, None));
    }
}
