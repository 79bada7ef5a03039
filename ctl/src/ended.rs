use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{ConnectError, failure_of};

use crate::exit::Status;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Something failed, and this is what a person is told.
    Failure { about: String, failure: Failure, status: Status },
    /// Everything has been said already.
    Said(Status),
}

impl Ended {
    /// A failure of `about`, a profile's name or nothing.
    pub(crate) fn failed(about: &str, failure: Failure) -> Self {
        let status = Status::of(failure.code);
        Self::Failure { about: about.to_owned(), failure, status }
    }

    /// A call to the daemon that failed.
    pub(crate) fn call(about: &str, error: &zbus::Error) -> Self {
        let failure = failure_of(error);
        let status = if daemon_gone(error) { Status::NOT_RUNNING } else { Status::of(failure.code) };
        Self::Failure { about: about.to_owned(), failure, status }
    }

    /// The same with another status, where the failure's own says nothing more exact than "it did not work".
    pub(crate) fn or(mut self, other: Status) -> Self {
        if let Self::Failure { status, .. } = &mut self
            && matches!(*status, Status::UNKNOWN | Status::ACTIVATION | Status::KERNEL | Status::UNREACHABLE)
        {
            *status = other;
        }
        self
    }

    /// The daemon has ended, or its bus has.
    pub(crate) fn gone(about: &str) -> Self {
        let failure = Failure::new(FailureCode::PeerLost, Step::Profile, "aditd went away")
            .hint("see why: journalctl -u aditd -e; start it: sudo systemctl start aditd");
        Self::Failure { about: about.to_owned(), failure, status: Status::NOT_RUNNING }
    }

    /// There is no way to the daemon.
    pub(crate) fn connect(error: &ConnectError) -> Self {
        let started = "start it: sudo systemctl start aditd (without systemd: sudo aditd)";
        let (code, text, hint, status) = match error {
            ConnectError::NotRunning => {
                (FailureCode::NotFound, "aditd does not run".to_owned(), started, Status::NOT_RUNNING)
            }
            ConnectError::Denied => (
                FailureCode::NotAuthorized,
                "you may not talk to aditd".to_owned(),
                "use sudo, or join the group: sudo usermod -aG adit $USER, then log in again",
                Status::NOT_AUTHORIZED,
            ),
            ConnectError::NoBus(_) => (
                FailureCode::NotFound,
                "there is no system bus to reach aditd by".to_owned(),
                "use the private socket: ctl --bus private …",
                Status::NOT_RUNNING,
            ),
            ConnectError::Bus(error) => (
                FailureCode::Internal,
                format!("aditd cannot be reached: {error}"),
                started,
                Status::NOT_RUNNING,
            ),
        };
        let failure = Failure::new(code, Step::Profile, text).hint(hint);
        Self::Failure { about: String::new(), failure, status }
    }
}

fn daemon_gone(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::InputOutput(_) | zbus::Error::Handshake(_) | zbus::Error::Connection(..) => true,
        zbus::Error::FDO(error) => matches!(
            **error,
            zbus::fdo::Error::ServiceUnknown(_)
                | zbus::fdo::Error::NameHasNoOwner(_)
                | zbus::fdo::Error::NoReply(_)
        ),
        _ => false,
    }
}
