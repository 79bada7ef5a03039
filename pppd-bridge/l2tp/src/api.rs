//! What goes into an endpoint and what comes out of it.

use core::time::Duration;
use std::sync::Arc;

use adit_core::{Failure, Path, Secret, Transmit};

/// One question. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AskId(pub u64);

/// One control connection. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TunnelNumber(pub u64);

/// One session. Never used twice, whatever tunnel it is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionNumber(pub u64);

/// What brings a peer's messages and takes ours to it, as the driver numbers it: a pair of SAs of IPsec, and those that come in
/// its place. Peers that have one address and port (behind a NAT, both with 1701) are told apart by it. 0: there is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Association(pub u32);

/// An endpoint.
#[derive(Debug)]
pub struct Config {
    /// Our Host Name, at most 255 octets.
    pub host_name: String,
    /// Whether and how others may dial.
    pub listen: Option<Listen>,
    /// Our Receive Window Size: messages that may come too early. At least 1.
    pub window: u16,
    /// Timers.
    pub timing: Timing,
}

/// For who dials us.
#[derive(Debug)]
pub struct Listen {
    /// The secret of both ends: they have to prove that they know it.
    pub secret: Option<Arc<Secret>>,
    /// Whether we hide values that may be hidden. Needs a secret.
    pub hide: bool,
    /// Calls that are taken.
    pub takes: Takes,
    /// How many there may be.
    pub limits: Limits,
}

/// Calls that are taken.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Takes {
    /// An LAC's (ICRQ): we are the LNS.
    pub incoming: bool,
    /// An LNS's (OCRQ): we are the LAC.
    pub outgoing: bool,
}

/// How much others may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Tunnels at once that others have dialled.
    pub tunnels: usize,
    /// Those of them whose other end has not shown that it receives what we send, or that have no session, all together.
    pub unproven: usize,
    /// The same, of one address.
    pub unproven_per_address: usize,
    /// Sessions at once of one tunnel.
    pub sessions: usize,
}

/// A tunnel to be.
#[derive(Clone, Debug)]
pub struct Dial {
    /// From where to where. The peer may answer from another port (§8.1), and from no other address.
    pub path: Path,
    /// The secret of both ends: the peer has to prove that it knows it.
    pub secret: Option<Arc<Secret>>,
    /// Whether we hide values that may be hidden. Needs a secret.
    pub hide: bool,
    /// There is to be one tunnel to this peer, also where it dials us at the same time (Tie Breaker).
    pub only: bool,
    /// The call to place as soon as the tunnel is up.
    pub call: Option<Call>,
    /// Calls of the peer's that are taken.
    pub takes: Takes,
    /// Sessions at once.
    pub sessions: usize,
}

/// A call of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// We are the LAC (ICRQ).
    Incoming,
    /// We are the LNS (OCRQ).
    Outgoing {
        /// Called Number.
        called: String,
    },
}

/// Times (RFC 2661 §5.5, §5.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// The first retransmission's wait, where nothing has been measured, and the shortest one (1 s).
    pub retransmit: Duration,
    /// The longest, at least 8 s.
    pub longest_retransmit: Duration,
    /// Retransmissions without an answer before the peer is lost (5).
    pub retransmissions: u32,
    /// Silence after which the peer is asked by Hello (60 s).
    pub hello: Duration,
    /// How long a tunnel that was dialled by others may take until its other end has shown that it hears us.
    pub setup: Duration,
    /// How long a call may take until it is up.
    pub reply: Duration,
    /// How long a tunnel that others have dialled stands without a session.
    pub empty: Duration,
    /// How long the end of a tunnel is acknowledged again: a whole cycle of retransmissions.
    pub linger: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            retransmit: Duration::from_secs(1),
            longest_retransmit: Duration::from_secs(8),
            retransmissions: 5,
            hello: Duration::from_secs(60),
            setup: Duration::from_secs(20),
            reply: Duration::from_secs(30),
            empty: Duration::from_secs(60),
            linger: Duration::from_secs(31),
        }
    }
}

/// By which rules a tunnel goes on that a process before has left.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The secret of both ends.
    pub secret: Option<Arc<Secret>>,
    /// Whether we hide values that may be hidden. Needs a secret.
    pub hide: bool,
    /// Calls of the peer's that are taken.
    pub takes: Takes,
    /// Sessions at once.
    pub sessions: usize,
}

