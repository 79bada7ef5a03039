//! IKEv1: its messages, and a connection that is up with whatever its peer sends into it once neither the cipher nor the
//! HASH is an obstacle.

use core::time::Duration;
use std::sync::Arc;

use adit_core::{Entropy, Instant, Path, Prefix, Secret, Transmit};
use adit_ikev1::Endpoint;
use adit_ikev1::api::{
    Answer, Ask, Auth, AuthMethod, ChildMode, Event, InitiatorConfig, Input, Output, ResponderConfig,
    ResponderDefaults, Restored, Rules, SaId, Timing,
};
use adit_isakmp::api::ChildMode as Mode;
use adit_isakmp::crypto::{CryptoError, CryptoProvider, KeyExchange, SkCipher};
use adit_isakmp::payload::Protocol;
use adit_isakmp::proposal::{EspProposal, IkeProposal};
use adit_isakmp::v1::proposal::{
    Encapsulation, choose_esp, choose_ike, describe_esp, describe_ike, offer_ike, read_lifetime,
};
use adit_isakmp::v1::{
    Cbc, CertData, Delete, Fragment, Identification, Message, Notify, NotifyKind, Payload, Provider, emit,
};
use adit_isakmp::{Encryption, ExchangeType, Flags, HeaderView, Integrity, KeMethod, Prf, VERSION_1};
use adit_sim::crypto::ToyCrypto;

const IKE: &str = "aes256-sha256-modp2048";
const ESP: &str = "aes256-sha256";
/// What one input may cause to be sent.
const MOST: usize = 256;

/// A whole datagram, and the same as what was decrypted: whatever was understood means the same after it was written and
/// read again.
pub fn message(data: &[u8]) {
    for padded in [false, true] {
        let Ok(message) = Message::parse(data, padded) else {
            continue;
        };
        let payloads: Vec<Payload> = message.iter().cloned().collect();
        let written = emit(&message.header, &payloads).expect("what was read fits its length fields");
        let again = Message::parse(&written, false).expect("what was written can be read");
        assert_eq!(again.iter().cloned().collect::<Vec<_>>(), payloads);
        payloads.iter().for_each(look_at);
    }
}

fn look_at(payload: &Payload) {
    match payload {
        Payload::Sa(sa) => {
            assert!(describe_ike(sa).len() < 8192);
            let auths = [AuthMethod::Psk, AuthMethod::RsaSignatures];
            if let Ok(chosen) = choose_ike(&IkeProposal::legacy_defaults(), &auths, sa) {
                assert_eq!(chosen.answer.proposals.len(), 1);
            }
            for how in [Encapsulation::Plain, Encapsulation::Udp, Encapsulation::UdpDraft] {
                assert!(describe_esp(sa, how).len() < 8192);
                for mode in [Mode::Tunnel, Mode::Transport] {
                    let _ = choose_esp(&EspProposal::legacy_defaults(), (mode, how), sa);
                }
            }
        }
        Payload::Id(id) => {
            if let Some(ts) = id.selector() {
                let said = Identification::traffic(ts).expect("one port or all");
                assert_eq!(said.selector(), Some(ts));
            }
            let _ = id.identity();
        }
        Payload::Notify(notify) => _ = read_lifetime(&notify.data),
        _ => {}
    }
}

/// The toy, whose cipher changes nothing and whose PRF says 0.
struct Open(ToyCrypto);

impl CryptoProvider for Open {
    fn prf(&self, _: Prf, _: &[u8], _: &[&[u8]], out: &mut [u8]) {
        out.fill(0);
    }

    fn sha1(&self, parts: &[&[u8]]) -> [u8; 20] {
        self.0.sha1(parts)
    }

    fn sk_cipher(
        &self,
        encryption: Encryption,
        integrity: Option<Integrity>,
        key: Secret,
        integrity_key: Secret,
    ) -> Result<Box<dyn SkCipher>, CryptoError> {
        self.0.sk_cipher(encryption, integrity, key, integrity_key)
    }

    fn generate(&self, method: KeMethod) -> Result<Box<dyn KeyExchange>, CryptoError> {
        self.0.generate(method)
    }

    fn encapsulate(&self, method: KeMethod, peer: &[u8]) -> Result<(Vec<u8>, Secret), CryptoError> {
        self.0.encapsulate(method, peer)
    }
}

impl Provider for Open {
    fn hash(&self, prf: Prf, parts: &[&[u8]]) -> Vec<u8> {
        self.0.hash(prf, parts)
    }

    fn cbc(&self, _: Encryption, _: &Secret) -> Result<Box<dyn Cbc>, CryptoError> {
        Ok(Box::new(Nothing))
    }
}

struct Nothing;

impl Cbc for Nothing {
    fn encrypt(&self, _: &[u8], _: &mut [u8]) -> Result<(), CryptoError> {
        Ok(())
    }

