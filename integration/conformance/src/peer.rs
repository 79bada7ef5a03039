//! The scripted peer: it has the keys, and sends what the case says.

use adit_core::Secret;
use adit_isakmp::crypto::{CryptoProvider, KeyExchange, SkCipher};
use adit_isakmp::keys::{Exchange, IkeKeys, skeyseed};
use adit_isakmp::payload::{KeyExchangeData, Payload, SecurityAssociation};
use adit_isakmp::sk;
use adit_isakmp::{ExchangeType, Flags, Header, HeaderView, IkeSuite, Message, VERSION_2};
use adit_sim::crypto::ToyCrypto;

use crate::case::Role;

/// SPIs of the peer.
const SPI_I: u64 = 0x0102_0304_0506_0708;
const SPI_R: u64 = 0x1122_3344_5566_7788;

/// The peer.
pub(crate) struct Peer {
    pub(crate) crypto: ToyCrypto,
    /// What the peer is.
    pub(crate) role: Role,
    pub(crate) spi_i: u64,
    pub(crate) spi_r: u64,
    pub(crate) nonce_i: Vec<u8>,
    pub(crate) nonce_r: Vec<u8>,
    pub(crate) message_i: Vec<u8>,
    pub(crate) message_r: Vec<u8>,
    /// The last SA payload that Adit sent.
    pub(crate) theirs: SecurityAssociation,
    /// The KE payload that Adit sent.
    pub(crate) their_key: Option<KeyExchangeData>,
    /// As initiator: its own key pair.
    pub(crate) key: Option<Box<dyn KeyExchange>>,
    /// The suite that it thinks was agreed on.
    pub(crate) suite: Option<IkeSuite>,
    /// As responder: the shared secret, made with the KE payload.
    pub(crate) shared: Option<Secret>,
    /// How many ESP SPIs it has given out.
    pub(crate) spis: u32,
    /// The body of the last ID payload that it sent.
    pub(crate) id_body: Vec<u8>,
    pub(crate) keys: Option<Keys>,
    next_id: u32,
    asked_id: u32,
    ivs: u8,
}

/// How a message goes out.
#[derive(Clone, Copy)]
pub(crate) enum Protection {
    /// Not protected, even where there are keys.
    Clear,
    /// Protected, where there are keys, in messages of so many bytes at most.
    Sealed { within: usize },
}

impl Protection {
    /// In IP packets of so many bytes (RFC 7383 §2.5.1).
    pub(crate) fn of(packet: Option<usize>) -> Self {
        Self::Sealed { within: packet.map_or(usize::MAX, |bytes| bytes.saturating_sub(IP_AND_UDP)) }
    }
}

/// Bytes of an IPv4 and a UDP header.
const IP_AND_UDP: usize = 28;

/// What it has after IKE_SA_INIT.
pub(crate) struct Keys {
    pub(crate) pi: Secret,
    pub(crate) pr: Secret,
    sealing: Box<dyn SkCipher>,
    opening: Box<dyn SkCipher>,
}

impl Peer {
    pub(crate) fn new(role: Role) -> Self {
        let own = if role == Role::Initiator { (SPI_I, 0) } else { (0, SPI_R) };
        Self {
            crypto: ToyCrypto::new(77),
            role,
            spi_i: own.0,
            spi_r: own.1,
            nonce_i: Vec::new(),
            nonce_r: Vec::new(),
            message_i: Vec::new(),
            message_r: Vec::new(),
            theirs: SecurityAssociation::default(),
            their_key: None,
            key: None,
            suite: None,
            shared: None,
            spis: 0,
            id_body: Vec::new(),
            keys: None,
            next_id: 0,
            asked_id: 0,
            ivs: 0,
        }
    }

