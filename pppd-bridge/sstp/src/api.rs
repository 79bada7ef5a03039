//! What goes into a call and what comes out of it.

use core::time::Duration;

use adit_core::Failure;

use crate::binding::{CertificateHashes, HashProtocol, Hlak};

/// Which end we are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// It has dialled.
    Client {
        /// The server's name as its HTTP `Host` header has it, with the port if that is not 443.
        host: String,
        /// Tells this connection from others in the logs of both ends: a random UUID.
        correlation: [u8; 16],
    },
    /// It was dialled.
    Server {
        /// What binds this connection, and was never used before.
        nonce: [u8; 32],
        /// The hashes that a client may use, best first. Never empty.
        hashes: Vec<HashProtocol>,
    },
}

/// A call.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which end we are.
    pub role: Role,
    /// Of the server's certificate of this TLS session.
    pub certificate: CertificateHashes,
    /// Timers.
    pub timing: Timing,
}

/// Times ([MS-SSTP] §3.1.2, §3.2.2, §3.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// How long each leg of the negotiation may take (60 s): the request, and then what authenticates inside.
    pub negotiation: Duration,
    /// Silence after which the peer is asked by Echo Request, and the time that it then has (60 s).
    pub hello: Duration,
    /// How long an answer to our Call Abort may take (3 s), and the wait after the last one (1 s).
    pub abort: (Duration, Duration),
    /// How long an answer to our Call Disconnect may take (5 s), and the wait after an answer of ours (1 s).
    pub disconnect: (Duration, Duration),
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            negotiation: Duration::from_secs(60),
            hello: Duration::from_secs(60),
            abort: (Duration::from_secs(3), Duration::from_secs(1)),
            disconnect: (Duration::from_secs(5), Duration::from_secs(1)),
        }
    }
}

/// What the world tells a call.
#[derive(Debug)]
pub enum Input<'a> {
    /// TLS is up, and the server's certificate is good.
    Connected,
    /// Octets came out of TLS, in pieces of any size.
    Received(&'a [u8]),
    /// TLS or TCP is closed, or broke.
    Disconnected(Option<Failure>),
    /// PPP sends this frame: its protocol in two octets, then the packet. One that may not pass yet is dropped.
    Frame(&'a [u8]),
    /// Both sides of the PPP link know who the other is, and these are the keys that they have made of it.
    Authenticated(Hlak),
    /// End the call: the peer is told, and has time to answer.
    Stop,
    /// The time of [`deadline`](crate::Call::deadline) has come. Any other input does the same.
    Wake,
}

/// What a call wants of the world, in this order.
#[derive(Debug)]
pub enum Output {
    /// Send these octets by TLS.
    Transmit(Vec<u8>),
    /// A PPP frame came: its protocol in two octets, then the packet. One that may not pass never comes out.
    Frame(Vec<u8>),
    /// Something happened.
    Event(Event),
    /// Close the connection: it is over, for this reason, unless we were asked to. Nothing comes after it.
    Close(Result<(), Failure>),
}

/// Something that the driver wants to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The peer wants an SSTP call. Nothing proves what it says of itself.
    Peer {
        /// Which host the client dialled.
        host: Option<String>,
        /// The client's correlation ID.
        correlation: Option<String>,
    },
    /// PPP may begin.
    LinkUp,
    /// The authentication inside is bound to the certificate outside: packets of the network pass from now on.
    Bound(HashProtocol),
    /// The connection was no SSTP client's, and has been answered as such: this is what it asked for.
    Stranger(String),
}

/// Why a deadline stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// The negotiation.
    Negotiation,
    /// The peer has been silent: time to ask whether it lives.
    Hello,
    /// An abort goes on.
    Abort,
    /// A farewell goes on.
    Disconnect,
}
