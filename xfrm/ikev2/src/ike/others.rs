//! IKE_SAs beside the one that is in use: what it was rekeyed from, and what was made for no use (RFC 7296 §2.8,
//! §2.8.2, §2.25.2). They answer, and are deleted; nothing new is begun on them.

use core::time::Duration;

use adit_core::Instant;
use adit_isakmp::{ExchangeType, IkeSuite};

use super::child::TIDY_AFTER;
use super::{Ike, Sa};
use crate::api::Event;
use crate::request::Retry;
use crate::state::{Cx, Role};
use crate::task::{Running, Task, delete};

/// So long the last response of one that is gone is repeated: longer than three retransmissions of most peers.
const GONE_FOR: Duration = Duration::from_secs(20);

/// One of them.
pub(super) struct Other {
    pub(super) sa: Sa,
    pub(super) standing: Standing,
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// The peer made it while our own rekey is on its way: one of both stays (§2.8.2).
    Candidate,
    /// The peer is to delete it until then.
    Replaced(Instant),
    /// We delete it.
    Deleting,
    /// Only its last response is left.
    Gone(Instant),
}

impl Ike {
    /// The IKE_SA with this SPI of ours.
    pub(super) fn sa_of(&mut self, spi: u64) -> Option<&mut Sa> {
        if self.sa.our_spi() == spi {
            return Some(&mut self.sa);
        }
        self.others.iter_mut().find(|o| o.sa.our_spi() == spi).map(|o| &mut o.sa)
    }

    /// A new IKE_SA that takes the place of the one in use. `ours`: we have asked for it, and delete the old one.
    pub(crate) fn succeed(&mut self, cx: &mut Cx<'_>, new: Sa, ours: bool) {
        let ike: IkeSuite = new.suite;
        self.drop_pending(cx);
        // [7296:2.8-3]
        let standing = if ours { Standing::Deleting } else { Standing::Replaced(cx.now + TIDY_AFTER) };
        let mut old = core::mem::replace(&mut self.sa, new);
        // NAT detection hashes the SPIs too.
        self.sa.channel.nat.seen = None;
        // What waits for the driver has not begun as far as the peer knows.
        if let Some(running) = old.take_current(|_, _| true) {
            running.abandoned(cx);
        }
        self.others.push(Other { sa: old, standing });
        self.rekey_at = cx.after_most_of(self.policy.timing.rekey_ike);
        self.expires_at = cx.life(self.policy.timing.rekey_ike);
        self.in_step();
        self.ticket_is_old(cx);
        cx.event(Event::Rekeyed { ike });
    }

    /// The peer has made an IKE_SA while our own rekey is on its way.
    pub(crate) fn keep_candidate(&mut self, new: Sa) {
        self.others.push(Other { sa: new, standing: Standing::Candidate });
    }

    /// The peer's one takes the place of the one in use: ours came to nothing. `false`: there is none.
    pub(crate) fn take_candidate(&mut self, cx: &mut Cx<'_>) -> bool {
        let candidate = |o: &mut Other| o.standing == Standing::Candidate;
        let Some(other) = self.others.extract_if(.., candidate).next() else {
            return false;
        };
        self.succeed(cx, other.sa, false);
        true
    }

    /// Ours stays: the peer is to delete its own.
    pub(crate) fn refuse_candidate(&mut self, cx: &Cx<'_>) {
        for other in self.others.iter_mut().filter(|o| o.standing == Standing::Candidate) {
            other.standing = Standing::Replaced(cx.now + TIDY_AFTER);
        }
    }

    /// One of ours that was made for no use.
    pub(crate) fn delete_redundant(&mut self, sa: Sa) {
        self.others.push(Other { sa, standing: Standing::Deleting });
    }

    /// The peer has deleted it, or has answered our deletion. `false`: it is the one in use.
    pub(super) fn other_gone(&mut self, cx: &mut Cx<'_>, spi: u64) -> bool {
        let Some(other) = self.others.iter_mut().find(|o| o.sa.our_spi() == spi) else {
            return false;
        };
        other.standing = Standing::Gone(cx.now + GONE_FOR);
        if let Some(current) = other.sa.current.take() {
            current.running.abandoned(cx);
        }
        if other.sa.answered.is_none() {
            self.others.retain(|o| o.sa.our_spi() != spi);
            cx.release_spi(spi);
        }
        true
    }

    /// Whether this one still has a meaning for the peer.
    pub(super) fn is_gone(&self, spi: u64) -> bool {
        let gone = |o: &Other| o.sa.our_spi() == spi && matches!(o.standing, Standing::Gone(_));
        self.others.iter().any(gone)
    }

    /// When something is to be done for one of them.
    pub(super) fn others_at(&self) -> Option<Instant> {
        let one = |o: &Other| {
            let until = match o.standing {
                Standing::Replaced(until) | Standing::Gone(until) => Some(until),
                Standing::Candidate | Standing::Deleting => None,
            };
            [until, o.sa.retransmits_at(), o.sa.gives_up_at()].into_iter().flatten().min()
        };
        self.others.iter().filter_map(one).min()
    }

    /// Does what is due for them.
    pub(super) fn wake_others(&mut self, cx: &mut Cx<'_>) {
        let mut lost = Vec::new();
        for other in &mut self.others {
            // Whether the peer lives is found out by the one in use.
            let given_up = other.sa.wake(cx).0 == Retry::GivenUp;
            match other.standing {
                Standing::Gone(until) if until <= cx.now => lost.push(other.sa.our_spi()),
                Standing::Replaced(until) if until <= cx.now => other.standing = Standing::Deleting,
                _ if given_up => lost.push(other.sa.our_spi()),
                _ => {}
            }
        }
        self.others.retain(|o| !lost.contains(&o.sa.our_spi()));
        lost.into_iter().for_each(|spi| cx.release_spi(spi));
        self.others.shrink_to_fit();
    }

    /// Sends the deletions that can be sent.
    pub(super) fn delete_others(&mut self, cx: &mut Cx<'_>) {
        let timing = self.policy.timing;
        for other in &mut self.others {
            // [7296:2.8-3]
            if other.standing == Standing::Deleting && other.sa.current.is_none() {
                let task = Running::Informational(Task::DeleteIke);
                let _ = other.sa.send(cx, task, ExchangeType::INFORMATIONAL, delete::build_ike(), &timing);
            }
        }
    }

    /// Whether the peer has made one while our own rekey is on its way.
    pub(crate) fn has_candidate(&self) -> bool {
        self.others.iter().any(|o| o.standing == Standing::Candidate)
    }

    /// Whether the header of a datagram is one of an IKE_SA here: our SPI, the peer's, and who began it.
    pub(super) fn has_sa(&self, ours: u64, theirs: u64, role: Role) -> bool {
        let fits =
            |sa: &Sa| sa.our_spi() == ours && sa.channel.peer_spi() == theirs && sa.channel.role == role;
        fits(&self.sa) || self.others.iter().any(|o| fits(&o.sa))
    }

    /// Gives all SPIs back but this one.
    pub(super) fn release_spis(&mut self, cx: &mut Cx<'_>, kept: Option<u64>) {
        for current in self
            .sa
            .current
            .take()
            .into_iter()
            .chain(self.others.iter_mut().filter_map(|o| o.sa.current.take()))
        {
            current.running.abandoned(cx);
        }
        let all = self.others.iter().map(|o| o.sa.our_spi()).chain([self.sa.our_spi()]);
        all.filter(|spi| Some(*spi) != kept).for_each(|spi| cx.release_spi(spi));
    }
}
