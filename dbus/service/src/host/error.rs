use std::io;

use adit_core::{Failure, FailureCode, Step};
use nix::errno::Errno;
use thiserror::Error;

/// Why the host's network is not as it was asked to be.
#[derive(Debug, Error)]
pub enum HostError {
    /// The kernel refused.
    #[error("the kernel refused {what}: {}", errno.desc())]
    Refused {
        /// What was asked.
        what: String,
        /// Its error number.
        errno: Errno,
    },
    /// A file could not be read or written.
    #[error("{what}: {why}")]
    File {
        /// What was being done, with the file's name.
        what: String,
        /// Why it failed.
        #[source]
        why: io::Error,
    },
    /// There is no such link (any more).
    #[error("there is no link \"{0}\"")]
    NoLink(String),
    /// There is no `nft` program.
    #[error("there is no nft program in /usr/sbin, /sbin or /usr/bin")]
    NoNft,
    /// `nft` refused a table.
    #[error("nft refused table {table}: {said}")]
    Nft {
        /// Which one.
        table: String,
        /// Its own words.
        said: String,
    },
    /// The netlink conversation broke off.
    #[error("{what}: no answer from the kernel")]
    NoAnswer {
        /// What was asked.
        what: String,
    },
    /// Whoever sees to this host's names does not do what is asked.
    #[error("{who}: {said}")]
    Names {
        /// Who that is.
        who: String,
        /// Its own words.
        said: String,
    },
    /// The request makes no sense; nobody was asked.
    #[error("{0}")]
    Invalid(String),
}

impl HostError {
    /// The kernel's error number, if it gave one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::File { why, .. } => why.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }

    /// As a person meets it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let of = |code| Failure::new(code, Step::Network, self.to_string());
        match (self, self.errno()) {
            (Self::NoNft, _) => of(FailureCode::KernelUnsupported).hint("apt install nftables"),
            (Self::Nft { .. }, _) => of(FailureCode::KernelRefused).hint("modprobe nf_tables; ctl doctor"),
            (_, Some(Errno::EPERM | Errno::EACCES)) => of(FailureCode::KernelRefused)
                .hint("aditd needs CAP_NET_ADMIN: start it as a service (systemctl start adit) or as root"),
            (_, Some(Errno::EOPNOTSUPP)) => {
                of(FailureCode::KernelUnsupported).hint("modprobe xfrm_interface; ctl doctor")
            }
            (_, Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH)) => {
                of(FailureCode::ServerUnreachable).hint("this host has no route there: ip route get ADDRESS")
            }
            (Self::Invalid(_), _) => of(FailureCode::Internal),
            _ => of(FailureCode::KernelRefused),
        }
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        error.failure()
    }
}
