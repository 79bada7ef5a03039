//! The state machine as a whole: an IKE_SA that is up, and whatever its peer sends into it once the cipher is no
//! obstacle.

use core::time::Duration;
use std::sync::Arc;

use adit_core::{Entropy, Identity, Instant, Path, Prefix, Secret, TrafficSelector, Transmit};
use adit_ikev2::Endpoint;
use adit_ikev2::api::{
    Answer, Ask, ChildMode, Event, FRAGMENT_SIZE, GoesOnBy, InitiatorConfig, Input, Lease, LocalAuth, Output,
    PpkUse, RemoteAuth, ResponderConfig, ResponderDefaults, SaId, Timing, Uniqueness,
};
use adit_isakmp::crypto::{CryptoError, CryptoProvider, KeyExchange, SkCipher};
use adit_isakmp::{Encryption, HEADER_LEN, HeaderView, Integrity, KeMethod, Prf};
use adit_sim::crypto::ToyCrypto;

use crate::{ICV, Open};

const IKE: &str = "aes256gcm16-prfsha256-x25519";
const HYBRID: &str = "aes256gcm16-prfsha256-x25519-ke1_mlkem512-ke2_ecp256";
const IV: usize = 8;
/// What one input may cause to be sent: retransmissions of all that is under way, in fragments.
const MOST: usize = 256;

/// The toy, without a cipher.
struct Clear(ToyCrypto);

impl CryptoProvider for Clear {
    fn prf(&self, prf: Prf, key: &[u8], parts: &[&[u8]], out: &mut [u8]) {
        self.0.prf(prf, key, parts, out);
    }

    fn sha1(&self, parts: &[&[u8]]) -> [u8; 20] {
        self.0.sha1(parts)
    }

    fn sk_cipher(
        &self,
        _: Encryption,
        _: Option<Integrity>,
        _: Secret,
        _: Secret,
    ) -> Result<Box<dyn SkCipher>, CryptoError> {
        Ok(Box::new(Open { block: 1 }))
    }

    fn generate(&self, method: KeMethod) -> Result<Box<dyn KeyExchange>, CryptoError> {
        self.0.generate(method)
    }

    fn encapsulate(&self, method: KeMethod, peer: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
        self.0.encapsulate(method, peer)
    }
}

/// Bytes that count.
struct Counting(u64);

impl Entropy for Counting {
    fn public(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = self.0.to_be_bytes()[0];
        }
    }

    fn secret(&mut self, out: &mut [u8]) {
        self.public(out);
    }
}

struct End {
    endpoint: Endpoint,
    crypto: Arc<Clear>,
    spi: u32,
    sa: Option<SaId>,
    up: bool,
}

impl End {
    fn new(seed: u64, responder: Option<ResponderDefaults>) -> Self {
        let crypto = Arc::new(Clear(ToyCrypto::new(seed)));
        let provider = Arc::clone(&crypto) as Arc<dyn CryptoProvider>;
        let endpoint = Endpoint::new(provider, Box::new(Counting(seed)), responder);
        Self { endpoint, crypto, spi: 0x1000, sa: None, up: false }
    }

    fn give(&mut self, now: Instant, input: Input) -> Vec<Transmit> {
        self.endpoint.handle(now, input);
        self.drain(now)
    }

    /// Answers every Ask at once, and returns what is sent.
    fn drain(&mut self, now: Instant) -> Vec<Transmit> {
        let mut sent = Vec::new();
        while let Some(output) = self.endpoint.poll() {
            match output {
                Output::Transmit(transmit) => sent.push(transmit),
                Output::Event { sa, event } => {
                    self.sa.get_or_insert(sa);
                    self.up |= matches!(event, Event::Established(_));
                }
                Output::Ask { id, ask, .. } => {
                    if let Some(answer) = self.answer(ask) {
                        self.endpoint.handle(now, Input::Answer { id, answer });
                    }
                }
            }
        }
        assert!(sent.len() <= MOST, "{} datagrams for one input", sent.len());
        sent
    }

