//! Certificates made on the spot, and conversations between a peer and an authenticator, each with an engine of its own.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a test"
)]

#[path = "pki.rs"]
mod pki;

use adit_auth::eap::{
    Authenticator, AuthenticatorAsk, AuthenticatorConfig, AuthenticatorStep, InnerConfig, Method, Peer,
    PeerAsk, PeerConfig, PeerStep, UserSecret, Verdict,
};
use adit_auth::mschap::NtHash;
use adit_core::{Entropy, Failure, FailureCode, Secret, Step};
use adit_tls::{ClientConfig, Engine, ServerConfig, eap};

#[allow(unused_imports, reason = "each test file uses a part of it")]
pub use pki::{Ca, Leaf, World, anchors, ca, client, own, server, world};

pub struct Counting(pub u8);

impl Entropy for Counting {
    fn public(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }

    fn secret(&mut self, out: &mut [u8]) {
        self.public(out);
    }
}

/// Our side as the peer.
pub struct Client {
    pub peer: Peer,
    pub engine: Engine,
    pub entropy: Counting,
    pub password: String,
    pub asked: usize,
}

impl Client {
    pub fn new(methods: &[Method], inner: InnerConfig, config: &ClientConfig) -> Self {
        let config_of = PeerConfig {
            identity: "anonymous@example.com".into(),
            user: "ann".into(),
            methods: methods.to_vec(),
            inner,
        };
        Self {
            peer: Peer::new(config_of),
            engine: Engine::client(config).unwrap(),
            entropy: Counting(0),
            password: "secret".into(),
            asked: 0,
        }
    }

    /// Takes a packet, and does all that is asked on the way.
    pub fn packet(&mut self, packet: &[u8]) -> PeerStep {
        let mut step = self.peer.packet(packet);
        loop {
            step = match step {
                PeerStep::Tls(ask) => {
                    // Sent again meanwhile.
                    assert!(matches!(self.peer.packet(packet), PeerStep::Ignore));
                    self.peer.tls(&mut self.entropy, eap::answer(&mut self.engine, ask))
                }
                PeerStep::Ask(ask) => {
                    assert!(!matches!(ask, PeerAsk::NewPassword { .. }), "no new password is asked for");
                    self.asked += 1;
                    let answer = match self.asked {
                        1..=5 => Ok(Secret::from(self.password.as_bytes())),
                        _ => Err(Failure::new(FailureCode::Cancelled, Step::Authenticate, "asked too often")),
                    };
                    self.peer.answer(&mut self.entropy, answer)
                }
                other => return other,
            };
        }
    }
}

/// Our side as the authenticator.
pub struct Server {
    pub authenticator: Authenticator,
    pub engine: Engine,
    pub entropy: Counting,
}

impl Server {
    pub fn begin(methods: &[Method], inner: InnerConfig, config: &ServerConfig) -> (Self, Vec<u8>) {
        let mut entropy = Counting(100);
        let methods = methods.to_vec();
        let ours = AuthenticatorConfig { methods, inner, retries: 0, ..AuthenticatorConfig::new("vpn") };
        let (authenticator, first) = Authenticator::begin(&mut entropy, ours);
        (Self { authenticator, engine: Engine::server(config).unwrap(), entropy }, first)
    }

    pub fn packet(&mut self, packet: &[u8]) -> AuthenticatorStep {
        let mut step = self.authenticator.packet(&mut self.entropy, packet);
        loop {
            step = match step {
                AuthenticatorStep::Tls(ask) => {
                    self.authenticator.tls(&mut self.entropy, eap::answer(&mut self.engine, ask))
                }
                AuthenticatorStep::Ask(AuthenticatorAsk::User { identity }) => {
                    self.authenticator.user(&mut self.entropy, Ok(known(&identity)))
                }
                AuthenticatorStep::Ask(AuthenticatorAsk::StorePassword { .. }) => {
                    panic!("nothing has expired")
                }
                other => return other,
            };
        }
    }
}

/// Ann's password is "secret".
pub fn known(identity: &str) -> Option<UserSecret> {
    let password = || Secret::from(&b"secret"[..]);
    let hash = NtHash::of(&password()).unwrap();
    (identity == "ann").then(|| UserSecret { hash, expired: false, clear: Some(password()) })
}

/// What the carrier does to each packet, in turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Arrives,
    Lost,
    Twice,
}

/// Runs both until both have ended: the peer's verdict and the authenticator's. Packets meet `fates` in turn, over and
/// over; the authenticator sends again what was lost, as the carrier of EAP has it do.
pub fn run(
    client: &mut Client,
    (mut server, first): (Server, Vec<u8>),
    fates: &[Fate],
) -> (Verdict, Verdict) {
    let mut fate = fates.iter().copied().cycle();
    let mut request = first;
    let mut verdicts: (Option<Verdict>, Option<Verdict>) = (None, None);
    for _ in 0..600 {
        let times = match fate.next() {
            Some(Fate::Lost) => 0,
            Some(Fate::Twice) => 2,
            _ => 1,
        };
        let mut responses = Vec::new();
        for _ in 0..times {
            match client.packet(&request) {
                PeerStep::Send(response) => responses.push(response),
                PeerStep::Ended(verdict) => verdicts.0 = Some(verdict),
                PeerStep::Ignore => {}
                other => panic!("{other:?}"),
            }
        }
        if let (Some(_), Some(_)) = (&verdicts.0, &verdicts.1) {
            break;
        }
        for response in responses {
            let times = match fate.next() {
                Some(Fate::Lost) => 0,
                Some(Fate::Twice) => 2,
                _ => 1,
            };
            for _ in 0..times {
                match server.packet(&response) {
                    AuthenticatorStep::Send(next) => request = next,
                    AuthenticatorStep::Ended(last, verdict) => {
                        request = last;
                        verdicts.1 = Some(verdict);
                    }
                    AuthenticatorStep::Ignore => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        // A peer that has ended hears nothing more, and one that is not heard again is given up.
        if verdicts.0.is_some() && verdicts.1.is_none() {
            verdicts.1 =
                Some(Err(Failure::new(FailureCode::PeerLost, Step::Authenticate, "the peer is gone")));
        }
    }
    (verdicts.0.expect("the peer has not ended"), verdicts.1.expect("the server has not ended"))
}
