//! The keys of one ISAKMP SA, and what protects its messages (RFC 2409 §5, appendix B).

use adit_core::snapshot::{Reader, Writer};
use adit_core::{Failure, FailureCode, Path, Secret, Step};
use adit_isakmp::crypto::CryptoError;
use adit_isakmp::snapshot::{Read, Write};
use adit_isakmp::v1::keys::{self, Phase1, SkeyId};
use adit_isakmp::v1::{self, Cbc, Kind, Message, Payload, flags};
use adit_isakmp::{ExchangeType, Flags, Header, IkeSuite, VERSION_1};

use crate::fragments;
use crate::state::Cx;
use crate::vendor::Peer;

/// What phase 1 has made public, and what its hashes cover.
#[derive(Clone)]
pub(crate) struct Material {
    pub(crate) cookies: (u64, u64),
    pub(crate) ni: Vec<u8>,
    pub(crate) nr: Vec<u8>,
    pub(crate) xi: Vec<u8>,
    pub(crate) xr: Vec<u8>,
    /// SAi_b.
    pub(crate) sa: Vec<u8>,
}

impl Material {
    fn view(&self) -> Phase1<'_> {
        Phase1 {
            initiator_nonce: &self.ni,
            responder_nonce: &self.nr,
            initiator_cookie: self.cookies.0,
            responder_cookie: self.cookies.1,
            initiator_public: &self.xi,
            responder_public: &self.xr,
        }
    }
}

/// What protects one ISAKMP SA.
pub(crate) struct Channel {
    pub(crate) cookies: (u64, u64),
    pub(crate) suite: IkeSuite,
    pub(crate) peer: Peer,
    pub(crate) path: Path,
    fragment_size: u16,
    keys: SkeyId,
    cipher: Box<dyn Cbc>,
    /// Of the next message of phase 1; afterwards that from which those of phase 2 come.
    iv: Vec<u8>,
}

/// How a Channel comes about.
pub(crate) struct Agreed<'a> {
    pub(crate) suite: IkeSuite,
    pub(crate) peer: Peer,
    pub(crate) path: Path,
    pub(crate) fragment_size: u16,
    /// g^xy.
    pub(crate) shared: &'a Secret,
    /// `None`: signatures prove who is who.
    pub(crate) psk: Option<&'a Secret>,
}

impl Channel {
    /// Derives the keys.
    pub(crate) fn derive(cx: &Cx<'_>, material: &Material, agreed: &Agreed<'_>) -> Result<Self, CryptoError> {
        let (crypto, suite, of) = (&*cx.shared.crypto, agreed.suite, material.view());
        let keys = match agreed.psk {
            Some(psk) => SkeyId::of_psk(crypto, suite.prf, psk, agreed.shared, &of),
            None => SkeyId::of_signatures(crypto, suite.prf, agreed.shared, &of),
        };
        let key = keys.cipher_key(crypto, suite.prf, suite.encryption);
        let cipher = crypto.cbc(suite.encryption, &key)?;
        Ok(Self {
            cookies: material.cookies,
            suite,
            peer: agreed.peer,
            path: agreed.path,
            fragment_size: agreed.fragment_size,
            keys,
            cipher,
            iv: keys::first_iv(crypto, suite.prf, suite.encryption, &of),
        })
    }

    /// All of it that phase 2 needs.
    pub(crate) fn save(&self, w: &mut Writer) {
        w.u64(self.cookies.0);
        w.u64(self.cookies.1);
        w.ike_suite(self.suite);
        self.peer.save(w);
        w.path(self.path);
        w.u16(self.fragment_size);
        [&self.keys.d, &self.keys.a, &self.keys.e].into_iter().for_each(|key| w.bytes(key.expose()));
        w.bytes(&self.iv);
    }

