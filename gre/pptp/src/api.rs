//! What goes into a control connection and what comes out of it.

use core::time::Duration;

use adit_core::Failure;

/// One question. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AskId(pub u64);

/// One call of a control connection. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallNumber(pub u64);

/// Which end we are (RFC 2637 §1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// PPTP Network Server: it has dialled, and places a call.
    Pns,
    /// PPTP Access Concentrator: it was dialled, and takes calls.
    Pac,
}

/// A control connection.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which end we are.
    pub role: Role,
    /// Our name, at most 63 octets.
    pub host_name: String,
    /// Calls at once, as PAC.
    pub calls: usize,
    /// Timers.
    pub timing: Timing,
}

/// Times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// How long a reply may take while the connection and its calls are set up.
    pub reply: Duration,
    /// As PAC: a new connection that says nothing for so long is closed (30 s, as Windows has it).
    pub idle: Duration,
    /// Silence after which the peer is asked by Echo-Request, and the time that it then has (RFC 2637 §3.1.4: 60 s).
    pub echo: Duration,
    /// How long the answers to our farewell may take.
    pub farewell: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            reply: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            echo: Duration::from_secs(60),
            farewell: Duration::from_secs(2),
        }
    }
}

/// What the world tells a control connection.
pub enum Input {
    /// TCP is connected.
    Connected,
    /// Octets came.
    Received(Vec<u8>),
    /// TCP is closed, or broke.
    Disconnected(Option<Failure>),
    /// The answer to an [`Ask`].
    Answer {
        /// Which question.
        id: AskId,
        /// The answer.
        answer: Answer,
    },
    /// End a call: it is disconnected at both ends.
    Clear {
        /// Which one.
        call: CallNumber,
    },
    /// End the connection with all its calls.
    Stop,
    /// The time of [`deadline`](crate::Control::deadline) has come. Any other input does the same.
    Wake,
}

/// What a control connection wants of the world, in this order.
pub enum Output {
    /// Send these octets.
    Transmit(Vec<u8>),
    /// Find this out.
    Ask {
        /// To be given back with the answer.
        id: AskId,
        /// For which call.
        call: CallNumber,
        /// The question.
        ask: Ask,
    },
    /// Something happened.
    Event(Event),
    /// Close TCP: it is over, for this reason, unless we were asked to. Nothing comes after it.
    Close(Result<(), Failure>),
}

/// A question.
#[derive(Debug)]
pub enum Ask {
    /// A call ID of ours. With the peer's: GRE is to flow both ways before the answer. → [`Answer::CallId`]
    Open {
        /// The peer's call ID, where it is known already.
        peer: Option<u16>,
    },
}

/// The answer to an [`Ask`].
pub enum Answer {
    /// To [`Ask::Open`]. A failure refuses the call.
    CallId(Result<u16, Failure>),
}

/// Something that the driver wants to know.
#[derive(Debug)]
pub enum Event {
    /// The peer has said who it is. Nothing proves it.
    Peer {
        /// Its host name.
        host_name: String,
        /// Its vendor.
        vendor: String,
    },
    /// A call is up: GRE may flow.
    CallUp {
        /// Which one.
        call: CallNumber,
        /// Our call ID.
        local: u16,
        /// The peer's.
        peer: u16,
    },
    /// A call is over.
    CallDown {
        /// Which one.
        call: CallNumber,
        /// Why, unless we were asked to end it.
        why: Result<(), Failure>,
    },
}

/// Why a deadline stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// A reply is awaited.
    Reply,
    /// The peer has been silent: time to ask whether it lives.
    Echo,
    /// Our farewell has waited long enough.
    Farewell,
}