    fn answer(&mut self, ask: Ask) -> Option<Answer> {
        Some(match ask {
            Ask::Generate(method) => Answer::Generated(self.crypto.generate(method)),
            Ask::Agree { key, peer } => Answer::Agreed(key.agree(&peer)),
            Ask::Encapsulate { method, peer } => Answer::Encapsulated(self.crypto.encapsulate(method, &peer)),
            Ask::Connection { .. } | Ask::Resume { .. } => Answer::Connection(Ok(Box::new(connection()))),
            Ask::Psk { .. } => Answer::Psk(Ok(Secret::from(&b"key"[..]))),
            Ask::Ppk { .. } => Answer::Ppk(Ok(None)),
            Ask::Lease { .. } => Answer::Leased(Ok(Lease::default())),
            Ask::AllocateSpi { .. } => {
                self.spi = self.spi.wrapping_add(1);
                Answer::Spi(Ok(self.spi))
            }
            Ask::Install(_) | Ask::InstallOutbound { .. } => Answer::Installed(Ok(())),
            _ => return None,
        })
    }
}

fn any() -> Vec<TrafficSelector> {
    vec![Prefix::ANY_V4.into()]
}

fn name(text: &str) -> Identity {
    text.parse().expect("an identity")
}

fn connection() -> ResponderConfig {
    ResponderConfig {
        name: "all".into(),
        local_id: name("b.example.com"),
        local_auth: LocalAuth::Psk,
        remote_auth: RemoteAuth::Psk,
        ppk: PpkUse::Off,
        ticket_lifetime: Duration::from_secs(3600),
        esp: vec![
            "aes256gcm16-x25519".parse().expect("a proposal"),
            "aes256gcm16".parse().expect("a proposal"),
            "aes256gcm16-x25519-ke1_ecp256".parse().expect("a proposal"),
        ],
        local_ts: any(),
        remote_ts: any(),
        addresses: false,
        transport: true,
        uniqueness: Uniqueness::default(),
        mobike: None,
        timing: Timing::default(),
    }
}

fn dialled() -> InitiatorConfig {
    InitiatorConfig {
        path: Path {
            local: "192.0.2.1:500".parse().expect("an address"),
            remote: "192.0.2.2:500".parse().expect("an address"),
        },
        ike: vec![IKE.parse().expect("a proposal")],
        esp: vec!["aes256gcm16".parse().expect("a proposal")],
        local_id: name("a.example.com"),
        remote_id: name("b.example.com"),
        local_auth: LocalAuth::Psk,
        remote_auth: RemoteAuth::Psk,
        ppk: None,
        resumable: true,
        ticket: None,
        request_v4: false,
        request_v6: false,
        request_domains: false,
        request_subnets: false,
        former: Default::default(),
        mode: ChildMode::Tunnel,
        more_children: Vec::new(),
        local_ts: any(),
        remote_ts: any(),
        shared_identity: false,
        force_encapsulation: false,
        mobike: None,
        fragment_size: FRAGMENT_SIZE,
        nat_port: 4500,
        local_nat_port: 4500,
        timing: Timing::default(),
    }
}

fn arrives(transmit: &Transmit) -> Input {
    let path = Path { local: transmit.path.remote, remote: transmit.path.local };
    Input::Datagram { path, payload: transmit.payload.clone() }
}

/// A server with one client, whose SPIs and path are returned.
fn up(now: Instant) -> (End, u64, u64, Path) {
    let (_, server, spi_i, spi_r, path) = both(now);
    (server, spi_i, spi_r, path)
}

/// What the client of one that is up, and its server, hand to their next processes.
#[must_use]
pub fn left() -> [Vec<u8>; 2] {
    let (client, server, ..) = both(Instant::ZERO);
    [client, server].map(|end| {
        let left = end.sa.and_then(|sa| end.endpoint.snapshot(sa));
        left.expect("it stands").to_vec()
    })
}

/// What is handed over is refused, or gone on with: then it means the same when it is handed on once more, and it ends by itself
/// when all is silent.
pub fn snapshot(data: &[u8]) {
    snapshot_of(data, |end, data| end.endpoint.restore(Instant::ZERO, data, GoesOnBy::Initiator(&dialled())));
    snapshot_of(data, |end, data| {
        end.endpoint.restore(Instant::ZERO, data, GoesOnBy::Responder(Box::new(connection())))
    });
}

