//! Two links, or one, on a clock that jumps from deadline to deadline; the world answers at once.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::collections::VecDeque;

use adit_core::{Entropy, Failure, FailureCode, Instant, Secret, Step};

use crate::wire::{Packet, Protocol, split_frame};
use adit_auth::mschap::MasterKeys;

use crate::{
    Addresses, Answer, Ask, AuthMethod, Claim, EapConfig, EapStep, Established, Event, Input, KnownUser,
    Link, LinkConfig, Mppe, NameServers, NetworkPlan, Output, Timing,
};

pub(super) struct Dice(pub(super) u64);

impl Entropy for Dice {
    fn public(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 56) as u8;
        }
    }

    fn secret(&mut self, out: &mut [u8]) {
        self.public(out);
    }
}

/// One end, with what it has said.
pub(super) struct End {
    pub(super) link: Link,
    dice: Dice,
    pub(super) passwords: VecDeque<&'static str>,
    pub(super) known: Vec<(&'static str, &'static str)>,
    pub(super) expired: bool,
    gives: bool,
    /// Questions are answered by [`End::answer_late`] only.
    pub(super) slow: bool,
    pub(super) waiting: Vec<(crate::AskId, Ask)>,
    /// TLS goes on for ever; else it fails at once.
    pub(super) tls_goes_on: bool,
    pub(super) stored: Vec<(String, Secret)>,
    pub(super) kernel: Vec<String>,
    pub(super) keys: Vec<(bool, Secret)>,
    /// Keys, encryption, and the frames of CCP between them, in order.
    pub(super) told: Vec<char>,
    pub(super) established: Option<Established>,
    pub(super) closed: Option<Result<(), Failure>>,
    pub(super) sent: Vec<Vec<u8>>,
}

pub(super) fn client() -> LinkConfig {
    LinkConfig {
        mru: 1400,
        compress_header: true,
        prove: vec![AuthMethod::Eap, AuthMethod::MsChapV2],
        demand: Vec::new(),
        name: "ann".into(),
        eap: EapConfig::of(vec![adit_auth::eap::Method::MSCHAPV2]),
        mppe: Mppe::REQUIRED,
        ipv4: true,
        ipv6: true,
        addresses: Addresses::FromPeer { wanted: None, servers: NameServers::ALL },
        timing: Timing::default(),
    }
}

pub(super) fn server() -> LinkConfig {
    LinkConfig {
        prove: Vec::new(),
        demand: vec![AuthMethod::MsChapV2],
        name: "vpn".into(),
        addresses: Addresses::ForPeer,
        ..client()
    }
}