    /// One whose phase 1 was over when it was left: SKEYID itself is used no more.
    pub(crate) fn read(cx: &Cx<'_>, r: &mut Reader<'_>) -> Option<Self> {
        let (crypto, cookies) = (&*cx.shared.crypto, (r.u64()?, r.u64()?));
        let suite = r.ike_suite()?;
        let (peer, path, fragment_size) = (Peer::read_saved(r)?, r.path()?, r.u16()?);
        let keys = SkeyId { skeyid: Secret::from(&[][..]), d: r.secret()?, a: r.secret()?, e: r.secret()? };
        let iv = r.bytes()?.to_vec();
        let length = suite.prf.output_len();
        let whole = [&keys.d, &keys.a, &keys.e].into_iter().all(|key| key.len() == length);
        if !whole || iv.len() != suite.encryption.block_len() || cookies.0 == 0 || cookies.1 == 0 {
            return None;
        }
        let cipher =
            crypto.cbc(suite.encryption, &keys.cipher_key(crypto, suite.prf, suite.encryption)).ok()?;
        Some(Self { cookies, suite, peer, path, fragment_size, keys, cipher, iv })
    }

    /// HASH_I or HASH_R.
    pub(crate) fn hash(&self, cx: &Cx<'_>, material: &Material, initiator: bool, id: &[u8]) -> Secret {
        let of = (material.sa.as_slice(), id);
        self.keys.hash(&*cx.shared.crypto, self.suite.prf, &material.view(), initiator, of)
    }

    /// SKEYID_d.
    pub(crate) const fn d(&self) -> &Secret {
        &self.keys.d
    }

    /// A header of this SA.
    pub(crate) const fn header(&self, exchange: ExchangeType, message_id: u32) -> Header {
        header(self.cookies, exchange, flags::ENCRYPTION, message_id)
    }

    /// A message of phase 1, encrypted: what comes next has the IV that it leaves.
    pub(crate) fn seal_phase1(
        &mut self,
        exchange: ExchangeType,
        payloads: &[Payload],
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let header = self.header(exchange, 0);
        let (bytes, next) = v1::seal(&header, payloads, &*self.cipher, &self.iv).map_err(|e| unsealed(&e))?;
        self.iv = next;
        Ok(self.cut(&header, bytes))
    }

    /// Reads a message of phase 1: the plain datagram, its payloads, and the IV to [`accept`](Self::accept) with it if
    /// it is used.
    pub(crate) fn open_phase1(&self, datagram: &[u8]) -> Option<(Vec<u8>, Message, Vec<u8>)> {
        v1::open(datagram, &*self.cipher, &self.iv).ok()
    }

    /// A message of phase 1 was used.
    pub(crate) fn accept(&mut self, iv: Vec<u8>) {
        // [2409:5-10]
        self.iv = iv;
    }

    /// The first IV of an exchange of phase 2.
    pub(crate) fn first_iv(&self, cx: &Cx<'_>, message_id: u32) -> Vec<u8> {
        let (prf, encryption) = (self.suite.prf, self.suite.encryption);
        keys::phase2_iv(&*cx.shared.crypto, prf, encryption, &self.iv, message_id)
    }

    /// A message of phase 2 with a HASH over `M-ID | extra | payloads` in front; `iv` becomes the next message's.
    pub(crate) fn seal(
        &self,
        cx: &Cx<'_>,
        (exchange, message_id): (ExchangeType, u32),
        iv: &mut Vec<u8>,
        extra: &[u8],
        payloads: Vec<Payload>,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let mut chain = Vec::new();
        v1::emit_chain(&payloads, &mut chain).map_err(|e| unsealed(&e.into()))?;
        let hash = self.phase2_hash(cx, &[&message_id.to_be_bytes(), extra, &chain]);
        let all: Vec<_> = core::iter::once(Payload::Hash(hash.expose().to_vec())).chain(payloads).collect();
        self.seal_plain((exchange, message_id), iv, &all)
    }

    /// An Informational, which is an exchange of its own.
    pub(crate) fn seal_informational(
        &self,
        cx: &Cx<'_>,
        id: u32,
        payload: Payload,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let mut iv = self.first_iv(cx, id);
        self.seal(cx, (ExchangeType::INFORMATIONAL_V1, id), &mut iv, &[], vec![payload])
    }