fn snapshot_of(data: &[u8], restore: impl Fn(&mut End, &[u8]) -> Option<adit_ikev2::api::Restored>) {
    let mut now = Instant::ZERO;
    let mut end = End::new(1, None);
    let Some(restored) = restore(&mut end, data) else {
        assert!(end.endpoint.is_empty());
        return;
    };
    end.drain(now);
    if let Some(again) = end.endpoint.snapshot(restored.sa) {
        let mut next = End::new(1, None);
        let same = restore(&mut next, &again).expect("it was written here");
        let spis = |r: &adit_ikev2::api::Restored| -> Vec<_> {
            r.children.iter().map(|c| (c.inbound_spi, c.outbound_spi)).collect()
        };
        assert_eq!((restored.path, &restored.lease, spis(&restored)), (same.path, &same.lease, spis(&same)));
    }
    for _ in 0..2000 {
        let Some((at, _)) = end.endpoint.deadline().filter(|_| !end.endpoint.is_empty()) else { break };
        now = now.max(at);
        end.give(now, Input::Wake);
    }
    assert!(end.endpoint.is_empty(), "it neither ends nor lives");
}

/// A client and its server, and the same.
fn both(now: Instant) -> (End, End, u64, u64, Path) {
    let defaults = ResponderDefaults {
        ike: vec![IKE.parse().expect("a proposal"), HYBRID.parse().expect("a proposal")],
        cookie_threshold: 10,
        half_open_limit: 10,
        half_open_per_address: 10,
        limit: 10,
        authorities: Vec::new(),
        ppk: false,
        fragment_size: FRAGMENT_SIZE,
        timing: Timing::default(),
    };
    let (mut client, mut server) = (End::new(1, None), End::new(2, Some(defaults)));
    client.endpoint.initiate(now, dialled());
    let mut path = dialled().path;
    let mut spis = (0, 0);
    loop {
        let up = client.drain(now);
        if up.is_empty() {
            break;
        }
        for transmit in &up {
            path = Path { local: transmit.path.remote, remote: transmit.path.local };
            for answer in server.give(now, arrives(transmit)) {
                let header = HeaderView::parse(&answer.payload).expect("ours").header();
                spis = (header.initiator_spi, header.responder_spi);
                client.endpoint.handle(now, arrives(&answer));
            }
        }
    }
    assert!(client.up && server.up);
    (client, server, spis.0, spis.1, path)
}

/// A message whose content is `body`.
fn craft(spis: (u64, u64), (exchange, flags, id): (u8, u8, u32), first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&spis.0.to_be_bytes());
    out.extend_from_slice(&spis.1.to_be_bytes());
    out.extend_from_slice(&[46, 0x20, exchange, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    let payload = 4 + IV + body.len() + 1 + ICV;
    let length = u32::try_from(HEADER_LEN + payload).unwrap_or(0);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[first, 0]);
    out.extend_from_slice(&u16::try_from(payload).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&[0; IV]);
    out.extend_from_slice(body);
    out.resize(out.len() + 1 + ICV, 0);
    out
}

/// Decrypted messages in any order into an IKE_SA that is up, and orders of its own driver between them. What comes out
/// is bounded, and when all is silent it ends.
pub fn session(data: &[u8]) {
    let mut now = Instant::ZERO;
    let (mut server, spi_i, spi_r, path) = up(now);
    let mut next = 2_u32;
    let mut rest = data;
    while let Some(([kind, exchange, id, first, high, low], tail)) = rest.split_first_chunk::<6>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (body, tail) = tail.split_at(length);
        rest = tail;
        let response = kind & 1 == 1;
        let message_id = if response { u32::from(*id) } else { next.wrapping_add(u32::from(*id >> 6)) };
        let flags = if response { 0x28 } else { 0x08 };
        let sent = match (kind >> 1 & 7, server.sa) {
            (0, Some(sa)) => server.give(now, Input::Rekey { sa, child: None }),
            (1, _) => {
                now = now + Duration::from_secs(u64::from(*id));
                server.give(now, Input::Wake)
            }
            _ => {
                let what = (34 + exchange % 12, flags, message_id);
                let payload = craft((spi_i, spi_r), what, *first, body);
                server.give(now, Input::Datagram { path, payload })
            }
        };
        let answered =
            |t: &Transmit| HeaderView::parse(&t.payload).is_ok_and(|v| v.header().flags.response());
        if !response && message_id == next && sent.iter().any(answered) {
            next = next.wrapping_add(1);
        }
    }
    for _ in 0..2000 {
        let Some((at, _)) = server.endpoint.deadline().filter(|_| !server.endpoint.is_empty()) else {
            break;
        };
        now = now.max(at);
        server.give(now, Input::Wake);
    }
    assert!(server.endpoint.is_empty(), "it neither ends nor lives");
}