impl End {
    pub(super) fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            slow: false,
            tls_goes_on: false,
            waiting: Vec::new(),
            gives: config.addresses == Addresses::ForPeer,
            link: Link::new(config),
            dice: Dice(seed),
            passwords: VecDeque::from(["secret"]),
            known: vec![("ann", "secret")],
            expired: false,
            stored: Vec::new(),
            kernel: Vec::new(),
            keys: Vec::new(),
            told: Vec::new(),
            established: None,
            closed: None,
            sent: Vec::new(),
        }
    }

    pub(super) fn handle(&mut self, now: Instant, input: Input) -> Vec<Vec<u8>> {
        self.link.handle(now, &mut self.dice, input);
        self.drain(now)
    }

    /// What waits is answered now.
    pub(super) fn answer_late(&mut self, now: Instant) -> Vec<Vec<u8>> {
        for (id, ask) in std::mem::take(&mut self.waiting) {
            let answer = self.answer(ask);
            self.link.handle(now, &mut self.dice, Input::Answer { id, answer });
        }
        self.drain(now)
    }

    fn drain(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(output) = self.link.poll() {
            match output {
                Output::Transmit(frame) => {
                    match frame.get(..3) {
                        Some([0x80, 0xfd, 1]) => self.told.push('q'),
                        Some([0x80, 0xfd, 2]) => self.told.push('a'),
                        _ => {}
                    }
                    self.sent.push(frame.clone());
                    frames.push(frame);
                }
                Output::Ask { id, ask } if self.slow => self.waiting.push((id, ask)),
                Output::Ask { id, ask } => {
                    let answer = self.answer(ask);
                    self.link.handle(now, &mut self.dice, Input::Answer { id, answer });
                }
                Output::Event(Event::Established(facts) | Event::Changed(facts)) => {
                    self.established = Some(*facts);
                }
                Output::Event(Event::Closed(why)) => self.closed = Some(why),
                Output::Event(_) => {}
            }
        }
        frames
    }

    fn user(&self, name: &str) -> Option<KnownUser> {
        let (_, password) = self.known.iter().find(|(n, _)| *n == name)?;
        let user = KnownUser::with_password(Secret::from(password.as_bytes()))?;
        Some(KnownUser { expired: self.expired, ..user })
    }

    fn verify(&self, claim: &Claim) -> Answer {
        Answer::Verdict(Ok(claim.verify(self.user(&claim.name).as_ref())))
    }

    /// A server that asks each peer once by a method that nobody knows here, and then believes a right answer.
    fn radius(&self, packet: &[u8]) -> Result<EapStep, Failure> {
        use adit_auth::eap::{Code, Method, Packet, emit};
        let response = Packet::parse(packet).unwrap();
        let keys = MasterKeys::of_authenticator(Secret::from(&[1; 16][..]), Secret::from(&[2; 16][..]));
        Ok(match (response.method, response.data) {
            (Some(Method::IDENTITY), _) => {
                EapStep::Send(emit(Code::Request, 77, Some(Method(200)), b"say it"))
            }
            (Some(Method(200)), b"right") => {
                let (packet, identity) = (emit(Code::Success, 77, None, &[]), "ann".to_owned());
                EapStep::Accepted { packet, identity, keys }
            }
            _ => {
                let why = Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, "RADIUS: no");
                EapStep::Refused { packet: emit(Code::Failure, 77, None, &[]), why }
            }
        })
    }

    fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Password { .. } | Ask::NewPassword { .. } => {
                let no = || Failure::new(FailureCode::NoSecret, Step::Authenticate, "nobody gave one");
                Answer::Secret(self.passwords.pop_front().map(|p| Secret::from(p.as_bytes())).ok_or_else(no))
            }
            Ask::Verify(claim) => self.verify(&claim),
            Ask::Eap(adit_auth::eap::AuthenticatorAsk::User { identity }) => {
                let known = self.user(&identity);
                let known = known.map(|u| adit_auth::eap::UserSecret {
                    hash: u.hash,
                    expired: u.expired,
                    clear: None,
                });
                Answer::EapUser(Ok(known))
            }
            Ask::Eap(adit_auth::eap::AuthenticatorAsk::StorePassword { identity, password }) => {
                self.stored.push((identity, password));
                Answer::Stored(Ok(()))
            }
            Ask::EapPacket(packet) => Answer::EapStep(self.radius(&packet)),
            Ask::StorePassword { name, password } => {
                self.stored.push((name, password));
                Answer::Stored(Ok(()))
            }
            Ask::Tls { .. } if self.tls_goes_on => {
                Answer::Tls(adit_auth::eap::TlsAnswer { records: vec![22; 9], ..Default::default() })
            }
            // Nobody has a certificate here.
            Ask::Tls { method, .. } => {
                let who = if method.is_some() { "the peer" } else { "the server" };
                let why = Failure::new(FailureCode::CertificateUntrusted, Step::Authenticate, who);
                Answer::Tls(adit_auth::eap::TlsAnswer { failure: Some(why), ..Default::default() })
            }
            Ask::Network { peer } => {
                self.kernel.push(format!("unit for {peer}"));
                Answer::Network(Ok(NetworkPlan {
                    v4: self.gives.then_some((Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 7))),
                    v6: true,
                    dns: vec![Ipv4Addr::new(10, 9, 0, 53), Ipv4Addr::new(10, 9, 0, 54)],
                    wins: vec![Ipv4Addr::new(10, 9, 0, 137)],
                }))
            }
            Ask::Compress(compress) => {
                let way = if compress.transmit { "transmit" } else { "receive" };
                self.kernel.push(format!("{way} {:#x} {}", compress.bits, compress.key.len()));
                self.told.push(if compress.transmit { 't' } else { 'r' });
                self.keys.push((compress.transmit, compress.key));
                Answer::Compressed(Ok(()))
            }
            Ask::Encrypted(stands) => {
                self.told.push(if stands { '+' } else { '-' });
                self.kernel.push(format!("encrypted {stands}"));
                Answer::Compressed(Ok(()))
            }
            Ask::Install(network) => {
                self.kernel.push(format!("{network:?}"));
                Answer::Installed(Ok(()))
            }
        }
    }

    pub(super) fn failure(&self) -> &Failure {
        match &self.closed {
            Some(Err(why)) => why,
            other => panic!("closed: {other:?}"),
        }
    }

    /// Codes of what it has sent of a protocol.
    pub(super) fn codes(&self, protocol: Protocol) -> Vec<u8> {
        self.sent
            .iter()
            .filter_map(|f| split_frame(f).ok())
            .filter(|(p, _)| *p == protocol)
            .filter_map(|(_, packet)| Packet::parse(packet).ok())
            .map(|p| p.code.0)
            .collect()
    }
}

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) a: End,
    pub(super) b: End,
    /// Frames of this protocol do not arrive; these are the first's.
    pub(super) withhold: Option<Protocol>,
    pub(super) withheld: Vec<Vec<u8>>,
}

