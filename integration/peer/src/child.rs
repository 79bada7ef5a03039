//! CHILD_SAs: the first one, and rekeys of both kinds of SA as the peer starts them.

use adit_core::{Entropy as _, TrafficSelector};
use adit_crypto::Provider;
use adit_isakmp::{
    Encryption, EspSuite, ExchangeType, Integrity, KeMethod, Payload,
    keys::{self, ChildKeys, Exchange, IkeKeys},
    payload::{Delete, Notify, NotifyType, Protocol, TrafficSelectors, TransformType},
};

use crate::{
    auth,
    channel::{Channel, Protection},
    initial::{self, Covered, Pair},
    script::Script,
    words,
};

/// A CHILD_SA that we began.
pub(crate) struct Child {
    /// Our inbound SPI.
    pub(crate) inbound: u32,
    /// The server's.
    pub(crate) outbound: u32,
    /// Algorithms.
    pub(crate) suite: EspSuite,
    /// Keys.
    pub(crate) keys: ChildKeys,
    /// Our side.
    pub(crate) local: Vec<TrafficSelector>,
    /// The server's side.
    pub(crate) remote: Vec<TrafficSelector>,
}

/// A random SPI.
pub(crate) fn spi(channel: &mut Channel) -> u32 {
    let mut bytes = [0; 4];
    channel.entropy.public(&mut bytes);
    u32::from_be_bytes(bytes) | 0x8000_0000
}

/// The CHILD_SA that IKE_AUTH made.
pub(crate) fn first(
    crypto: &Provider,
    channel: &Channel,
    covered: &Covered,
    inbound: u32,
    answer: &[Payload],
) -> Result<Child, String> {
    made(crypto, channel, inbound, (&covered.ni, &covered.nr), answer, None)
}

fn made(
    crypto: &Provider,
    channel: &Channel,
    inbound: u32,
    nonces: (&[u8], &[u8]),
    answer: &[Payload],
    pair: Option<Pair>,
) -> Result<Child, String> {
    let sa = initial::sa(answer)?;
    let [proposal] = sa.proposals.as_slice() else { return Err("not one proposal in the answer".to_owned()) };
    let outbound = <[u8; 4]>::try_from(proposal.spi.as_slice()).map(u32::from_be_bytes);
    let one = |kind| proposal.of(kind).next();
    let cipher = one(TransformType::ENCR).and_then(|t| Encryption::from_transform(t.id, t.key_length));
    let suite = EspSuite {
        encryption: cipher.ok_or("no cipher that can be computed here")?,
        integrity: one(TransformType::INTEG).and_then(|t| Integrity::from_transform_id(t.id)),
        ke: one(TransformType::KE).and_then(|t| KeMethod::from_transform_id(t.id)),
        additional: Default::default(),
        esn: one(TransformType::ESN).is_some_and(|t| t.id == 1),
    };
    // A KE payload that was offered only in some of the proposals is there only if such a one was chosen.
    let shared = match (suite.ke, pair) {
        (Some(_), Some(pair)) => Some(pair.agree(answer)?),
        (Some(_), None) => return Err("the answer has a key exchange method that was not offered".to_owned()),
        (None, _) if answer.iter().any(|p| matches!(p, Payload::Ke(_))) => {
            return Err("an unexpected KE payload in the answer".to_owned());
        }
        (None, _) => None,
    };
    let protection = channel.protection.as_ref().ok_or("no keys yet")?;
    let keys = ChildKeys::derive(
        crypto,
        protection.suite.prf,
        &protection.keys.d,
        &suite,
        nonces,
        shared.as_slice(),
    )
    .map_err(|e| e.to_string())?;
    let selectors = |ours: bool| {
        let found = answer.iter().find_map(|p| match p {
            Payload::TsI(ts) if ours => Some(ts),
            Payload::TsR(ts) if !ours => Some(ts),
            _ => None,
        });
        found.map(|ts: &TrafficSelectors| ts.ranges().collect()).unwrap_or_default()
    };
    println!("ESP: {suite}");
    let outbound = outbound.map_err(|_| "the SPI of the answer has not 4 bytes")?;
    Ok(Child { inbound, outbound, suite, keys, local: selectors(true), remote: selectors(false) })
}