    /// The datagrams of one message.
    pub(crate) fn message(
        &mut self,
        exchange: ExchangeType,
        response: bool,
        id: Option<u32>,
        protection: Protection,
        payloads: Vec<Payload>,
    ) -> Result<Vec<Vec<u8>>, String> {
        let usual = match (exchange, response) {
            (ExchangeType::IKE_SA_INIT, _) => 0,
            (_, true) => self.asked_id,
            (_, false) => self.next_id,
        };
        let message_id = id.unwrap_or(usual);
        if !response && exchange != ExchangeType::IKE_SA_INIT && id.is_none() {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let header = Header {
            initiator_spi: self.spi_i,
            responder_spi: self.spi_r,
            version: VERSION_2,
            exchange,
            flags: Flags::of(self.role == Role::Initiator, response),
            message_id,
        };
        self.ivs = self.ivs.wrapping_add(1);
        if let (Protection::Sealed { within }, Some(keys)) = (protection, &self.keys)
            && exchange != ExchangeType::IKE_SA_INIT
        {
            let iv = || vec![self.ivs; keys.sealing.iv_len()];
            let sealed = sk::seal_within(&header, &payloads, &*keys.sealing, within, iv);
            return sealed.map_err(|e| e.to_string());
        }
        let agreeing = exchange == ExchangeType::IKE_SA_INIT
            && payloads.iter().any(|p| matches!(p, Payload::Sa(_)))
            && payloads.iter().any(|p| matches!(p, Payload::Ke(_)));
        let bytes = Message { header, payloads }.emit().map_err(|e| e.to_string())?;
        if agreeing {
            self.begun(response, &bytes)?;
        }
        Ok(vec![bytes])
    }

    /// Its own IKE_SA_INIT is out.
    fn begun(&mut self, response: bool, bytes: &[u8]) -> Result<(), String> {
        if response {
            self.message_r = bytes.to_vec();
            let shared = self.shared.take().ok_or("no key was agreed on")?;
            self.derive(&shared)?;
        } else {
            self.message_i = bytes.to_vec();
            self.next_id = 1;
        }
        Ok(())
    }

    fn derive(&mut self, shared: &Secret) -> Result<(), String> {
        let suite = self.suite.ok_or("no suite was agreed on")?;
        let exchange = Exchange {
            initiator_nonce: &self.nonce_i,
            responder_nonce: &self.nonce_r,
            initiator_spi: self.spi_i,
            responder_spi: self.spi_r,
        };
        let seed = skeyseed(&self.crypto, suite.prf, &exchange, shared);
        let keys = IkeKeys::derive(&self.crypto, &suite, &seed, &exchange).map_err(|e| e.to_string())?;
        let cipher = |key, integrity| {
            self.crypto
                .sk_cipher(suite.encryption, suite.integrity, key, integrity)
                .map_err(|e| e.to_string())
        };
        let (i, r) = (cipher(keys.ei, keys.ai)?, cipher(keys.er, keys.ar)?);
        let (sealing, opening) = if self.role == Role::Initiator { (i, r) } else { (r, i) };
        self.keys = Some(Keys { pi: keys.pi, pr: keys.pr, sealing, opening });
        Ok(())
    }

    /// Reads what Adit sent, and remembers what it needs of it.
    pub(crate) fn hears(&mut self, datagram: &[u8]) -> Result<Message, String> {
        let header = HeaderView::parse(datagram).map_err(|e| e.to_string())?.header();
        if header.exchange != ExchangeType::IKE_SA_INIT {
            let keys = self.keys.as_ref().ok_or("Adit sends a protected message, and nobody has keys")?;
            let opened = sk::open(&mut datagram.to_vec(), &*keys.opening).map_err(|e| e.to_string())?;
            if !header.flags.response() {
                self.asked_id = header.message_id;
            }
            self.remember(&opened);
            return Ok(opened);
        }
        let message = Message::parse(datagram).map_err(|e| e.to_string())?;
        let agrees = message.payloads.iter().any(|p| matches!(p, Payload::Ke(_)));
        if agrees {
            self.remember(&message);
            if self.role == Role::Responder {
                (self.spi_i, self.message_i) = (header.initiator_spi, datagram.to_vec());
            } else {
                (self.spi_r, self.message_r) = (header.responder_spi, datagram.to_vec());
                if self.key.is_some() {
                    self.agree()?;
                }
            }
        }
        Ok(message)
    }

    fn remember(&mut self, message: &Message) {
        for payload in &message.payloads {
            match payload {
                Payload::Sa(sa) => self.theirs = sa.clone(),
                Payload::Ke(ke) => self.their_key = Some(ke.clone()),
                Payload::Nonce(n) if message.header.exchange == ExchangeType::IKE_SA_INIT => {
                    if self.role == Role::Initiator {
                        self.nonce_r = n.clone();
                    } else {
                        self.nonce_i = n.clone();
                    }
                }
                _ => {}
            }
        }
    }

    /// As initiator, with Adit's answer.
    fn agree(&mut self) -> Result<(), String> {
        let answer = self.theirs.proposals.first().ok_or("Adit chose nothing")?;
        let chosen = adit_isakmp::proposal::IkeProposal::read(
            &adit_isakmp::proposal::describe(&SecurityAssociation { proposals: vec![answer.clone()] }),
            true,
        );
        let chosen = chosen.map_err(|e| e.to_string())?;
        let accepted = SecurityAssociation {
            proposals: vec![adit_isakmp::payload::Proposal { number: 1, ..answer.clone() }],
        };
        let accepted = adit_isakmp::proposal::accept_ike(&[chosen], &accepted).map_err(|e| e.to_string())?;
        self.suite = Some(accepted.suite);
        let key = self.key.take().ok_or("it has sent no KE")?;
        let theirs = self.their_key.as_ref().ok_or("Adit sent no KE")?;
        let shared = key.agree(&theirs.data).map_err(|e| e.to_string())?;
        self.derive(&shared)
    }
}