impl Pair {
    pub(super) fn new(a: LinkConfig, b: LinkConfig) -> Self {
        let (a, b) = (End::new(a, 1), End::new(b, 2));
        Self { now: Instant::ZERO, a, b, withhold: None, withheld: Vec::new() }
    }

    /// Both carriers come up, and everything is said that is to be said at once.
    pub(super) fn up(&mut self) {
        let to_b = self.a.handle(self.now, Input::Up);
        let to_a = self.b.handle(self.now, Input::Up);
        self.exchange(to_a, to_b);
    }

    pub(super) fn exchange(&mut self, to_a: Vec<Vec<u8>>, to_b: Vec<Vec<u8>>) {
        let (mut to_a, mut to_b) = (VecDeque::from(to_a), VecDeque::from(to_b));
        for _ in 0..10_000 {
            let withheld = |f: &Vec<u8>| split_frame(f).is_ok_and(|(p, _)| Some(p) == self.withhold);
            to_a.retain(|f| !withheld(f));
            self.withheld.extend(to_b.iter().filter(|f| withheld(f)).cloned());
            to_b.retain(|f| !withheld(f));
            if let Some(frame) = to_b.pop_front() {
                to_a.extend(self.b.handle(self.now, Input::Frame(frame)));
            } else if let Some(frame) = to_a.pop_front() {
                to_b.extend(self.a.handle(self.now, Input::Frame(frame)));
            } else {
                return;
            }
        }
        let last: Vec<String> = self
            .a
            .sent
            .iter()
            .rev()
            .take(3)
            .chain(self.b.sent.iter().rev().take(3))
            .map(|f| format!("{f:02x?}"))
            .collect();
        panic!("they never stop talking: {last:#?}");
    }

    /// To the next deadline of either, at most until then; whether there was one.
    pub(super) fn sleep(&mut self, until: Instant) -> bool {
        let next =
            [&self.a.link, &self.b.link].into_iter().filter_map(|l| l.deadline()).map(|(at, _)| at).min();
        let Some(at) = next.filter(|at| *at <= until) else { return false };
        self.now = self.now.max(at);
        let to_b = self.a.handle(self.now, Input::Wake);
        let to_a = self.b.handle(self.now, Input::Wake);
        self.exchange(to_a, to_b);
        true
    }

    pub(super) fn run(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while self.sleep(until) {}
        self.now = until;
    }
}
