//! The load initiator against a responder of the same core, and a flood of spoofed first messages between the honest
//! ones: nothing here depends on how fast the machine is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adit_bench::clock;
use adit_bench::load::{Load, Rekey, Target};
use adit_bench::spoof::first_message;
use adit_core::{Path, Prefix, Secret};
use adit_crypto::{OsEntropy, Provider};
use adit_ikev2::Endpoint;
use adit_ikev2::api::*;
use adit_isakmp::crypto::CryptoProvider;

const HALF_OPEN: usize = 100;

struct Responder {
    endpoint: Endpoint,
    provider: Provider,
    socket: UdpSocket,
    local: SocketAddr,
    target: Target,
    leases: u32,
    spis: u32,
    spoofed: u32,
    most_half_open: usize,
    /// IKE_SAs, and CHILD_SAs.
    rekeyed: [u32; 2],
}

impl Responder {
    fn bind() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let local = socket.local_addr().unwrap();
        let target = Target { server: local, ..Target::here().unwrap() };
        let defaults = ResponderDefaults {
            ike: vec![target.ike.parse().unwrap()],
            cookie_threshold: HALF_OPEN / 10,
            half_open_limit: HALF_OPEN,
            half_open_per_address: HALF_OPEN / 4,
            limit: 10_000,
            fragment_size: 1280,
            authorities: Vec::new(),
            ppk: false,
            timing: Timing::default(),
        };
        let crypto = Arc::new(Provider::new());
        Self {
            endpoint: Endpoint::new(crypto, Box::new(OsEntropy::new()), Some(defaults)),
            provider: Provider::new(),
            socket,
            local,
            target,
            leases: 0,
            spis: 0,
            spoofed: 0,
            most_half_open: 0,
            rekeyed: [0; 2],
        }
    }

    /// Until it is `over`; before each datagram come `spoofed` first messages, each from an address of its own.
    fn serve(mut self, spoofed: u32, over: &AtomicBool) -> Self {
        let (mut message, mut buffer) = (first_message(&self.target).unwrap(), [0; 4096]);
        while !over.load(Ordering::Acquire) {
            let received = self.socket.recv_from(&mut buffer);
            if let Ok((length, remote)) = received {
                for _ in 0..spoofed {
                    self.spoofed += 1;
                    message[..8].copy_from_slice(&(u64::from(self.spoofed) + 1).to_be_bytes());
                    let from = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + self.spoofed), 500));
                    self.take(from, message.clone());
                }
                self.take(remote, buffer[..length].to_vec());
            }
            self.endpoint.handle(clock::now(), Input::Wake);
            self.drain();
        }
        self
    }

    fn take(&mut self, remote: SocketAddr, payload: Vec<u8>) {
        let path = Path { local: self.local, remote };
        self.endpoint.handle(clock::now(), Input::Datagram { path, payload });
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll() {
            match output {
                // Whoever was spoofed hears nothing of it.
                Output::Transmit(t) if t.path.remote.ip().is_loopback() => {
                    self.socket.send_to(&t.payload, t.path.remote).unwrap();
                }
                Output::Ask { id, ask, .. } => {
                    let answer = self.answer(ask);
                    self.endpoint.handle(clock::now(), Input::Answer { id, answer });
                }
                Output::Event { event: Event::Rekeyed { .. }, .. } => self.rekeyed[0] += 1,
                Output::Event { event: Event::ChildUp(_), .. } => self.rekeyed[1] += 1,
                Output::Transmit(_) | Output::Event { .. } => {}
            }
            self.most_half_open = self.most_half_open.max(self.endpoint.half_open());
        }
    }

    fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Encapsulate { method, peer } => {
                Answer::Encapsulated(self.provider.encapsulate(method, &peer))
            }
            Ask::Connection { .. } => Answer::Connection(Ok(Box::new(ResponderConfig {
                name: "load".into(),
                local_id: self.target.remote_id.clone(),
                local_auth: LocalAuth::Psk,
                remote_auth: RemoteAuth::Psk,
                ppk: PpkUse::Off,
                ticket_lifetime: std::time::Duration::ZERO,
                esp: vec![self.target.esp.parse().unwrap()],
                local_ts: vec![Prefix::ANY_V4.into()],
                remote_ts: Vec::new(),
                addresses: true,
                transport: false,
                uniqueness: Uniqueness::default(),
                mobike: None,
                timing: Timing::default(),
            }))),
            Ask::Psk { .. } => Answer::Psk(Ok(Secret::from(self.target.psk().as_bytes()))),
            Ask::Lease { .. } => {
                self.leases += 1;
                let v4 = Some(Ipv4Addr::from(0x0a40_0000 + self.leases));
                Answer::Leased(Ok(Lease { v4, ..Lease::default() }))
            }
            Ask::AllocateSpi { .. } => {
                self.spis += 1;
                Answer::Spi(Ok(0x1000 + self.spis))
            }
            Ask::Install(_) | Ask::InstallOutbound { .. } => Answer::Installed(Ok(())),
            other => panic!("{other:?}"),
        }
    }
}

/// Brings `count` up, `spoofed` first messages in between for each datagram; returns how many, and the responder.
fn bring_up(count: usize, spoofed: u32) -> (usize, Responder) {
    let responder = Responder::bind();
    let target = responder.target.clone();
    let over = Arc::new(AtomicBool::new(false));
    let serving = {
        let over = Arc::clone(&over);
        std::thread::spawn(move || responder.serve(spoofed, &over))
    };
    let mut load = Load::new(target, &[Ipv4Addr::LOCALHOST.into()]).unwrap();
    let outcome = load.bring_up(count, 8).unwrap();
    assert_eq!((outcome.done, outcome.failed, outcome.why), (count, 0, None));
    assert_eq!(outcome.latencies.len(), count);
    over.store(true, Ordering::Release);
    (load.up(), serving.join().unwrap())
}

#[test]
fn everybody_gets_in() {
    let (up, responder) = bring_up(100, 0);
    assert_eq!((up, responder.endpoint.established()), (100, 100));
}

#[test]
fn a_flood_of_spoofed_first_messages_locks_nobody_out_and_is_not_remembered() {
    let (up, responder) = bring_up(50, 200);
    assert_eq!((up, responder.endpoint.established()), (50, 50));
    assert!(responder.spoofed >= 20_000, "{}", responder.spoofed);
    assert!(responder.most_half_open <= HALF_OPEN, "{}", responder.most_half_open);
    assert!(responder.endpoint.counters().cookies > 15_000, "{:?}", responder.endpoint.counters());
}

#[test]
fn everything_is_rekeyed_in_turn() {
    let responder = Responder::bind();
    let target = responder.target.clone();
    let over = Arc::new(AtomicBool::new(false));
    let serving = {
        let over = Arc::clone(&over);
        std::thread::spawn(move || responder.serve(0, &over))
    };
    let mut load = Load::new(target, &[Ipv4Addr::LOCALHOST.into()]).unwrap();
    load.bring_up(10, 8).unwrap();
    for what in [Rekey::Ike, Rekey::Child, Rekey::Child, Rekey::Ike] {
        let outcome = load.rekey(what, 25, 4).unwrap();
        assert_eq!((outcome.done, outcome.failed), (25, 0), "{what:?}");
    }
    over.store(true, Ordering::Release);
    let responder = serving.join().unwrap();
    assert_eq!((load.up(), responder.endpoint.established()), (10, 10));
    assert_eq!(responder.rekeyed, [50, 50]);
}