/// A tunnel that goes on from a snapshot: [`Endpoint::restore`](crate::Endpoint::restore).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// Its name from now on.
    pub tunnel: TunnelNumber,
    /// From where to where its messages go.
    pub path: Path,
    /// By what.
    pub association: Association,
    /// Our Tunnel ID and the peer's.
    pub ids: (u16, u16),
    /// Its sessions, which are up, by their names from now on; whether we are the LNS of each. The kernel carries them.
    pub sessions: Vec<(SessionNumber, Ids, bool)>,
}

/// What the world tells an endpoint.
#[derive(Debug)]
pub enum Input {
    /// A datagram came. Data messages are dropped: they are the kernel's.
    Datagram {
        /// From where to where, as this host sees it.
        path: Path,
        /// What brought it.
        association: Association,
        /// UDP's payload.
        octets: Vec<u8>,
    },
    /// Place a call in a tunnel that is up.
    Place {
        /// Which tunnel.
        tunnel: TunnelNumber,
        /// Which kind.
        call: Call,
    },
    /// End a session, telling the peer.
    Clear {
        /// Which one.
        session: SessionNumber,
    },
    /// End a tunnel with all its sessions, telling the peer.
    Close {
        /// Which one.
        tunnel: TunnelNumber,
    },
    /// There is no such association any more: what came by it is over. Its peers can't be told.
    Bare {
        /// Which one; not 0.
        association: Association,
        /// Why.
        why: Failure,
    },
    /// The answer to an [`Ask`].
    Answer {
        /// Which question.
        id: AskId,
        /// The answer.
        answer: Answer,
    },
    /// The time of [`deadline`](crate::Endpoint::deadline) has come. Any other input does the same.
    Wake,
}

/// What an endpoint wants of the world, in this order.
#[derive(Debug)]
pub enum Output {
    /// Send this datagram.
    Transmit {
        /// From where to where, and what.
        transmit: Transmit,
        /// By what.
        association: Association,
    },
    /// Find this out.
    Ask {
        /// To be given back with the answer.
        id: AskId,
        /// The question.
        ask: Ask,
    },
    /// Something happened.
    Event(Event),
}

/// The IDs by which the kernel knows a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ids {
    /// Our Tunnel ID: in what comes.
    pub tunnel: u16,
    /// The peer's: in what goes.
    pub peer_tunnel: u16,
    /// Our Session ID.
    pub session: u16,
    /// The peer's.
    pub peer_session: u16,
}

/// A question.
#[derive(Debug)]
pub enum Ask {
    /// Data messages are to flow both ways before the answer. → [`Answer::Carried`]
    Carry {
        /// The session's tunnel.
        tunnel: TunnelNumber,
        /// Which session.
        session: SessionNumber,
        /// What its messages have in their headers.
        ids: Ids,
        /// Where they go and come from.
        path: Path,
        /// By what.
        association: Association,
        /// Whether we are the LNS: who then says whether there are sequence numbers.
        lns: bool,
    },
}

/// The answer to an [`Ask`].
#[derive(Debug)]
pub enum Answer {
    /// To [`Ask::Carry`]. A failure refuses the call.
    Carried(Result<(), Failure>),
}

/// Something that the driver wants to know.
#[derive(Debug)]
pub enum Event {
    /// A peer has said who it is. Nothing proves it.
    Peer {
        /// Its tunnel.
        tunnel: TunnelNumber,
        /// Its host name.
        host_name: String,
        /// Its vendor.
        vendor: String,
    },
    /// A control connection is up. Where there is a secret, the peer knows it.
    TunnelUp {
        /// Which one.
        tunnel: TunnelNumber,
        /// Where its messages go and come from, from now on.
        path: Path,
    },
    /// A control connection is over, and its sessions are.
    TunnelDown {
        /// Which one.
        tunnel: TunnelNumber,
        /// Why, unless we were asked to end it.
        why: Result<(), Failure>,
    },
    /// A session is up: PPP begins.
    SessionUp {
        /// Its tunnel.
        tunnel: TunnelNumber,
        /// Which one.
        session: SessionNumber,
        /// The LAC wants sequence numbers in data messages.
        sequencing: bool,
    },
    /// A session is over: what carries it is to be undone.
    SessionDown {
        /// Its tunnel.
        tunnel: TunnelNumber,
        /// Which one.
        session: SessionNumber,
        /// Why, unless we were asked to end it.
        why: Result<(), Failure>,
    },
    /// Somebody's wish for a tunnel was refused, and nothing of it is kept.
    Refused {
        /// Whose.
        path: Path,
        /// Why.
        why: Failure,
    },
}

/// Why a deadline stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// Something is to be sent again.
    Retransmit,
    /// A reply is awaited, or the end of a tunnel.
    Reply,
    /// The peer has been silent: time to ask whether it lives.
    Hello,
}
