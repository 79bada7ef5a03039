//! A peer that has the keys and does as the test says.

use adit_isakmp::keys::signed_octets;
use adit_isakmp::payload::{
    Authentication, ConfigAttribute, ConfigType, Configuration, Identification, KeyExchangeData, Notify,
    NotifyType,
};
use adit_isakmp::proposal::{choose_esp, choose_ike, offer_esp, offer_ike};
use adit_isakmp::{ExchangeType, Flags, Header, KeMethod, Message, Payload, VERSION_2};

use super::*;
use crate::auth as proof;
use crate::channel::{Agreed, Handshake};
use crate::natd::{self, Nat};
use crate::state::{Cx, Datagram, Role, Shared};

/// What a core has around it.
pub(super) struct Bench(Shared);

impl Bench {
    fn new(seed: u64) -> Self {
        Self(Shared::new(Arc::new(ToyCrypto::new(seed)), Box::new(Counting(seed))))
    }

    fn cx(&mut self) -> Cx<'_> {
        Cx { now: Instant::ZERO, sa: SaId(0), shared: &mut self.0, first_contact: false }
    }
}

/// A scripted peer, after IKE_SA_INIT.
pub(super) struct Peer {
    pub(super) hs: Box<Handshake>,
    pub(super) bench: Bench,
    /// Who it says that it is.
    pub(super) id: Identity,
    pub(super) psk: &'static [u8],
    /// Where it is.
    pub(super) path: Path,
}

fn in_clear(spis: (u64, u64), flags: Flags, payloads: Vec<Payload>) -> Vec<u8> {
    let header = Header {
        initiator_spi: spis.0,
        responder_spi: spis.1,
        version: VERSION_2,
        exchange: ExchangeType::IKE_SA_INIT,
        flags,
        message_id: 0,
    };
    Message { header, payloads }.emit().unwrap()
}

fn only_of<T>(message: &Message, pick: impl Fn(&Payload) -> Option<T>) -> T {
    message.payloads.iter().find_map(pick).unwrap()
}

/// An unprotected answer to a first message, with one notify.
pub(super) fn init_error(request: &Transmit, notify: Notify) -> Input {
    let header = Message::parse(&request.payload).unwrap().header;
    let payload = in_clear((header.initiator_spi, 0), Flags::of(false, true), vec![Payload::Notify(notify)]);
    arrives(&Transmit { path: Path { local: request.path.remote, remote: request.path.local }, payload })
}

impl Peer {
    /// A scripted server's answer to a client's first message.
    pub(super) fn answer_init(request: &Transmit, edit: impl FnOnce(&mut Vec<Payload>)) -> (Self, Input) {
        Self::answer_init_by(IKE, request, edit)
    }

