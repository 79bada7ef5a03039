//! Sessions that can be resumed (RFC 5723).

use core::fmt;

use adit_core::{Instant, Secret};
use adit_isakmp::IkeSuite;
use adit_isakmp::payload::Identification;

/// What an initiator resumes a session with (RFC 5723), as [`Event::Ticket`](super::Event::Ticket) gave it. It stands for
/// everything that was proven when the session began, has a key in it, and is used once.
pub struct Ticket {
    /// What the server gave.
    pub(crate) opaque: Vec<u8>,
    pub(crate) until: Instant,
    /// SK_d of the IKE_SA that it came over.
    pub(crate) sk_d: Secret,
    /// That one's algorithms.
    pub(crate) suite: IkeSuite,
    /// IDi and IDr as they were sent.
    pub(crate) initiator: Identification,
    pub(crate) responder: Identification,
    /// A postquantum preshared key is in SK_d.
    pub(crate) ppk: bool,
    /// When identities are to be proven again.
    pub(crate) reauthenticate_at: Option<Instant>,
}

impl Ticket {
    /// It is of no use from then on.
    #[must_use]
    pub const fn until(&self) -> Instant {
        self.until
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("until", &self.until).finish_non_exhaustive()
    }
}
