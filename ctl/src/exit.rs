use adit_core::FailureCode;

/// What the process ends with. Up to 10 the numbers are nmcli's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Status(pub(crate) u8);

impl Status {
    pub(crate) const OK: Self = Self(0);
    pub(crate) const UNKNOWN: Self = Self(1);
    pub(crate) const USAGE: Self = Self(2);
    pub(crate) const TIMEOUT: Self = Self(3);
    pub(crate) const ACTIVATION: Self = Self(4);
    pub(crate) const DEACTIVATION: Self = Self(5);
    pub(crate) const NOT_RUNNING: Self = Self(8);
    pub(crate) const NOT_FOUND: Self = Self(10);
    pub(crate) const AUTHENTICATION: Self = Self(11);
    pub(crate) const CERTIFICATE: Self = Self(12);
    pub(crate) const UNREACHABLE: Self = Self(13);
    pub(crate) const PROPOSAL: Self = Self(14);
    pub(crate) const NO_ROOM: Self = Self(15);
    pub(crate) const KERNEL: Self = Self(16);
    pub(crate) const CONFIGURATION: Self = Self(17);
    pub(crate) const NOT_AUTHORIZED: Self = Self(18);
    pub(crate) const NO_SECRET: Self = Self(19);
    pub(crate) const INTERRUPTED: Self = Self(130);

    /// The status for a failure.
    pub(crate) const fn of(code: FailureCode) -> Self {
        use FailureCode as C;
        match code {
            C::AuthenticationFailed => Self::AUTHENTICATION,
            C::CertificateUntrusted
            | C::CertificateName
            | C::CertificateExpired
            | C::CertificateRevoked
            | C::CertificateUnusable => Self::CERTIFICATE,
            C::NameUnresolved | C::ServerUnreachable | C::PeerLost => Self::UNREACHABLE,
            C::ProposalMismatch | C::TrafficSelectors => Self::PROPOSAL,
            C::NoAddress | C::PeerBusy => Self::NO_ROOM,
            C::PeerMisbehaved | C::PeerClosed | C::Idle | C::Cancelled => Self::ACTIVATION,
            C::KernelUnsupported | C::KernelRefused => Self::KERNEL,
            C::ConfigurationInvalid | C::SecretExposed => Self::CONFIGURATION,
            C::NoSecret => Self::NO_SECRET,
            C::NotFound => Self::NOT_FOUND,
            C::NotAuthorized => Self::NOT_AUTHORIZED,
            C::TimedOut => Self::TIMEOUT,
            C::Internal => Self::UNKNOWN,
        }
    }
}

/// The word that people and scripts see for a failure: its code's, but that there is no daemon is none of its failures.
pub(crate) fn word(code: FailureCode, status: Status) -> &'static str {
    if status == Status::NOT_RUNNING { "daemon-not-running" } else { code.as_str() }
}

/// Every status and what it says, for the man page and `ctl exit-codes`.
pub(crate) const TABLE: &[(Status, &str)] = &[
    (Status::OK, "It worked"),
    (Status::UNKNOWN, "Something unexpected; for ctl doctor: a check failed"),
    (Status::USAGE, "The command line is wrong"),
    (Status::TIMEOUT, "The time of --timeout passed"),
    (Status::ACTIVATION, "The connection did not come up, for another reason than those below"),
    (Status::DEACTIVATION, "The connection did not go down"),
    (Status::NOT_RUNNING, "aditd does not run"),
    (Status::NOT_FOUND, "There is no such profile or connection"),
    (Status::AUTHENTICATION, "Authentication failed: identity, PSK or password"),
    (Status::CERTIFICATE, "The certificate is untrusted, expired, for another name, or unusable"),
    (Status::UNREACHABLE, "The server has no address, does not answer, or stopped answering"),
    (Status::PROPOSAL, "No common algorithms or traffic selectors"),
    (Status::NO_ROOM, "The server is busy or has no address for us"),
    (Status::KERNEL, "This host's kernel lacks something or refused"),
    (Status::CONFIGURATION, "The profile has a mistake, or a secret that others can read"),
    (Status::NOT_AUTHORIZED, "You may not do this"),
    (Status::NO_SECRET, "A secret is needed and nobody gave it"),
    (Status::INTERRUPTED, "Interrupted by Ctrl-C; the connection was taken down"),
];

/// The table as text: a line each.
pub(crate) fn table() -> String {
    TABLE.iter().map(|(status, meaning)| format!("{:>5}  {meaning}\n", status.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_status_in_the_table() {
        for code in FailureCode::ALL {
            assert!(TABLE.iter().any(|(status, _)| *status == Status::of(*code)), "{code}");
        }
    }

    #[test]
    fn numbers_are_unique_and_ours_are_none_of_nmclis() {
        for (n, (a, _)) in TABLE.iter().enumerate() {
            assert!(TABLE.iter().skip(n + 1).all(|(b, _)| a != b));
        }
        // nmcli: 6 and 7 are of devices and deletion, 9 is unused, 65 asks the shell for a file.
        assert!(TABLE.iter().all(|(s, _)| ![6, 7, 9, 65].contains(&s.0)));
    }
}
