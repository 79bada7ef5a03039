//! IKE_SA_INIT as the peer does it: its offer, its guess of a method, COOKIE and INVALID_KE_PAYLOAD.

use adit_core::Secret;
use adit_crypto::Provider;
use adit_isakmp::{
    Encryption, IkeSuite, Integrity, KeMethod, Message, Payload, Prf,
    crypto::{CryptoError, CryptoProvider as _, KeyExchange},
    keys::{self, Exchange, IkeKeys},
    payload::{KeyExchangeData, Notify, NotifyType, Proposal, Protocol, SecurityAssociation, TransformType},
};

use crate::{
    channel::{Channel, Protection},
    script::Script,
    words,
};

/// What AUTH covers (RFC 7296 §2.15).
pub(crate) struct Covered {
    pub(crate) request: Vec<u8>,
    pub(crate) response: Vec<u8>,
    pub(crate) ni: Vec<u8>,
    pub(crate) nr: Vec<u8>,
}

/// Bytes of the Key Exchange Data of methods that Adit may not have: an offer needs no more than their length.
fn foreign_len(method: u16) -> usize {
    match method {
        2 => 128,
        5 => 192,
        21 => 132,
        _ => 256,
    }
}

/// Our side of a key exchange.
pub(crate) struct Pair {
    method: u16,
    /// None where Adit's cryptography has no such method.
    own: Option<Box<dyn KeyExchange>>,
}

impl Pair {
    /// A fresh one.
    pub(crate) fn new(crypto: &Provider, method: u16) -> Result<Self, String> {
        let made = KeMethod::from_transform_id(method).map(|known| crypto.generate(known));
        match made {
            Some(Ok(own)) => Ok(Self { method, own: Some(own) }),
            Some(Err(CryptoError::Unsupported)) | None => Ok(Self { method, own: None }),
            Some(Err(why)) => Err(why.to_string()),
        }
    }

    /// Its KE payload.
    pub(crate) fn payload(&self) -> Payload {
        let data = match &self.own {
            Some(own) => own.public().to_vec(),
            None => vec![0x5a; foreign_len(self.method)],
        };
        Payload::Ke(KeyExchangeData { method: self.method, data })
    }

    /// The shared secret.
    pub(crate) fn agree(self, payloads: &[Payload]) -> Result<Secret, String> {
        let theirs = payloads.iter().find_map(|p| if let Payload::Ke(ke) = p { Some(ke) } else { None });
        let theirs = theirs.ok_or("no KE payload in the answer")?;
        if theirs.method != self.method {
            let (got, ours) = (words::method_word(theirs.method), words::method_word(self.method));
            return Err(format!("the answer's KE payload is of {got}, and ours of {ours}"));
        }
        let own = self
            .own
            .ok_or_else(|| format!("{} can't be computed here", words::method_word(theirs.method)))?;
        own.agree(&theirs.data).map_err(|e| e.to_string())
    }
}

/// IKE_SA_INIT.
pub(crate) fn exchange(script: &Script, crypto: &Provider, channel: &mut Channel) -> Result<Covered, String> {
    let guess = match (&script.ke, script.ike.first()) {
        (Some(word), _) => words::method(word)?,
        (None, Some(proposal)) => words::method(proposal)?,
        (None, None) => return Err("no proposals".to_owned()),
    };
    let (ni, mut method, mut cookie) = (channel.nonce(), guess, None);
    for _ in 0..4 {
        let pair = Pair::new(crypto, method)?;
        println!("KE: {}", words::method_word(method));
        let payloads = request(script, crypto, channel, &ni, &pair, cookie.as_ref())?;
        let (request, response, bytes) = channel.initial(payloads)?;
        if let Some(told) = response.notify(NotifyType::COOKIE) {
            println!("asked for a cookie");
            cookie = Some(told.clone());
        } else if let Some(told) = response.notify(NotifyType::INVALID_KE_PAYLOAD) {
            let wanted = <[u8; 2]>::try_from(told.data.as_slice()).map(u16::from_be_bytes);
            method = wanted.map_err(|_| "INVALID_KE_PAYLOAD without a method")?;
            println!("asked for: {}", words::method_word(method));
            if !script.follows_invalid_ke {
                return Err("this peer does not follow INVALID_KE_PAYLOAD".to_owned());
            }
        } else {
            let nr = established(crypto, channel, &response, &ni, pair)?;
            return Ok(Covered { request, response: bytes, ni, nr });
        }
    }
    Err("IKE_SA_INIT comes to no end".to_owned())
}

