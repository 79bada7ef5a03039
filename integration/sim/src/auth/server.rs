//! A RADIUS server: it decides by EAP or by MS-CHAPv2, keeps its conversations until it falls, and is to be believed.

use std::collections::{BTreeMap, BTreeSet};

use adit_auth::eap::{Authenticator, AuthenticatorAsk, AuthenticatorStep, TlsAnswer, UserSecret, Verdict};
use adit_auth::mschap::{Exchange, MasterKeys, NtHash, authenticator_response, verify};
use adit_auth::radius::{Code, Packet, Vendor, Writer, attribute};
use adit_core::{Instant, Secret};

use super::engine::Engine;
use super::signing::{answer, is_signed, salted};
use super::talk::{Way, authenticator_config};
use super::{PASSWORD, People, RIGHT};
use crate::random::Random;

/// A conversation of this server.
struct Ongoing {
    talk: usize,
    authenticator: Authenticator,
    engine: Engine,
}

/// One server.
pub(super) struct RadiusServer {
    pub(super) secret: Vec<u8>,
    /// When it is down.
    pub(super) down: Vec<(Instant, Instant)>,
    fell: usize,
    ongoing: BTreeMap<Vec<u8>, Ongoing>,
    /// RFC 5080 §2.2.2: the same request gets the same answer.
    answers: BTreeMap<(u8, [u8; 16]), Vec<u8>>,
    /// Accounting records: the session, and what of it.
    pub(super) noted: BTreeSet<(usize, u32)>,
    /// Whom it has let in: the key of the conversation.
    pub(super) accepted: BTreeMap<usize, Option<Vec<u8>>>,
    random: Random,
}

/// What a request asks for, in the simulation's own terms.
struct Asked<'a> {
    packet: Packet<'a>,
    talk: usize,
}

impl RadiusServer {
    pub(super) fn new(secret: Vec<u8>, down: Vec<(Instant, Instant)>, random: Random) -> Self {
        Self {
            secret,
            down,
            fell: 0,
            ongoing: BTreeMap::new(),
            answers: BTreeMap::new(),
            noted: BTreeSet::new(),
            accepted: BTreeMap::new(),
            random,
        }
    }

    pub(super) fn is_down(&self, now: Instant) -> bool {
        self.down.iter().any(|(from, to)| *from <= now && now < *to)
    }

    /// A request has come. An error is a broken promise of the client.
    pub(super) fn request(
        &mut self,
        now: Instant,
        bytes: &[u8],
        people: &People,
    ) -> Result<Option<Vec<u8>>, String> {
        // Who falls forgets.
        let fallen = self.down.iter().filter(|(from, _)| *from <= now).count();
        if fallen != self.fell {
            self.fell = fallen;
            self.ongoing.clear();
            self.answers.clear();
        }
        if self.is_down(now) {
            return Ok(None);
        }
        let packet = Packet::parse(bytes).map_err(|e| format!("a request that can't be read: {e}"))?;
        if !is_signed(bytes, &self.secret) {
            return Err(format!("a request that is not signed: {:?}", packet.code()));
        }
        let key = (packet.identifier(), packet.authenticator());
        if let Some(again) = self.answers.get(&key) {
            return Ok(Some(again.clone()));
        }
        let session = packet.value(attribute::ACCT_SESSION_ID).and_then(|v| core::str::from_utf8(v).ok());
        let talk = session.and_then(|s| s.parse().ok()).unwrap_or(usize::MAX);
        let asked = Asked { packet, talk };
        let out = match asked.packet.code() {
            Code::STATUS_SERVER => Some(self.answer(key, Code::ACCESS_ACCEPT, |_| {})),
            Code::ACCOUNTING_REQUEST => {
                let kind = asked.packet.value(attribute::ACCT_STATUS_TYPE).and_then(|v| v.try_into().ok());
                self.noted.insert((talk, kind.map_or(0, u32::from_be_bytes)));
                Some(self.answer(key, Code::ACCOUNTING_RESPONSE, |_| {}))
            }
            _ => self.access(key, &asked, people),
        };
        if let Some(out) = &out {
            self.answers.insert(key, out.clone());
        }
        Ok(out)
    }

    fn answer(&self, request: (u8, [u8; 16]), code: Code, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        answer(code, request, &self.secret, true, write)
    }

