use adit_core::{Failure, FailureCode, Step};
use nix::errno::Errno;
use thiserror::Error;

use crate::l2tp;

/// Why the kernel's PPP did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PppError {
    /// There is no `/dev/ppp`.
    #[error("this host's kernel has no PPP: /dev/ppp is not there")]
    Missing,
    /// There is one, and we may not open it.
    #[error("/dev/ppp can't be opened: {}", .0.desc())]
    Denied(Errno),
    /// `/dev/net/tun` can't be opened.
    #[error("this host's kernel gives no TUN interface: /dev/net/tun: {}", .0.desc())]
    NoTun(Errno),
    /// It has no L2TP.
    #[error("this host's kernel has no L2TP: {}", .0.desc())]
    NoL2tp(Errno),
    /// The kernel refused.
    #[error("the kernel refused {what}: {}", errno.desc())]
    Refused {
        /// What.
        what: &'static str,
        /// Its error number.
        errno: Errno,
    },
    /// The kernel's answer makes no sense.
    #[error("{0}: the kernel's answer is missing or unreadable")]
    Dialogue(&'static str),
    /// The request makes no sense; the kernel was not asked.
    #[error("{0}")]
    Invalid(String),
}

impl PppError {
    pub(crate) fn refused(what: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::Refused { what, errno }
    }

    /// As a person meets it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let of = |code| Failure::new(code, Step::Kernel, self.to_string());
        match self {
            Self::Missing => of(FailureCode::KernelUnsupported).hint("as root:  modprobe ppp_generic"),
            Self::Denied(Errno::ENXIO | Errno::ENODEV | Errno::ENOENT) => {
                of(FailureCode::KernelUnsupported).hint("as root:  modprobe ppp_generic")
            }
            Self::Denied(_) => of(FailureCode::KernelRefused)
                .hint("the daemon's user needs /dev/ppp and CAP_NET_ADMIN: packaging's udev rule gives it the first"),
            Self::NoTun(Errno::EACCES | Errno::EPERM) => {
                of(FailureCode::KernelRefused).hint("the daemon's user needs /dev/net/tun and CAP_NET_ADMIN")
            }
            Self::NoTun(_) => of(FailureCode::KernelUnsupported).hint("as root:  modprobe tun"),
            Self::NoL2tp(Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT | Errno::EINVAL | Errno::ENOENT) => {
                of(FailureCode::KernelUnsupported).hint("as root:  modprobe -a l2tp_ppp l2tp_netlink")
            }
            Self::NoL2tp(_) => of(FailureCode::KernelRefused),
            Self::Refused { what: l2tp::TUNNEL | l2tp::SESSION, errno: Errno::EEXIST } => of(FailureCode::PeerBusy)
                .hint("another tunnel of this host has the same ID: try again, and it gets another one"),
            Self::Refused { what: "encryption (MPPE)", errno: Errno::EINVAL } => {
                of(FailureCode::KernelUnsupported).hint("as root:  modprobe ppp_mppe")
            }
            Self::Refused { .. } | Self::Dialogue(_) => of(FailureCode::KernelRefused),
            Self::Invalid(_) => of(FailureCode::Internal),
        }
    }
}

impl From<PppError> for Failure {
    fn from(error: PppError) -> Self {
        error.failure()
    }
}