    /// The same of one that takes this proposal.
    pub(super) fn answer_init_by(
        ike: &str,
        request: &Transmit,
        edit: impl FnOnce(&mut Vec<Payload>),
    ) -> (Self, Input) {
        let message = Message::parse(&request.payload).unwrap();
        let mut bench = Bench::new(9);
        let (spi_i, spi_r) = (message.header.initiator_spi, 0x1122_3344_5566_7788);
        let path = Path { local: request.path.remote, remote: request.path.local };
        let sa = only_of(&message, |p| if let Payload::Sa(s) = p { Some(s.clone()) } else { None });
        let ke = only_of(&message, |p| if let Payload::Ke(k) = p { Some(k.clone()) } else { None });
        let nonce_i = only_of(&message, |p| if let Payload::Nonce(n) = p { Some(n.clone()) } else { None });
        let chosen = choose_ike(&[ike.parse().unwrap()], &sa, &[]).unwrap();
        let (public, shared) = bench.0.crypto.encapsulate(chosen.suite.ke, &ke.data).unwrap();
        let nonce_r = vec![0x5a; 32];
        let mut payloads = vec![
            Payload::Sa(chosen.reply),
            Payload::Ke(KeyExchangeData::new(chosen.suite.ke, public)),
            Payload::Nonce(nonce_r.clone()),
        ];
        payloads.extend(natd::payloads(&*bench.0.crypto, (spi_i, spi_r), path, None));
        payloads.push(Payload::Notify(Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, [0, 2, 0, 5])));
        edit(&mut payloads);
        let message_r = in_clear((spi_i, spi_r), Flags::of(false, true), payloads);
        let agreed = Agreed {
            role: Role::Responder,
            spi_i,
            spi_r,
            path,
            nat: Nat::default(),
            suite: chosen.suite,
            nonce_i,
            nonce_r,
            peer_hashes: None,
            fragment_size: None,
        };
        let mut hs = Handshake::derive(&bench.cx(), agreed, &shared).unwrap();
        hs.message_i = request.payload.clone();
        hs.message_r = message_r.clone();
        let peer = Self { hs, bench, id: name("vpn.example.com"), psk: b"a good key", path };
        let answer = arrives(&Transmit { path, payload: message_r });
        (peer, answer)
    }

    /// A scripted client that has done IKE_SA_INIT with a server.
    pub(super) fn dial(server: &mut Node) -> Self {
        Self::dial_cutting(server, None)
    }

    /// One that sends fragments of that size.
    pub(super) fn dial_cutting(server: &mut Node, fragment_size: Option<u16>) -> Self {
        let mut bench = Bench::new(8);
        let path = Path { local: CLIENT.parse().unwrap(), remote: SERVER.parse().unwrap() };
        let spi_i = 0x0102_0304_0506_0708;
        let key = bench.0.crypto.generate(KeMethod::Curve25519).unwrap();
        let nonce_i = vec![0xa5; 32];
        let mut payloads = vec![
            Payload::Sa(offer_ike(&[IKE.parse().unwrap()], &[])),
            Payload::Ke(KeyExchangeData::new(KeMethod::Curve25519, key.public().to_vec())),
            Payload::Nonce(nonce_i.clone()),
        ];
        payloads.extend(natd::payloads(&*bench.0.crypto, (spi_i, 0), path, None));
        let cuts = Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, []);
        payloads.extend(fragment_size.map(|_| Payload::Notify(cuts)));
        let message_i = in_clear((spi_i, 0), Flags::of(true, false), payloads);
        let first = Transmit { path, payload: message_i.clone() };
        server.give(Instant::ZERO, arrives(&first));
        let message_r = server.one().payload;
        let message = Message::parse(&message_r).unwrap();
        let ke = only_of(&message, |p| if let Payload::Ke(k) = p { Some(k.clone()) } else { None });
        let nonce_r = only_of(&message, |p| if let Payload::Nonce(n) = p { Some(n.clone()) } else { None });
        let shared = key.agree(&ke.data).unwrap();
        let agreed = Agreed {
            role: Role::Initiator,
            spi_i,
            spi_r: message.header.responder_spi,
            path,
            nat: Nat::default(),
            suite: adit_isakmp::IkeSuite {
                encryption: adit_isakmp::Encryption::AesGcm16(adit_isakmp::algorithm::KeyBits::B256),
                integrity: None,
                prf: adit_isakmp::Prf::HmacSha256,
                ke: KeMethod::Curve25519,
                additional: Default::default(),
            },
            nonce_i,
            nonce_r,
            peer_hashes: None,
            fragment_size,
        };
        let mut hs = Handshake::derive(&bench.cx(), agreed, &shared).unwrap();
        hs.message_i = message_i;
        hs.message_r = message_r;
        Self { hs, bench, id: name("ann@example.com"), psk: b"a good key", path }
    }

    /// Seals a message of the peer.
    pub(super) fn seal(
        &mut self,
        exchange: ExchangeType,
        id: u32,
        response: bool,
        payloads: &[Payload],
    ) -> Input {
        let sealed = self.hs.channel.seal(&mut self.bench.cx(), exchange, id, response, payloads).unwrap();
        arrives(&Transmit { path: self.path, payload: sealed.first().to_vec() })
    }

    /// Opens a message for the peer.
    pub(super) fn open(&mut self, transmit: &Transmit) -> Message {
        let mut datagram = Datagram {
            path: self.path,
            bytes: transmit.payload.clone(),
            responder_spi: 0,
            our_spi: 0,
            exchange: 0,
            message_id: 0,
            is_response: false,
        };
        let opened = self.hs.channel.open(&mut self.bench.cx(), &mut datagram);
        opened.ok().expect("authentic")
    }

    fn auth(&mut self, role: Role) -> Payload {
        let body = Identification::from(&self.id).body();
        self.auth_over(role, &body)
    }

    /// AUTH for an ID payload with this body.
    pub(super) fn auth_over(&mut self, role: Role, id_body: &[u8]) -> Payload {
        let (message, nonce, key) = match role {
            Role::Initiator => (&self.hs.message_i, &self.hs.nonce_r, &self.hs.keys.pi),
            Role::Responder => (&self.hs.message_r, &self.hs.nonce_i, &self.hs.keys.pr),
        };
        let octets = signed_octets(&*self.bench.0.crypto, self.hs.suite.prf, message, nonce, key, id_body);
        let mic = proof::by_key(&self.bench.cx(), &self.hs, &Secret::from(self.psk), &octets);
        Payload::Auth(Authentication::shared_key(mic.expose()))
    }

    /// A server's answer to IKE_AUTH, as it should be, but for `edit`.
    pub(super) fn answer_auth(&mut self, request: &Transmit, edit: impl FnOnce(&mut Vec<Payload>)) -> Input {
        let message = self.open(request);
        let sa = only_of(&message, |p| if let Payload::Sa(s) = p { Some(s.clone()) } else { None });
        let reply = choose_esp(&["aes256gcm16".parse().unwrap()], &sa, 0x0909_0909, false).unwrap().reply;
        let mut payloads = vec![
            Payload::IdR(Identification::from(&self.id)),
            self.auth(Role::Responder),
            Payload::Configuration(Configuration {
                kind: ConfigType::CFG_REPLY,
                attributes: vec![ConfigAttribute::Ip4Address(Some("10.9.0.7".parse().unwrap()))],
            }),
            Payload::Sa(reply),
            Payload::TsI([ts("10.9.0.7/32")].into_iter().collect()),
            Payload::TsR([ts("0.0.0.0/0")].into_iter().collect()),
        ];
        edit(&mut payloads);
        self.seal(ExchangeType::IKE_AUTH, 1, true, &payloads)
    }

    /// A client's IKE_AUTH, as it should be, but for `edit`.
    pub(super) fn ask_auth(&mut self, edit: impl FnOnce(&mut Vec<Payload>)) -> Input {
        let mut payloads = vec![
            Payload::IdI(Identification::from(&self.id)),
            self.auth(Role::Initiator),
            Payload::Configuration(Configuration {
                kind: ConfigType::CFG_REQUEST,
                attributes: vec![ConfigAttribute::Ip4Address(None)],
            }),
            Payload::Sa(offer_esp(&["aes256gcm16".parse().unwrap()], 0x0808_0808, false)),
            Payload::TsI([ts("0.0.0.0/0")].into_iter().collect()),
            Payload::TsR([ts("0.0.0.0/0")].into_iter().collect()),
        ];
        edit(&mut payloads);
        self.seal(ExchangeType::IKE_AUTH, 1, false, &payloads)
    }
}
