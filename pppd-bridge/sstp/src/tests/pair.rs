//! A client and a server, a stream in between, and a clock.

use core::time::Duration;
use std::collections::VecDeque;

use adit_core::{Failure, Instant, Secret};

use crate::binding::{CertificateHashes, HashProtocol, Hlak};
use crate::{Call, Config, Event, Input, Output, Role, Timing};

/// IPv4 and IPCP, as PPP hands them over.
pub(super) const DATA: &[u8] = &[0x00, 0x21, 0x45, 1, 2, 3];
pub(super) const CONTROL: &[u8] = &[0x80, 0x21, 1, 1, 0, 4];

pub(super) fn client() -> Config {
    Config {
        role: Role::Client { host: "vpn.example.com".into(), correlation: [3; 16] },
        certificate: CertificateHashes::of(b"certificate"),
        timing: Timing::default(),
    }
}

pub(super) fn server() -> Config {
    let role = Role::Server { nonce: [9; 32], hashes: vec![HashProtocol::Sha256, HashProtocol::Sha1] };
    Config { role, ..client() }
}

pub(super) fn keys(octet: u8) -> Hlak {
    Hlak::of(&Secret::from(&[octet; 32][..]))
}

/// One end, and what has come of it.
pub(super) struct End {
    pub(super) call: Call,
    /// Sent, and not yet taken by the stream.
    pub(super) sent: VecDeque<u8>,
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) events: Vec<Event>,
    pub(super) closed: Option<Result<(), Failure>>,
}

impl End {
    pub(super) fn new(config: Config) -> Self {
        Self {
            call: Call::new(config),
            sent: VecDeque::new(),
            frames: Vec::new(),
            events: Vec::new(),
            closed: None,
        }
    }

    pub(super) fn tell(&mut self, now: Instant, input: Input<'_>) {
        assert!(self.call.poll().is_none(), "it is drained each time");
        let over = self.closed.is_some();
        self.call.handle(now, input);
        while let Some(output) = self.call.poll() {
            assert!(!over, "nothing comes after the end");
            match output {
                Output::Transmit(octets) => self.sent.extend(octets),
                Output::Frame(frame) => self.frames.push(frame),
                Output::Event(event) => self.events.push(event),
                Output::Close(why) => self.closed = Some(why),
            }
        }
    }

    pub(super) fn is_bound(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Bound(_)))
    }
}

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) client: End,
    pub(super) server: End,
}

impl Pair {
    pub(super) fn new(client: Config, server: Config) -> Self {
        let mut pair = Self { now: Instant::ZERO, client: End::new(client), server: End::new(server) };
        pair.client.tell(pair.now, Input::Connected);
        pair.server.tell(pair.now, Input::Connected);
        pair
    }

    /// Everything that is on its way arrives.
    pub(super) fn settle(&mut self) {
        while !self.client.sent.is_empty() || !self.server.sent.is_empty() {
            let to_server: Vec<u8> = self.client.sent.drain(..).collect();
            let to_client: Vec<u8> = self.server.sent.drain(..).collect();
            self.server.tell(self.now, Input::Received(&to_server));
            self.client.tell(self.now, Input::Received(&to_client));
        }
    }

    /// Up to the authentication.
    pub(super) fn link_up() -> Self {
        let mut pair = Self::new(client(), server());
        pair.settle();
        for end in [&pair.client, &pair.server] {
            assert!(end.events.contains(&Event::LinkUp));
        }
        pair
    }

    pub(super) fn bound() -> Self {
        let mut pair = Self::link_up();
        pair.server.tell(pair.now, Input::Authenticated(keys(1)));
        pair.client.tell(pair.now, Input::Authenticated(keys(1)));
        pair.settle();
        assert!(pair.client.is_bound() && pair.server.is_bound());
        pair
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.client.tell(self.now, Input::Wake);
        self.server.tell(self.now, Input::Wake);
    }
}