    fn decrypt(&self, _: &[u8], _: &mut [u8]) -> Result<(), CryptoError> {
        Ok(())
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
    crypto: Arc<Open>,
    spi: u32,
    sa: Option<SaId>,
    up: bool,
}

impl End {
    fn new(seed: u64, responder: Option<ResponderDefaults>) -> Self {
        let crypto = Arc::new(Open(ToyCrypto::new(seed)));
        let provider = Arc::clone(&crypto) as Arc<dyn Provider>;
        let endpoint = Endpoint::new(provider, Box::new(Counting(seed)), responder);
        Self { endpoint, crypto, spi: 0x1000, sa: None, up: false }
    }

    fn give(&mut self, now: Instant, input: Input) -> Vec<Transmit> {
        self.endpoint.handle(now, input);
        self.drain(now)
    }

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
            Ask::Connection { .. } => Answer::Connection(Ok(Box::new(connection()))),
            Ask::Psk { .. } => Answer::Psk(Ok(Secret::from(&b"key"[..]))),
            Ask::AllocateSpi { .. } => {
                self.spi = self.spi.wrapping_add(1);
                Answer::Spi(Ok(self.spi))
            }
            Ask::Install(_) | Ask::InstallOutbound { .. } => Answer::Installed(Ok(())),
            Ask::Verify { .. } | Ask::Sign { .. } => return None,
        })
    }
}

fn connection() -> ResponderConfig {
    ResponderConfig {
        name: "all".into(),
        local_id: "b.example.com".parse().expect("an identity"),
        own: Vec::new(),
        esp: vec![ESP.parse().expect("a proposal"), "aes256-sha256-modp2048".parse().expect("a proposal")],
        mode: ChildMode::Transport,
        local_ts: vec![Prefix::ANY_V4.into()],
        remote_ts: vec![Prefix::ANY_V4.into()],
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
        esp: vec![ESP.parse().expect("a proposal")],
        local_id: "a.example.com".parse().expect("an identity"),
        remote_id: None,
        auth: Auth::Psk,
        aggressive: false,
        mode: ChildMode::Transport,
        local_ts: Prefix::ANY_V4.into(),
        remote_ts: Prefix::ANY_V4.into(),
        fragment_size: 1280,
        force_encapsulation: false,
        nat_port: 4500,
        local_nat_port: 4500,
        timing: Timing::default(),
    }
}

fn arrives(transmit: &Transmit) -> Input {
    let path = Path { local: transmit.path.remote, remote: transmit.path.local };
    Input::Datagram { path, payload: transmit.payload.clone() }
}

/// What is handed over is refused, or gone on with: then it means the same when it is handed on once more, and it ends by itself
/// when all is silent.
pub fn snapshot(data: &[u8]) {
    let (config, server) = (dialled(), connection());
    for rules in [Rules::Initiator(&config), Rules::Responder(&server)] {
        let mut now = Instant::ZERO;
        let mut end = End::new(1, None);
        let Some(restored) = end.endpoint.restore(now, data, rules) else {
            assert!(end.endpoint.is_empty());
            continue;
        };
        end.drain(now);
        if let Some(again) = end.endpoint.snapshot(restored.sa) {
            let mut next = End::new(1, None);
            let same = next.endpoint.restore(now, &again, rules).expect("it was written here");
            let spis =
                |r: &Restored| r.children.iter().map(|c| (c.inbound_spi, c.outbound_spi)).collect::<Vec<_>>();
            assert_eq!((restored.path, spis(&restored)), (same.path, spis(&same)));
        }
        for _ in 0..5000 {
            let Some((at, _)) = end.endpoint.deadline().filter(|_| !end.endpoint.is_empty()) else { break };
            now = now.max(at);
            end.give(now, Input::Wake);
        }
        assert!(end.endpoint.is_empty(), "it neither ends nor lives");
    }
}

/// A server with one client, whose cookies and path are returned.
fn up(now: Instant) -> (End, (u64, u64), Path) {
    let (_, server, cookies, path) = both(now);
    (server, cookies, path)
}

/// A client and its server, and the same.
fn both(now: Instant) -> (End, End, (u64, u64), Path) {
    let defaults = ResponderDefaults {
        ike: vec![IKE.parse().expect("a proposal")],
        auths: vec![AuthMethod::Psk],
        authorities: Vec::new(),
        addresses: Vec::new(),
        half_open_limit: 10,
        half_open_per_address: 10,
        limit: 10,
        fragment_size: 1280,
        timing: Timing::default(),
    };
    let (mut client, mut server) = (End::new(1, None), End::new(2, Some(defaults)));
    client.endpoint.initiate(now, dialled());
    let mut path = dialled().path;
    let mut cookies = (0, 0);
    loop {
        let up = client.drain(now);
        if up.is_empty() {
            break;
        }
        for transmit in &up {
            path = Path { local: transmit.path.remote, remote: transmit.path.local };
            for answer in server.give(now, arrives(transmit)) {
                let header = HeaderView::parse(&answer.payload).expect("ours").header();
                cookies = (header.initiator_spi, header.responder_spi);
                client.endpoint.handle(now, arrives(&answer));
            }
        }
    }
    assert!(client.up && server.up);
    (client, server, cookies, path)
}