fn request(
    script: &Script,
    crypto: &Provider,
    channel: &Channel,
    ni: &[u8],
    pair: &Pair,
    cookie: Option<&Notify>,
) -> Result<Vec<Payload>, String> {
    let mut payloads: Vec<Payload> = cookie.cloned().map(Payload::Notify).into_iter().collect();
    payloads.push(Payload::Sa(words::offer(&script.ike, Protocol::IKE, &[])?));
    payloads.push(pair.payload());
    payloads.push(Payload::Nonce(ni.to_vec()));
    let (ours, theirs) = channel.ends()?;
    for (kind, address) in
        [(NotifyType::NAT_DETECTION_SOURCE_IP, ours), (NotifyType::NAT_DETECTION_DESTINATION_IP, theirs)]
    {
        let hash = keys::nat_detection_hash(crypto, channel.spi_i, 0, address);
        payloads.push(Payload::Notify(Notify::new(kind, hash)));
    }
    for notify in &script.init_notifies {
        payloads.push(Payload::Notify(words::notify(notify)?));
    }
    for vendor in &script.vendor_ids {
        payloads.push(Payload::Vendor(words::hex(vendor)?));
    }
    Ok(payloads)
}

/// Keys, and the move to port 4500 behind a NAT. The responder's nonce.
fn established(
    crypto: &Provider,
    channel: &mut Channel,
    response: &Message,
    ni: &[u8],
    pair: Pair,
) -> Result<Vec<u8>, String> {
    refused(&response.payloads)?;
    let suite = suite(&sa(&response.payloads)?.proposals)?;
    let nr = nonce(&response.payloads)?;
    channel.spi_r = response.header.responder_spi;
    let shared = pair.agree(&response.payloads)?;
    let of = Exchange {
        initiator_nonce: ni,
        responder_nonce: &nr,
        initiator_spi: channel.spi_i,
        responder_spi: channel.spi_r,
    };
    let seed = keys::skeyseed(crypto, suite.prf, &of, &shared);
    let keys = IkeKeys::derive(crypto, &suite, &seed, &of).map_err(|e| e.to_string())?;
    channel.protection = Some(Protection::new(crypto, suite, keys)?);
    println!("IKE: {suite}");
    let (ours, theirs) = channel.ends()?;
    let differs = |kind, address| {
        let hash = keys::nat_detection_hash(crypto, channel.spi_i, channel.spi_r, address);
        response.notifies().filter(|told| told.kind == kind).all(|told| told.data != hash)
    };
    if differs(NotifyType::NAT_DETECTION_DESTINATION_IP, ours)
        || differs(NotifyType::NAT_DETECTION_SOURCE_IP, theirs)
    {
        println!("a NAT is between us");
        channel.move_to_4500()?;
    }
    Ok(nr)
}

/// The first error that the answer names.
pub(crate) fn refused(payloads: &[Payload]) -> Result<(), String> {
    let error = payloads.iter().find_map(|p| match p {
        Payload::Notify(told) if told.kind.is_error() => Some(told),
        _ => None,
    });
    error.map_or(Ok(()), |told| Err(format!("refused: {}", told.kind)))
}

/// The SA payload.
pub(crate) fn sa(payloads: &[Payload]) -> Result<&SecurityAssociation, String> {
    let sa = payloads.iter().find_map(|p| if let Payload::Sa(sa) = p { Some(sa) } else { None });
    sa.ok_or_else(|| "no SA payload in the answer".to_owned())
}

/// The nonce.
pub(crate) fn nonce(payloads: &[Payload]) -> Result<Vec<u8>, String> {
    let nonce =
        payloads.iter().find_map(|p| if let Payload::Nonce(nonce) = p { Some(nonce.clone()) } else { None });
    nonce.ok_or_else(|| "no nonce in the answer".to_owned())
}

/// The suite of an answer: one proposal with one transform of each type.
pub(crate) fn suite(answer: &[Proposal]) -> Result<IkeSuite, String> {
    let [proposal] = answer else { return Err(format!("{} proposals in the answer", answer.len())) };
    let one = |kind| {
        let mut all = proposal.of(kind);
        let first = all.next();
        if all.next().is_some() {
            Err(format!("two transforms of type {} in the answer", kind.0))
        } else {
            Ok(first)
        }
    };
    let encryption = one(TransformType::ENCR)?.ok_or("no cipher in the answer")?;
    let prf = one(TransformType::PRF)?.ok_or("no PRF in the answer")?;
    let ke = one(TransformType::KE)?.ok_or("no key exchange method in the answer")?;
    let unknown = |what: &str| format!("the answer's {what} can't be computed here");
    Ok(IkeSuite {
        encryption: Encryption::from_transform(encryption.id, encryption.key_length)
            .ok_or_else(|| unknown("cipher"))?,
        integrity: one(TransformType::INTEG)?.and_then(|t| Integrity::from_transform_id(t.id)),
        prf: Prf::from_transform_id(prf.id).ok_or_else(|| unknown("PRF"))?,
        ke: KeMethod::from_transform_id(ke.id).ok_or_else(|| unknown("key exchange"))?,
        additional: Default::default(),
    })
}
