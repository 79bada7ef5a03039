//! The system calls. All `unsafe` of this door stands here.
#![allow(unsafe_code)]

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::PptpError;

/// `linux/if_pppox.h`.
const PX_PROTO_PPTP: libc::c_int = 2;
/// `struct sockaddr_pppox`: family, protocol, then a union whose longest member has 24 octets; packed.
const ADDRESS_LEN: usize = 30;
/// Of the call ID, in this host's order, within it.
const CALL_ID_AT: usize = 6;
/// Of the IPv4 address within it: `struct pptp_addr` aligns it to four octets of its own.
const IPV4_AT: usize = 10;

pub(crate) fn open() -> Result<OwnedFd, PptpError> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(libc::AF_PPPOX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, PX_PROTO_PPTP) };
    match Errno::result(fd) {
        // SAFETY: the descriptor was just made, and nobody else owns it.
        Ok(fd) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        Err(errno @ (Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT | Errno::EINVAL)) => {
            Err(PptpError::Missing(errno))
        }
        Err(errno) => Err(PptpError::Refused { what: "a PPTP socket", errno }),
    }
}

fn address(call_id: u16, host: Ipv4Addr) -> [u8; ADDRESS_LEN] {
    let family = u16::try_from(libc::AF_PPPOX).unwrap_or_default().to_ne_bytes();
    let parts: [(usize, &[u8]); 4] = [
        (0, &family),
        (2, &PX_PROTO_PPTP.to_ne_bytes()),
        (CALL_ID_AT, &call_id.to_ne_bytes()),
        (IPV4_AT, &host.octets()),
    ];
    let mut out = [0; ADDRESS_LEN];
    for (at, bytes) in parts {
        out.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    }
    out
}

const LENGTH: libc::socklen_t = ADDRESS_LEN as libc::socklen_t;

pub(crate) fn bind(fd: BorrowedFd<'_>, call_id: u16, local: Ipv4Addr) -> Result<(), Errno> {
    let address = address(call_id, local);
    // SAFETY: the pointer is to `LENGTH` octets that live until the call returns.
    Errno::result(unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr().cast(), LENGTH) }).map(drop)
}

pub(crate) fn connect(fd: BorrowedFd<'_>, call_id: u16, peer: Ipv4Addr) -> Result<(), Errno> {
    let address = address(call_id, peer);
    // SAFETY: the pointer is to `LENGTH` octets that live until the call returns.
    Errno::result(unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr().cast(), LENGTH) }).map(drop)
}

/// The call ID that the kernel has given.
pub(crate) fn call_id(fd: BorrowedFd<'_>) -> Result<u16, Errno> {
    name(fd).map(|(id, _)| id)
}

/// Our call ID, and the address that its GRE is sent from.
pub(crate) fn name(fd: BorrowedFd<'_>) -> Result<(u16, Ipv4Addr), Errno> {
    let mut address = [0_u8; ADDRESS_LEN];
    let mut length = LENGTH;
    // SAFETY: the kernel writes at most `length` octets to `address`, which has as many, and the length itself.
    Errno::result(unsafe {
        libc::getsockname(fd.as_raw_fd(), address.as_mut_ptr().cast(), &raw mut length)
    })?;
    let id = address.get(CALL_ID_AT..).and_then(|rest| rest.first_chunk::<2>());
    let id = id.map(|id| u16::from_ne_bytes(*id)).filter(|id| *id != 0).ok_or(Errno::EINVAL)?;
    let host = address.get(IPV4_AT..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Errno::EINVAL)?;
    Ok((id, Ipv4Addr::from(*host)))
}

/// Whether it is a socket of PPTP.
pub(crate) fn is_pptp(fd: BorrowedFd<'_>) -> bool {
    option(fd, libc::SO_DOMAIN) == Ok(libc::AF_PPPOX) && option(fd, libc::SO_PROTOCOL) == Ok(PX_PROTO_PPTP)
}

/// An option of the socket itself.
fn option(fd: BorrowedFd<'_>, which: libc::c_int) -> Result<libc::c_int, Errno> {
    let mut value: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel writes at most `length` octets to `value`, which has as many, and the length itself.
    Errno::result(unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, which, (&raw mut value).cast(), &raw mut length)
    })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_laid_out_as_the_kernel_reads_it() {
        let bytes = address(0x1234, Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(bytes[..6], [24, 0, 2, 0, 0, 0].map(|b: u8| b));
        assert_eq!(u16::from_ne_bytes([bytes[6], bytes[7]]), 0x1234);
        assert_eq!(bytes[10..14], [192, 0, 2, 1]);
        assert!(bytes[14..].iter().all(|b| *b == 0));
    }
}