/// A message whose content is a HASH that is right and `body`.
fn craft(cookies: (u64, u64), (exchange, id): (u8, u32), first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&cookies.0.to_be_bytes());
    out.extend_from_slice(&cookies.1.to_be_bytes());
    out.extend_from_slice(&[8, VERSION_1, exchange, 1]);
    out.extend_from_slice(&id.to_be_bytes());
    let length = (28 + 36 + body.len()).next_multiple_of(16) + 12;
    out.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&[first, 0, 0, 36]);
    out.extend_from_slice(&[0; 32]);
    out.extend_from_slice(body);
    out.resize(length, 0);
    out
}

/// Decrypted messages in any order into a connection that is up, and orders of its own driver between them. What comes
/// out is bounded, and when all is silent it ends.
pub fn session(data: &[u8]) {
    let mut now = Instant::ZERO;
    let (mut server, cookies, path) = up(now);
    let mut rest = data;
    while let Some(([kind, exchange, id, first, high, low], tail)) = rest.split_first_chunk::<6>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (body, tail) = tail.split_at(length);
        rest = tail;
        match (kind & 7, server.sa) {
            (0, Some(sa)) => server.give(now, Input::Rekey { sa, child: None }),
            (1, _) => {
                now = now + Duration::from_secs(u64::from(*id));
                server.give(now, Input::Wake)
            }
            _ => {
                let exchange = if exchange & 1 == 0 { 32 } else { 5 };
                let payload = craft(cookies, (exchange, u32::from(*id) + 1), *first, body);
                server.give(now, Input::Datagram { path, payload })
            }
        };
    }
    for _ in 0..5000 {
        let Some((at, _)) = server.endpoint.deadline().filter(|_| !server.endpoint.is_empty()) else {
            break;
        };
        now = now.max(at);
        server.give(now, Input::Wake);
    }
    assert!(server.endpoint.is_empty(), "it neither ends nor lives");
}

/// Samples for the corpus.
pub fn samples() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let header = |exchange, message_id| adit_isakmp::Header {
        initiator_spi: 1,
        responder_spi: 2,
        version: VERSION_1,
        exchange,
        flags: Flags(0),
        message_id,
    };
    let ike = [IKE, "3des-sha1-modp1024"].map(|t| IkeProposal::read(t, true).expect("a proposal"));
    let sa = offer_ike(&ike, AuthMethod::Psk, Duration::from_hours(8), None).expect("an offer");
    let notify = Notify::new(Protocol::IKE, vec![1; 16], NotifyKind::R_U_THERE, vec![0, 0, 0, 1]);
    let main = [
        Payload::Sa(sa),
        Payload::Vendor(vec![7; 16]),
        Payload::Ke(vec![1; 256]),
        Payload::Nonce(vec![2; 16]),
        Payload::NatD { draft: false, hash: vec![3; 20] },
        Payload::NatD { draft: true, hash: vec![3; 20] },
        Payload::CertReq(CertData::x509(vec![0x30, 0])),
        Payload::Cert(CertData::x509(vec![0x30, 0])),
        Payload::Signature(vec![5; 64]),
    ];
    let quick = [
        Payload::Hash(vec![0; 32]),
        Payload::Notify(notify),
        Payload::Delete(Delete::new(Protocol::ESP, vec![vec![0, 0, 16, 1]])),
        Payload::Id(Identification::traffic(Prefix::ANY_V4.into()).expect("a network")),
        Payload::Fragment(Fragment { id: 1, number: 1, last: true, data: vec![9; 30] }),
    ];
    let write = |header, payloads: &[Payload]| emit(&header, payloads).expect("a sample fits");
    let main = write(header(ExchangeType::IDENTITY_PROTECTION, 0), &main);
    let quick = write(header(ExchangeType::QUICK_MODE, 7), &quick);
    // A rekey, time, an Informational with what the second sample holds, a Quick Mode.
    let chain = quick.get(28 + 36..).unwrap_or_default();
    let length = u16::try_from(chain.len()).unwrap_or(0).to_be_bytes();
    let mut session = vec![0, 0, 0, 0, 0, 0, 1, 0, 30, 0, 0, 0];
    for exchange in [1, 0] {
        session.extend_from_slice(&[2, exchange, 9, 11, length[0], length[1]]);
        session.extend_from_slice(chain);
    }
    let (client, server, ..) = both(Instant::ZERO);
    let left = |end: &End| end.sa.and_then(|sa| end.endpoint.snapshot(sa)).expect("it stands").to_vec();
    vec![
        ("ike1_message", "main", main),
        ("ike1_message", "quick", quick),
        ("ike1_session", "all", session),
        ("ike1_snapshot", "dialled", left(&client)),
        ("ike1_snapshot", "answered", left(&server)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_pass() {
        for (target, _, bytes) in samples() {
            match target {
                "ike1_message" => message(&bytes),
                "ike1_snapshot" => snapshot(&bytes),
                _ => session(&bytes),
            }
        }
        session(&[]);
    }
}
