//! What is left of an IKE_SA that has just ended with our response to a request: if that response is lost, the peer
//! asks again, and gets it again, instead of asking somebody who is no longer there. And what is left of a first
//! message that was no good: its place among the half-open ones.

use core::time::Duration;

use adit_core::{Instant, Path};

use crate::api::{Answer, AskId, ChildId, Timer};
use crate::fragments::Datagrams;
use crate::snapshot::{Reader, Writer};
use crate::state::{Cx, Datagram, Next, Order, Role, Stage, State};

/// Longer than three retransmissions of most peers.
const TIME: Duration = Duration::from_secs(20);

/// The response to one request, kept for a retransmission of that very request (RFC 7296 §2.1).
pub(crate) struct Answered {
    message_id: u32,
    digest: [u8; 20],
    response: Datagrams,
}

impl Answered {
    /// Digest of a request, taken before it is decrypted in place.
    pub(crate) fn digest(cx: &Cx<'_>, request: &[u8]) -> [u8; 20] {
        cx.shared.crypto.sha1(&[request])
    }

    pub(crate) const fn new(message_id: u32, digest: [u8; 20], response: Datagrams) -> Self {
        Self { message_id, digest, response }
    }

    pub(crate) fn save(&self, w: &mut Writer) {
        w.u32(self.message_id);
        w.fixed(&self.digest);
        self.response.save(w);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Option<Self> {
        Some(Self::new(r.u32()?, r.fixed()?, Datagrams::read(r)?))
    }

    /// Whether it answers a request with this Message ID.
    pub(crate) const fn is_of(&self, message_id: u32) -> bool {
        self.message_id == message_id
    }

    /// Sends the response again, to where the request came from, if it is the same request bit for bit.
    /// `false`: it was not.
    pub(crate) fn repeat(&self, cx: &mut Cx<'_>, datagram: &Datagram) -> bool {
        // [7296:2.1-1] [7296:2.1-2]
        let same = datagram.message_id == self.message_id
            && !datagram.is_response
            && Self::digest(cx, &datagram.bytes) == self.digest;
        if !same {
            cx.ignore();
            return false;
        }
        self.repeat_to(cx, datagram.path);
        true
    }

    /// Sends the response again.
    pub(crate) fn repeat_to(&self, cx: &mut Cx<'_>, path: Path) {
        cx.shared.counters.repeated = cx.shared.counters.repeated.saturating_add(1);
        self.response.transmit(cx, path);
    }
}

/// An IKE_SA that is gone, but for its last response.
pub(crate) struct Linger {
    answered: Answered,
    role: Role,
    our_spi: u64,
    peer_spi: u64,
    until: Instant,
}

impl Linger {
    /// `spis`: ours, the peer's.
    pub(crate) fn new(cx: &Cx<'_>, answered: Answered, role: Role, spis: (u64, u64)) -> Box<Self> {
        Box::new(Self { answered, role, our_spi: spis.0, peer_spi: spis.1, until: cx.now + TIME })
    }
}

impl State for Linger {
    fn datagram(self: Box<Self>, cx: &mut Cx<'_>, datagram: Datagram) -> Next {
        self.answered.repeat(cx, &datagram);
        Next::State(self)
    }

    fn answer(self: Box<Self>, _: &mut Cx<'_>, _: AskId, _: Answer) -> Next {
        Next::State(self)
    }

    fn wake(self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        if cx.now < self.until {
            return Next::State(self);
        }
        Next::Forgotten
    }

    fn close(self: Box<Self>, _: &mut Cx<'_>) -> Next {
        Next::State(self)
    }

    fn close_child(self: Box<Self>, _: &mut Cx<'_>, _: ChildId) -> Next {
        Next::State(self)
    }

    fn input(self: Box<Self>, _: &mut Cx<'_>, _: Order) -> Next {
        Next::State(self)
    }

    fn deadline(&self) -> Option<(Instant, Timer)> {
        Some((self.until, Timer::HalfOpen))
    }

    fn stage(&self) -> Stage {
        Stage::Lingering
    }

    fn role(&self) -> Role {
        self.role
    }

    fn peer_spi(&self) -> Option<u64> {
        Some(self.peer_spi)
    }

    fn our_spi(&self) -> Option<u64> {
        Some(self.our_spi)
    }
}

/// A first message that was no good, in the place that it took.
pub(crate) struct Spent {
    pub(crate) spi_i: u64,
    pub(crate) until: Instant,
}

impl State for Spent {
    fn datagram(self: Box<Self>, cx: &mut Cx<'_>, _: Datagram) -> Next {
        cx.ignore();
        Next::State(self)
    }

    fn answer(self: Box<Self>, _: &mut Cx<'_>, _: AskId, _: Answer) -> Next {
        Next::State(self)
    }

    fn wake(self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        if cx.now < self.until { Next::State(self) } else { Next::Forgotten }
    }

    fn close(self: Box<Self>, _: &mut Cx<'_>) -> Next {
        Next::State(self)
    }

    fn close_child(self: Box<Self>, _: &mut Cx<'_>, _: ChildId) -> Next {
        Next::State(self)
    }

    fn input(self: Box<Self>, _: &mut Cx<'_>, _: Order) -> Next {
        Next::State(self)
    }

    fn deadline(&self) -> Option<(Instant, Timer)> {
        Some((self.until, Timer::HalfOpen))
    }

    fn stage(&self) -> Stage {
        Stage::HalfOpen
    }

    fn role(&self) -> Role {
        Role::Responder
    }

    fn peer_spi(&self) -> Option<u64> {
        Some(self.spi_i)
    }
}