    /// The third message of Quick Mode: HASH(3) alone.
    pub(crate) fn seal_third(
        &self,
        cx: &Cx<'_>,
        message_id: u32,
        iv: &mut Vec<u8>,
        (ni, nr): (&[u8], &[u8]),
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let hash = self.hash3(cx, message_id, ni, nr);
        let payloads = [Payload::Hash(hash.expose().to_vec())];
        self.seal_plain((ExchangeType::QUICK_MODE, message_id), iv, &payloads)
    }

    fn seal_plain(
        &self,
        (exchange, message_id): (ExchangeType, u32),
        iv: &mut Vec<u8>,
        payloads: &[Payload],
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let header = self.header(exchange, message_id);
        let (bytes, next) = v1::seal(&header, payloads, &*self.cipher, iv).map_err(|e| unsealed(&e))?;
        *iv = next;
        Ok(self.cut(&header, bytes))
    }

    /// Reads a message of phase 2 whose HASH is over `M-ID | extra | payloads`; what it leaves for the next one is put
    /// into `iv` only if it is authentic.
    pub(crate) fn open(
        &self,
        cx: &Cx<'_>,
        iv: &mut Vec<u8>,
        extra: &[u8],
        datagram: &[u8],
    ) -> Option<Message> {
        let (plain, message, next) = v1::open(datagram, &*self.cipher, iv).ok()?;
        let id = message.header.message_id.to_be_bytes();
        let covered = plain.get(message.after_first())?;
        let hash = self.phase2_hash(cx, &[&id, extra, covered]);
        authentic(&message, &hash)?;
        *iv = next;
        Some(message)
    }

    /// The third message of Quick Mode: whether its HASH is right.
    pub(crate) fn open_third(
        &self,
        cx: &Cx<'_>,
        iv: &[u8],
        datagram: &[u8],
        (ni, nr): (&[u8], &[u8]),
    ) -> Option<()> {
        let (_, message, _) = v1::open(datagram, &*self.cipher, iv).ok()?;
        authentic(&message, &self.hash3(cx, message.header.message_id, ni, nr))
    }

    fn hash3(&self, cx: &Cx<'_>, message_id: u32, ni: &[u8], nr: &[u8]) -> Secret {
        self.phase2_hash(cx, &[&[0], &message_id.to_be_bytes(), ni, nr])
    }

    fn phase2_hash(&self, cx: &Cx<'_>, parts: &[&[u8]]) -> Secret {
        keys::phase2_hash(&*cx.shared.crypto, self.suite.prf, &self.keys.a, parts)
    }

    fn cut(&self, header: &Header, message: Vec<u8>) -> Vec<Vec<u8>> {
        if !self.peer.fragments {
            return vec![message];
        }
        // Any number that differs from that of the message before: here of its last bytes, which are ciphertext.
        let id = message.last_chunk::<2>().map_or(1, |bytes| u16::from_be_bytes(*bytes).max(1));
        fragments::cut(header, message, id, self.fragment_size, self.path)
    }
}

/// The first payload is this HASH. Compared in constant time.
fn authentic(message: &Message, hash: &Secret) -> Option<()> {
    // [2409:5-6] [2409:5.5-1]
    match message.payloads.first() {
        Some((payload @ Payload::Hash(got), _)) if payload.kind() == Kind::HASH => {
            hash.equals(got).then_some(())
        }
        _ => None,
    }
}

/// A header of IKEv1.
pub(crate) const fn header(
    cookies: (u64, u64),
    exchange: ExchangeType,
    flags: Flags,
    message_id: u32,
) -> Header {
    Header {
        initiator_spi: cookies.0,
        responder_spi: cookies.1,
        version: VERSION_1,
        exchange,
        flags,
        message_id,
    }
}

fn unsealed(error: &v1::SealError) -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, format!("a message can't be protected: {error}"))
}

/// A message in clear.
pub(crate) fn clear(header: &Header, payloads: &[Payload]) -> Result<Vec<u8>, Failure> {
    v1::emit(header, payloads).map_err(|e| unsealed(&e.into()))
}