/// Puts another CHILD_SA in the place of `old` (RFC 7296 §1.3.3). The old one is deleted by [`delete`].
pub(crate) fn rekey(
    script: &Script,
    crypto: &Provider,
    channel: &mut Channel,
    old: &Child,
    proposals: &[String],
) -> Result<Child, String> {
    let (inbound, ni) = (spi(channel), channel.nonce());
    let method = proposals.iter().find_map(|proposal| words::method(proposal).ok());
    let pair = method.map(|method| Pair::new(crypto, method)).transpose()?;
    let mut payloads = vec![
        Payload::Notify(Notify::esp(NotifyType::REKEY_SA, old.inbound, Vec::new())),
        Payload::Sa(words::offer(proposals, Protocol::ESP, &inbound.to_be_bytes())?),
        Payload::Nonce(ni.clone()),
    ];
    payloads.extend(pair.as_ref().map(Pair::payload));
    payloads.push(Payload::TsI(auth::everything(script)?));
    payloads.push(Payload::TsR(auth::everything(script)?));
    let answer = channel.exchange(ExchangeType::CREATE_CHILD_SA, &payloads)?;
    initial::refused(&answer)?;
    let nr = initial::nonce(&answer)?;
    made(crypto, channel, inbound, (&ni, &nr), &answer, pair)
}

/// Deletes a CHILD_SA; the answer must delete its other half.
pub(crate) fn delete(channel: &mut Channel, old: &Child) -> Result<(), String> {
    let answer =
        channel.exchange(ExchangeType::INFORMATIONAL, &[Payload::Delete(Delete::esp(old.inbound))])?;
    let half = Payload::Delete(Delete::esp(old.outbound));
    answer
        .contains(&half)
        .then_some(())
        .ok_or_else(|| "the server did not delete its half of the CHILD_SA".to_owned())
}

/// Puts another IKE_SA in this one's place (RFC 7296 §1.3.2, §2.18), and deletes this one.
pub(crate) fn rekey_ike(
    crypto: &Provider,
    channel: &mut Channel,
    proposals: &[String],
) -> Result<(), String> {
    let (spi_i, ni) = (channel.entropy.public_u64() | 1, channel.nonce());
    let method = words::method(proposals.first().ok_or("no proposals")?)?;
    let pair = Pair::new(crypto, method)?;
    let payloads = [
        Payload::Sa(words::offer(proposals, Protocol::IKE, &spi_i.to_be_bytes())?),
        Payload::Nonce(ni.clone()),
        pair.payload(),
    ];
    let answer = channel.exchange(ExchangeType::CREATE_CHILD_SA, &payloads)?;
    initial::refused(&answer)?;
    let sa = initial::sa(&answer)?;
    let suite = initial::suite(&sa.proposals)?;
    let spi_r = sa.proposals.first().map(|proposal| proposal.spi.as_slice()).unwrap_or_default();
    let spi_r =
        <[u8; 8]>::try_from(spi_r).map(u64::from_be_bytes).map_err(|_| "the new SPI has not 8 bytes")?;
    let (nr, shared) = (initial::nonce(&answer)?, pair.agree(&answer)?);
    let of =
        Exchange { initiator_nonce: &ni, responder_nonce: &nr, initiator_spi: spi_i, responder_spi: spi_r };
    let old = channel.protection.as_ref().ok_or("no keys yet")?;
    let seed = keys::skeyseed_rekey(crypto, old.suite.prf, &old.keys.d, &of, core::slice::from_ref(&shared));
    let keys = IkeKeys::derive(crypto, &suite, &seed, &of).map_err(|e| e.to_string())?;
    let protection = Protection::new(crypto, suite, keys)?;
    channel.exchange(ExchangeType::INFORMATIONAL, &[Payload::Delete(Delete::Ike)])?;
    channel.rekeyed(spi_i, spi_r, protection);
    println!("IKE_SA rekeyed: {suite}");
    Ok(())
}
