//! The door to the kernel's PPTP sockets (`AF_PPPOX`, `PX_PROTO_PPTP`): one socket a call, whose GRE the kernel carries.
//!
//! What they are not: IPv4 outside only; call IDs are one set for the whole host, whatever the network namespace; packets
//! out of order are dropped; an acknowledgement goes only with a packet of ours; the socket gives no event, so its PPP
//! channel is what is watched. Closing one waits for a grace period of RCU (some 10 ms), so that many are closed on a
//! thread that may block.

mod socket;

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use adit_core::{Failure, FailureCode, Step};
use nix::errno::Errno;
use thiserror::Error;

/// Why the kernel does not carry a call.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PptpError {
    /// It has no PPTP.
    #[error("this host's kernel has no PPTP: {}", .0.desc())]
    Missing(Errno),
    /// All 65,534 call IDs of this host are in use, or this one is.
    #[error("no call ID is free on this host")]
    Exhausted,
    /// It has a call to that peer with that call ID of the peer's: one set for the whole host.
    #[error("this host has a call already to that peer and with the same call ID")]
    Taken,
    /// What was handed over is not that call.
    #[error("what was handed over is not the call that it was")]
    Another,
    /// It refused.
    #[error("the kernel refused {what}: {}", errno.desc())]
    Refused {
        /// What.
        what: &'static str,
        /// Its error number.
        errno: Errno,
    },
}

impl PptpError {
    /// As a person meets it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let of = |code| Failure::new(code, Step::Kernel, self.to_string());
        match self {
            Self::Missing(_) => of(FailureCode::KernelUnsupported).hint("as root:  modprobe pptp"),
            Self::Taken => {
                of(FailureCode::PeerBusy).hint("try again: the peer then gives the call another ID")
            }
            Self::Exhausted | Self::Refused { .. } => of(FailureCode::KernelRefused),
            Self::Another => of(FailureCode::Internal),
        }
    }
}

impl From<PptpError> for Failure {
    fn from(error: PptpError) -> Self {
        error.failure()
    }
}

/// Whether this kernel has PPTP; loads the module if it can.
///
/// # Errors
/// It has none.
pub fn probe() -> Result<(), PptpError> {
    socket::open().map(drop)
}

/// A call that has our call ID, and not yet the peer's.
#[derive(Debug)]
pub struct BoundCall {
    fd: OwnedFd,
    call_id: u16,
}

/// A call whose GRE flows. Closing it (dropping) may take some 10 ms.
#[derive(Debug)]
pub struct PptpSocket {
    fd: OwnedFd,
    call_id: u16,
}

impl BoundCall {
    /// Takes a call ID that nobody on this host has. `local` is the address that GRE is sent from.
    ///
    /// # Errors
    /// The kernel has no PPTP, or no call ID left.
    pub fn bind(local: Ipv4Addr) -> Result<Self, PptpError> {
        let fd = socket::open()?;
        socket::bind(fd.as_fd(), 0, local).map_err(|errno| match errno {
            Errno::EBUSY => PptpError::Exhausted,
            errno => PptpError::Refused { what: "a call ID", errno },
        })?;
        let call_id =
            socket::call_id(fd.as_fd()).map_err(|errno| PptpError::Refused { what: "the call ID", errno })?;
        Ok(Self { fd, call_id })
    }

    /// Our call ID: the peer writes it into what it sends to us.
    #[must_use]
    pub const fn call_id(&self) -> u16 {
        self.call_id
    }

    /// Lets GRE flow to and from the peer.
    ///
    /// # Errors
    /// There is a call to that peer with that call ID already, or no route.
    pub fn connect(self, peer: Ipv4Addr, peer_call_id: u16) -> Result<PptpSocket, PptpError> {
        socket::connect(self.fd.as_fd(), peer_call_id, peer).map_err(|errno| match errno {
            Errno::EALREADY => PptpError::Taken,
            errno => PptpError::Refused { what: "the call to the peer", errno },
        })?;
        Ok(PptpSocket { fd: self.fd, call_id: self.call_id })
    }
}

impl PptpSocket {
    /// A call that a process before has made, by its socket: that with this call ID, whose GRE leaves from there.
    ///
    /// # Errors
    /// It is another.
    pub fn adopt(fd: OwnedFd, call_id: u16, local: Ipv4Addr) -> Result<Self, PptpError> {
        let is = socket::is_pptp(fd.as_fd()) && socket::name(fd.as_fd()) == Ok((call_id, local));
        if is { Ok(Self { fd, call_id }) } else { Err(PptpError::Another) }
    }

    /// Our call ID.
    #[must_use]
    pub const fn call_id(&self) -> u16 {
        self.call_id
    }
}

impl AsFd for PptpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
