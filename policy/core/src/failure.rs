use core::fmt;

use thiserror::Error;

/// A failure as a person meets it: what happened, at which step, what the peer said, and what to do next.
///
/// The same value travels from a core over D-Bus (`LastError`) to `ctl`. It never holds a secret.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{text}")]
pub struct Failure {
    /// What kind it is: stable, for scripts and exit codes.
    pub code: FailureCode,
    /// Where it happened.
    pub step: Step,
    /// What happened and what it means, one or two sentences.
    pub text: String,
    /// What the peer said, in the protocol's own word (`AUTHENTICATION_FAILED`), if it said anything.
    pub peer: Option<String>,
    /// What to type or change next.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a peer's word or a hint.
    #[must_use]
    pub fn new(code: FailureCode, step: Step, text: impl Into<String>) -> Self {
        Self { code, step, text: text.into(), peer: None, hint: None }
    }

    /// The same, with what the peer said.
    #[must_use]
    pub fn said(mut self, peer: impl Into<String>) -> Self {
        self.peer = Some(peer.into());
        self
    }

    /// The same, with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable word for it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The value that `word` stands for.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// What kind of failure it is. Words are stable; new ones may come.
    FailureCode {
        /// The peer did not accept who we are, or could not prove who it is, by PSK or password.
        AuthenticationFailed = "authentication-failed",
        /// The peer's certificate does not lead to a trusted authority.
        CertificateUntrusted = "certificate-untrusted",
        /// The peer's certificate is not for the name that was dialled.
        CertificateName = "certificate-name",
        /// The peer's certificate, or one of its chain, is outside its dates.
        CertificateExpired = "certificate-expired",
        /// The peer's certificate, or one of its chain, has been revoked.
        CertificateRevoked = "certificate-revoked",
        /// The peer's certificate may not be used for this, or is malformed.
        CertificateUnusable = "certificate-unusable",
        /// The server's name has no address.
        NameUnresolved = "name-unresolved",
        /// The server does not answer.
        ServerUnreachable = "server-unreachable",
        /// No common set of algorithms.
        ProposalMismatch = "proposal-mismatch",
        /// No common traffic selectors.
        TrafficSelectors = "traffic-selectors",
        /// The server has no address for us, or none was free.
        NoAddress = "no-address",
        /// The peer broke the protocol.
        PeerMisbehaved = "peer-misbehaved",
        /// The peer ended the connection.
        PeerClosed = "peer-closed",
        /// The peer stopped answering.
        PeerLost = "peer-lost",
        /// The peer asked to come back later, or is out of room.
        PeerBusy = "peer-busy",
        /// This host's kernel lacks something.
        KernelUnsupported = "kernel-unsupported",
        /// This host's kernel refused.
        KernelRefused = "kernel-refused",
        /// The profile or server.toml has a mistake.
        ConfigurationInvalid = "configuration-invalid",
        /// A file holds a secret that others can read.
        SecretExposed = "secret-exposed",
        /// A secret is needed and nobody gave it.
        NoSecret = "no-secret",
        /// There is no such profile or connection.
        NotFound = "not-found",
        /// The caller may not do this.
        NotAuthorized = "not-authorized",
        /// The caller's own time limit passed.
        TimedOut = "timed-out",
        /// Nothing went through it for as long as its profile lets it be so.
        Idle = "idle",
        /// Somebody took it down.
        Cancelled = "cancelled",
        /// A defect in Adit.
        Internal = "internal",
    }
}

words! {
    /// Where in the life of a connection something happened.
    Step {
        /// Reading the profile.
        Profile = "profile",
        /// Looking at what the kernel offers.
        Kernel = "kernel",
        /// Looking up the server's name.
        Resolve = "resolve",
        /// A control connection, and a call on it (PPTP); TLS, and the call inside of it (SSTP).
        Call = "call",
        /// LCP: the link itself.
        Link = "link",
        /// IKE_SA_INIT: the first exchange.
        IkeInit = "ike-sa-init",
        /// IKE_AUTH: proving identities.
        Authenticate = "authenticate",
        /// Encryption of a link by itself (MPPE).
        Encryption = "encryption",
        /// Getting addresses.
        Address = "address",
        /// Negotiating or installing the CHILD_SA.
        Child = "child-sa",
        /// Links, addresses, routes, rules.
        Network = "network",
        /// After it was up.
        Established = "established",
        /// Taking it down.
        Close = "close",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_round_trip() {
        for code in FailureCode::ALL {
            assert_eq!(FailureCode::from_word(code.as_str()), Some(*code));
        }
        for step in Step::ALL {
            assert_eq!(Step::from_word(step.as_str()), Some(*step));
        }
    }
}
