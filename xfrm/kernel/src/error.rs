use core::fmt;
use std::io;

use adit_core::{Failure, FailureCode, Step};
use nix::errno::Errno;
use thiserror::Error;

use crate::{PolicyId, StateId};

/// Something that the kernel was asked to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// ALLOCSPI.
    AllocateSpi,
    /// NEWSA.
    AddState(StateId),
    /// UPDSA of a larval state.
    CompleteState(StateId),
    /// UPDSA of a state that carries.
    UpdateState(StateId),
    /// DELSA.
    DeleteState(StateId),
    /// GETSA.
    GetState(StateId),
    /// NEWPOLICY.
    AddPolicy(PolicyId),
    /// UPDPOLICY.
    UpdatePolicy(PolicyId),
    /// DELPOLICY.
    DeletePolicy(PolicyId),
    /// NEWSPDINFO.
    HashPolicies,
    /// A dump of states.
    DumpStates,
    /// A dump of policies.
    DumpPolicies,
    /// Setting what the queue of a link, by its index, does.
    SetQueue(u32),
    /// Looking whether the kernel has an xfrm interface.
    ProbeInterface,
    /// Listening to events.
    Subscribe,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllocateSpi => f.write_str("allocating an SPI"),
            Self::AddState(id) => write!(f, "adding state {id}"),
            Self::CompleteState(id) => write!(f, "completing state {id}"),
            Self::UpdateState(id) => write!(f, "changing state {id}"),
            Self::DeleteState(id) => write!(f, "deleting state {id}"),
            Self::GetState(id) => write!(f, "reading state {id}"),
            Self::AddPolicy(id) => write!(f, "adding policy {id}"),
            Self::UpdatePolicy(id) => write!(f, "replacing policy {id}"),
            Self::DeletePolicy(id) => write!(f, "deleting policy {id}"),
            Self::HashPolicies => f.write_str("setting how policies are found"),
            Self::DumpStates => f.write_str("listing states"),
            Self::DumpPolicies => f.write_str("listing policies"),
            Self::SetQueue(link) => write!(f, "setting the queue of link {link}"),
            Self::ProbeInterface => f.write_str("looking for the xfrm interface"),
            Self::Subscribe => f.write_str("listening to events"),
        }
    }
}

/// Why the kernel's IPsec did not do what it was asked.
#[derive(Debug, Error)]
pub enum XfrmError {
    /// There is no XFRM netlink to talk to.
    #[error("the kernel has no XFRM netlink: {0}")]
    Unavailable(#[source] io::Error),
    /// The kernel refused one operation.
    #[error("the kernel refused {operation}: {}{}", errno.desc(), said(text.as_deref()))]
    Refused {
        /// Which one.
        operation: Operation,
        /// Its error number.
        errno: Errno,
        /// Its own explanation (extended acknowledgement), if it gave one.
        text: Option<String>,
    },
    /// A state that carries cannot be copied: the kernel hides its keys, or its sequence numbers are near their end. A
    /// rekey makes a new one.
    #[error("{0} cannot be moved: {1}")]
    Immovable(StateId, &'static str),
    /// The request makes no sense; the kernel was not asked.
    #[error("{0}")]
    Invalid(String),
    /// The conversation with the kernel broke off. What was asked may or may not have been done.
    #[error("{operation}: the kernel's answer is missing or unreadable: {why}")]
    Dialogue {
        /// During which operation.
        operation: Operation,
        /// How.
        why: String,
    },
}

fn said(text: Option<&str>) -> String {
    text.map(|t| format!(" ({t})")).unwrap_or_default()
}

impl XfrmError {
    /// The kernel's error number, if it gave one.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// As a person meets it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let of = |code| Failure::new(code, Step::Kernel, self.to_string());
        match self {
            Self::Unavailable(_) => of(FailureCode::KernelUnsupported).hint("modprobe xfrm_user"),
            Self::Invalid(_) => of(FailureCode::Internal),
            Self::Dialogue { .. } | Self::Immovable(..) => of(FailureCode::KernelRefused),
            Self::Refused { errno: Errno::EPERM, .. } => of(FailureCode::KernelRefused)
                .hint("aditd needs CAP_NET_ADMIN: start it as a service (systemctl start adit) or as root"),
            Self::Refused { errno: Errno::EPROTONOSUPPORT, .. } => {
                of(FailureCode::KernelUnsupported).hint("modprobe esp4 esp6; ctl doctor")
            }
            Self::Refused { errno: Errno::ENOSYS | Errno::ENOENT | Errno::EOPNOTSUPP, .. } => {
                of(FailureCode::KernelUnsupported).hint("ctl doctor names the missing kernel module")
            }
            Self::Refused { .. } => of(FailureCode::KernelRefused),
        }
    }
}
impl From<XfrmError> for Failure {
    fn from(error: XfrmError) -> Self {
        error.failure()
    }
}