    fn access(&mut self, key: (u8, [u8; 16]), asked: &Asked<'_>, people: &People) -> Option<Vec<u8>> {
        let Some(eap) = asked.packet.joined(attribute::EAP_MESSAGE).filter(|e| !e.is_empty()) else {
            return Some(self.chap(key, asked, people));
        };
        let state = asked.packet.value(attribute::STATE);
        let mut ongoing = match state {
            Some(state) => match self.ongoing.remove(state) {
                Some(ongoing) => ongoing,
                // It has fallen since.
                None => return Some(self.answer(key, Code::ACCESS_REJECT, |_| {})),
            },
            None => {
                let (method, version) = people.how(asked.talk)?;
                let authenticator = Authenticator::answered(authenticator_config(method), &eap)?;
                let engine = Engine::new(true, version, Some(RIGHT), people.certificate(asked.talk));
                Ongoing { talk: asked.talk, authenticator, engine }
            }
        };
        let mut step = ongoing.authenticator.packet(&mut self.random, &eap);
        loop {
            step = match step {
                AuthenticatorStep::Ask(AuthenticatorAsk::User { identity }) => {
                    ongoing.authenticator.user(&mut self.random, Ok(people.known(&identity)))
                }
                AuthenticatorStep::Ask(AuthenticatorAsk::StorePassword { .. }) => {
                    ongoing.authenticator.stored(&mut self.random, Ok(()))
                }
                AuthenticatorStep::Tls(ask) => {
                    let answer: TlsAnswer = ongoing.engine.act(&ask, false);
                    ongoing.authenticator.tls(&mut self.random, answer)
                }
                AuthenticatorStep::Send(packet) => {
                    let mut state = vec![0; 16];
                    adit_core::Entropy::public(&mut self.random, &mut state);
                    let out = self.answer(key, Code::ACCESS_CHALLENGE, |w| {
                        w.attribute(attribute::EAP_MESSAGE, &packet).attribute(attribute::STATE, &state);
                    });
                    self.ongoing.insert(state, ongoing);
                    return Some(out);
                }
                AuthenticatorStep::Ended(packet, verdict) => {
                    return Some(self.ended(key, ongoing.talk, &packet, verdict));
                }
                AuthenticatorStep::Ignore => return None,
            };
        }
    }

    fn ended(&mut self, key: (u8, [u8; 16]), talk: usize, packet: &[u8], verdict: Verdict) -> Vec<u8> {
        let Ok(established) = verdict else {
            return self.answer(key, Code::ACCESS_REJECT, |w| {
                w.attribute(attribute::EAP_MESSAGE, packet);
            });
        };
        let msk = established.msk.map(|m| m.expose().to_vec());
        self.accepted.insert(talk, msk.clone());
        self.accept(key, msk.as_deref(), |w| {
            w.attribute(attribute::EAP_MESSAGE, packet);
        })
    }

    /// MS-MPPE-Recv-Key is the first half of the MSK, -Send-Key the second (RFC 2548 §2.4, RFC 5216 §2.3).
    fn accept(&mut self, key: (u8, [u8; 16]), msk: Option<&[u8]>, more: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let halves = msk.map(|m| m.split_at(m.len() / 2));
        let [salt, _] = self.random.number().to_be_bytes().first_chunk::<2>().copied().unwrap_or_default();
        answer(Code::ACCESS_ACCEPT, key, &self.secret, true, |w| {
            if let Some((receive, send)) = halves {
                let receive = salted(receive, [salt, 1], &key.1, &self.secret);
                let send = salted(send, [salt, 2], &key.1, &self.secret);
                w.attribute(attribute::VENDOR_SPECIFIC, &Vendor::MPPE_RECV_KEY.wrap(&receive));
                w.attribute(attribute::VENDOR_SPECIFIC, &Vendor::MPPE_SEND_KEY.wrap(&send));
            }
            more(w);
        })
    }

    fn chap(&mut self, key: (u8, [u8; 16]), asked: &Asked<'_>, people: &People) -> Vec<u8> {
        let Some((keys, proof)) = self.chap_keys(asked, people) else {
            return self.answer(key, Code::ACCESS_REJECT, |w| {
                w.attribute(attribute::VENDOR_SPECIFIC, &Vendor::CHAP_ERROR.wrap(b"\0E=691 R=0 V=3"));
            });
        };
        self.accepted.insert(asked.talk, Some(keys.clone()));
        self.accept(key, Some(&keys), |w| {
            let success = [b"\0", proof.as_bytes()].concat();
            w.attribute(attribute::VENDOR_SPECIFIC, &Vendor::CHAP2_SUCCESS.wrap(&success));
        })
    }

    fn chap_keys(&self, asked: &Asked<'_>, people: &People) -> Option<(Vec<u8>, String)> {
        let name = core::str::from_utf8(asked.packet.value(attribute::USER_NAME)?).ok()?;
        let values: Vec<&[u8]> = asked
            .packet
            .attributes()
            .filter(|(_, kind, _)| *kind == attribute::VENDOR_SPECIFIC)
            .map(|(_, _, value)| value)
            .collect();
        let vendor = |wanted: u8| values.iter().find(|v| v.get(4) == Some(&wanted)).and_then(|v| v.get(6..));
        let challenge: &[u8; 16] = vendor(Vendor::CHAP_CHALLENGE.0)?.first_chunk()?;
        let response = vendor(Vendor::CHAP2_RESPONSE.0)?;
        let (peer, proof) = (response.get(2..18)?.first_chunk()?, response.get(26..50)?.first_chunk()?);
        let UserSecret { hash, .. } = people.known(name)?;
        let exchange = Exchange { authenticator: challenge, peer, user: name };
        verify(&hash, exchange, proof).then(|| {
            let keys = MasterKeys::derive(&hash, proof).both().expose().to_vec();
            (keys, authenticator_response(&hash, exchange, proof))
        })
    }
}

impl People {
    /// What a server knows of somebody.
    pub(super) fn known(&self, name: &str) -> Option<UserSecret> {
        let known = self.names.iter().any(|n| n == name);
        let hash = known.then(|| NtHash::of(&Secret::from(PASSWORD))).flatten()?;
        Some(UserSecret { hash, expired: false, clear: None })
    }

    /// Whether this conversation goes by RADIUS.
    pub(super) fn by_radius(way: Way) -> bool {
        way != Way::Local
    }
}
