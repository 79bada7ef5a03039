//! Whoever is dialled: Main Mode (RFC 2409 §5). Aggressive Mode is not answered at all.

use core::time::Duration;
use std::sync::Arc;

use adit_core::{Failure, Identity, Instant, Path, Secret, Step};
use adit_isakmp::crypto::KeyExchange;
use adit_isakmp::payload::Protocol;
use adit_isakmp::v1::proposal::{self, ChosenIke};
use adit_isakmp::v1::{Identification, Kind, Message, Notify, NotifyKind, Payload, flags};
use adit_isakmp::{ExchangeType, Flags};

use crate::api::{Answer, Ask, AskId, AuthMethod, Event, ResponderConfig, ResponderDefaults, Timer};
use crate::channel::{Agreed, Channel, Material, clear, header};
use crate::dialled::Dialled;
use crate::explain;
use crate::initiator::{Theirs, certificates, choose, lifetime, requests};
use crate::initiator::{value_and_nonce, wanted_authorities};
use crate::natt::{self, Nat};
use crate::policy::Policy;
use crate::state::{Cx, Datagram, Last, Next, Stands, State};
use crate::vendor::{self, Peer};

/// One phase 1 of a peer's.
pub(crate) struct Responder {
    defaults: Arc<ResponderDefaults>,
    /// We have dialled it before.
    dialled: Option<Dialled>,
    cookies: (u64, u64),
    path: Path,
    peer: Peer,
    chosen: ChosenIke,
    /// SAi_b.
    sai: Vec<u8>,
    until: Instant,
    last: Last,
    /// A fifth message came that could not be read.
    unreadable: bool,
    stage: Stage,
}

enum Stage {
    /// The second message is out.
    Second,
    /// A key pair and the pre-shared key are being had.
    Secrets(Box<Secrets>),
    /// The fourth message is out, and the shared secret is being computed, as it is at the peer.
    Agree(Box<Agree>),
    /// There are keys.
    Fourth(Box<Keyed>),
    /// It is being found out what is for this peer.
    Connection { ask: AskId, keyed: Box<Keyed>, theirs: Box<Theirs> },
    /// The peer's signature is being verified.
    Verifying { ask: AskId, keyed: Box<Keyed>, config: Box<ResponderConfig>, identity: Identity },
    /// Ours is being made.
    Signing { ask: AskId, keyed: Box<Keyed>, config: Box<ResponderConfig>, identity: Identity },
    /// Taken out while something is made of it.
    Taken,
}

struct Secrets {
    ni: Vec<u8>,
    xi: Vec<u8>,
    nat: Nat,
    wanted: Vec<Vec<u8>>,
    third: Vec<u8>,
    generate: AskId,
    key: Option<Box<dyn KeyExchange>>,
    psk_ask: Option<AskId>,
    psk: Option<Secret>,
}

struct Agree {
    ask: AskId,
    material: Material,
    nat: Nat,
    wanted: Vec<Vec<u8>>,
    psk: Option<Secret>,
    /// A fifth message that has come already.
    fifth: Option<Datagram>,
}

/// There are keys.
struct Keyed {
    channel: Channel,
    material: Material,
    nat: Nat,
    wanted: Vec<Vec<u8>>,
    /// The fifth message, and where it came from.
    fifth: Vec<u8>,
    from: Path,
}

impl Responder {
    /// Answers a first message with the choice. It has been let in.
    pub(crate) fn begin(
        cx: &mut Cx<'_>,
        (defaults, dialled): (Arc<ResponderDefaults>, Option<Dialled>),
        (datagram, message): (&Datagram, &Message),
        (chosen, cookie): (ChosenIke, u64),
    ) -> Next {
        let Some(sai) = message.body(Kind::SA).and_then(|at| datagram.bytes.get(at)) else {
            return Next::Closed(Ok(()));
        };
        let cookies = (datagram.header.initiator_spi, cookie);
        let mut peer = Peer::default();
        peer.read(message);
        let payloads = core::iter::once(Payload::Sa(chosen.answer.clone())).chain(vendor::ours());
        let payloads: Vec<_> = payloads.collect();
        let header = header(cookies, ExchangeType::IDENTITY_PROTECTION, Flags(0), 0);
        let answer = match clear(&header, &payloads) {
            Ok(bytes) => vec![bytes],
            Err(failure) => return Next::failed(failure),
        };
        if dialled.is_none() {
            cx.event(Event::Incoming { path: datagram.path });
        }
        cx.transmit_all(datagram.path, &answer);
        let until = cx.now + defaults.timing.half_open;
        Next::State(State::Responder(Box::new(Self {
            defaults,
            dialled,
            cookies,
            path: datagram.path,
            peer,
            chosen,
            sai: sai.to_vec(),
            until,
            last: Last::new(cx, &datagram.bytes, answer),
            unreadable: false,
            stage: Stage::Second,
        })))
    }

    /// Whether the peer has answered us: it is where it says.
    pub(crate) const fn is_proven(&self) -> bool {
        !matches!(self.stage, Stage::Second)
    }

    pub(crate) fn datagram(mut self: Box<Self>, cx: &mut Cx<'_>, datagram: Datagram) -> Next {
        let header = datagram.header;
        if self.last.repeat(cx, &datagram.bytes, datagram.path) {
            return self.stay();
        }
        let ours = header.responder_spi == self.cookies.1 && header.initiator_spi == self.cookies.0;
        if !ours || header.exchange != ExchangeType::IDENTITY_PROTECTION {
            cx.ignore();
            return self.stay();
        }
        let encrypted = header.flags.contains(flags::ENCRYPTION);
        let stage = core::mem::replace(&mut self.stage, Stage::Taken);
        match stage {
            Stage::Second if !encrypted => self.third(cx, datagram),
            Stage::Fourth(keyed) if encrypted => self.fifth(cx, keyed, datagram),
            // The newest: one that is none is followed by another.
            Stage::Agree(mut agree) if encrypted => {
                agree.fifth = Some(datagram);
                self.stage = Stage::Agree(agree);
                self.stay()
            }
            stage => {
                self.stage = stage;
                cx.ignore();
                self.stay()
            }
        }
    }

    pub(crate) fn answer(mut self: Box<Self>, cx: &mut Cx<'_>, id: AskId, answer: Answer) -> Next {
        let stage = core::mem::replace(&mut self.stage, Stage::Taken);
        match (stage, answer) {
            (Stage::Secrets(mut s), Answer::Generated(key)) if s.generate == id => match key {
                Ok(key) => {
                    s.key = Some(key);
                    self.have(cx, s)
                }
                Err(error) => Next::failed(explain::crypto(Step::IkeInit, error)),
            },
            (Stage::Agree(agree), Answer::Agreed(shared)) if agree.ask == id => match shared {
                Ok(shared) => self.agreed(cx, *agree, &shared),
                Err(error) => Next::failed(explain::crypto(Step::IkeInit, error)),
            },
            (Stage::Secrets(mut s), Answer::Psk(psk)) if s.psk_ask == Some(id) => match psk {
                Ok(psk) => {
                    s.psk = Some(psk);
                    self.have(cx, s)
                }
                Err(failure) => Next::failed(failure),
            },
            (Stage::Connection { ask, keyed, theirs }, Answer::Connection(config)) if ask == id => {
                match config {
                    Ok(config) => {
                        let identity = theirs.identity.clone();
                        self.chosen(cx, keyed, (*theirs, identity), config)
                    }
                    Err(failure) => self.refuse(cx, &keyed, NotifyKind::INVALID_ID_INFORMATION, failure),
                }
            }
            (Stage::Verifying { ask, keyed, config, identity }, Answer::Verified(verdict)) if ask == id => {
                match verdict {
                    Ok(()) => self.sign(cx, keyed, config, identity),
                    Err(failure) => self.refuse(cx, &keyed, NotifyKind::AUTHENTICATION_FAILED, failure),
                }
            }
            (Stage::Signing { ask, keyed, config, identity }, Answer::Signed(signature)) if ask == id => {
                match signature {
                    Ok(signature) => self.sixth(cx, keyed, (config, identity), Payload::Signature(signature)),
                    Err(failure) => self.refuse(cx, &keyed, NotifyKind::AUTHENTICATION_FAILED, failure),
                }
            }
            (stage, _) => {
                self.stage = stage;
                self.stay()
            }
        }
    }

    pub(crate) fn wake(self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        if cx.now < self.until {
            return self.stay();
        }
        let psk = self.chosen.auth == AuthMethod::Psk;
        Next::failed(match self.stage {
            Stage::Fourth(_) if self.unreadable => explain::client_unproven(psk),
            Stage::Second | Stage::Secrets(_) | Stage::Agree(_) => explain::half_open(Step::IkeInit),
            _ => explain::half_open(Step::Authenticate),
        })
    }

    /// Whether we say that there is a NAT where none is.
    fn forces(&self) -> bool {
        self.dialled.as_ref().is_some_and(|d| d.config.force_encapsulation)
    }

    pub(crate) const fn deadline(&self) -> (Instant, Timer) {
        (self.until, Timer::HalfOpen)
    }

    fn stay(self: Box<Self>) -> Next {
        Next::State(State::Responder(self))
    }

    /// The third message: the peer's public value. With a pre-shared key nothing but its address tells which key.
    fn third(mut self: Box<Self>, cx: &mut Cx<'_>, datagram: Datagram) -> Next {
        let message = Message::parse(&datagram.bytes, false).ok();
        let found = message.as_ref().and_then(value_and_nonce);
        let method = self.chosen.suite.ke;
        let (Some(message), Some((xi, ni))) =
            (message, found.filter(|(xi, _)| xi.len() == method.public_len()))
        else {
            self.stage = Stage::Second;
            cx.ignore();
            return self.stay();
        };
        self.path = datagram.path;
        self.until = cx.now + self.defaults.timing.half_open;
        let natt = self.peer.natt.is_some();
        let prf = self.chosen.suite.prf;
        let nat = Nat::detect(&*cx.shared.crypto, prf, self.cookies, datagram.path, &message);
        let generate = cx.ask(Ask::Generate(method));
        // [2409:5.4-1]
        let psk_ask = (self.chosen.auth == AuthMethod::Psk).then(|| {
            let local = Identity::Address(self.path.local.ip().to_canonical());
            cx.ask(Ask::Psk { local, remote: Identity::Address(self.path.remote.ip().to_canonical()) })
        });
        self.stage = Stage::Secrets(Box::new(Secrets {
            ni,
            xi,
            nat: Nat { forced: natt && self.forces(), ..nat.filter(|_| natt).unwrap_or_default() },
            wanted: wanted_authorities(&message),
            third: datagram.bytes,
            generate,
            key: None,
            psk_ask,
            psk: None,
        }));
        self.stay()
    }

    /// What came of the two asks: with both there is the fourth message.
    fn have(mut self: Box<Self>, cx: &mut Cx<'_>, mut s: Box<Secrets>) -> Next {
        let complete = s.key.is_some() && s.psk_ask.is_some() == s.psk.is_some();
        let Some(key) = s.key.take_if(|_| complete) else {
            self.stage = Stage::Secrets(s);
            return self.stay();
        };
        let (xr, nr) = (key.public().to_vec(), cx.nonce());
        let prf = self.chosen.suite.prf;
        let mut payloads = vec![Payload::Ke(xr.clone()), Payload::Nonce(nr.clone())];
        if self.chosen.auth == AuthMethod::RsaSignatures {
            payloads.extend(requests(&self.defaults.authorities));
        }
        let how = (self.peer, self.forces());
        payloads.extend(natt::payloads(&*cx.shared.crypto, prf, self.cookies, self.path, how));
        let header = header(self.cookies, ExchangeType::IDENTITY_PROTECTION, Flags(0), 0);
        let answer = match clear(&header, &payloads) {
            Ok(bytes) => vec![bytes],
            Err(failure) => return Next::failed(failure),
        };
        cx.transmit_all(self.path, &answer);
        let Secrets { ni, xi, nat, wanted, third, psk, .. } = *s;
        self.last = Last::new(cx, &third, answer);
        let ask = cx.ask(Ask::Agree { key, peer: xi.clone() });
        let material = Material { cookies: self.cookies, ni, nr, xi, xr, sa: self.sai.clone() };
        self.stage = Stage::Agree(Box::new(Agree { ask, material, nat, wanted, psk, fifth: None }));
        self.stay()
    }

    /// There is a shared secret, and so there are keys.
    fn agreed(mut self: Box<Self>, cx: &mut Cx<'_>, agree: Agree, shared: &Secret) -> Next {
        let Agree { material, nat, wanted, psk, fifth, .. } = agree;
        let agreed = Agreed {
            suite: self.chosen.suite,
            peer: self.peer,
            path: self.path,
            fragment_size: self.defaults.fragment_size,
            shared,
            psk: psk.as_ref(),
        };
        let channel = match Channel::derive(cx, &material, &agreed) {
            Ok(channel) => channel,
            Err(error) => return Next::failed(explain::crypto(Step::IkeInit, error)),
        };
        let from = self.path;
        let keyed = Box::new(Keyed { channel, material, nat, wanted, fifth: Vec::new(), from });
        match fifth {
            Some(datagram) => self.fifth(cx, keyed, datagram),
            None => {
                self.stage = Stage::Fourth(keyed);
                self.stay()
            }
        }
    }

    /// The fifth message: who the peer is, and its proof.
    fn fifth(mut self: Box<Self>, cx: &mut Cx<'_>, mut keyed: Box<Keyed>, datagram: Datagram) -> Next {
        let psk = self.chosen.auth == AuthMethod::Psk;
        let opened = keyed.channel.open_phase1(&datagram.bytes);
        let read = opened.and_then(|(plain, message, iv)| Some((Theirs::of(&message, &plain)?, message, iv)));
        let Some((theirs, message, iv)) = read else {
            return self.unreadable(cx, keyed, &datagram);
        };
        let hash = keyed.channel.hash(cx, &keyed.material, true, &theirs.id_body);
        if psk && !theirs.has(&hash) {
            return self.unreadable(cx, keyed, &datagram);
        }
        keyed.channel.accept(iv);
        self.peer.read(&message);
        self.peer.initial_contact |= message.iter().any(says_initial_contact);
        keyed.wanted.extend(wanted_authorities(&message));
        // [3947:4-2]
        (keyed.fifth, keyed.from) = (datagram.bytes, datagram.path);
        if let Some(dialled) = &self.dialled {
            let (identity, config) = (dialled.identity(&theirs, self.chosen.auth), dialled.responder());
            return match identity {
                Ok(identity) => self.chosen(cx, keyed, (theirs, identity), Box::new(config)),
                Err(why) => {
                    // It has the key: what it says is worth to be told.
                    cx.event(Event::RekeyRefused { child: None, why: why.clone() });
                    self.refuse(cx, &keyed, NotifyKind::INVALID_ID_INFORMATION, why)
                }
            };
        }
        let question =
            Ask::Connection { remote: theirs.identity.clone(), auth: self.chosen.auth, path: datagram.path };
        let ask = cx.ask(question);
        self.stage = Stage::Connection { ask, keyed, theirs: Box::new(theirs) };
        self.stay()
    }

    /// With the wrong pre-shared key the fifth message is noise. The peer is told once, in clear, as it can read nothing
    /// else; what it makes of that is its own affair.
    fn unreadable(mut self: Box<Self>, cx: &mut Cx<'_>, keyed: Box<Keyed>, datagram: &Datagram) -> Next {
        cx.forged();
        if !self.unreadable {
            self.unreadable = true;
            let header = header(self.cookies, ExchangeType::INFORMATIONAL_V1, Flags(0), cx.message_id());
            if let Ok(bytes) = clear(&header, &[error(NotifyKind::PAYLOAD_MALFORMED)]) {
                cx.transmit_all(datagram.path, &[bytes]);
            }
        }
        self.stage = Stage::Fourth(keyed);
        self.stay()
    }

    /// There is a configuration for the peer.
    fn chosen(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        keyed: Box<Keyed>,
        (theirs, identity): (Theirs, Identity),
        config: Box<ResponderConfig>,
    ) -> Next {
        if self.chosen.auth == AuthMethod::Psk {
            return self.sign(cx, keyed, config, identity);
        }
        let hash = keyed.channel.hash(cx, &keyed.material, true, &theirs.id_body);
        match theirs.ask(identity.clone(), hash) {
            Some(question) => {
                let ask = cx.ask(question);
                self.stage = Stage::Verifying { ask, keyed, config, identity };
                self.stay()
            }
            None => {
                let failure = explain::client_unproven(false);
                self.refuse(cx, &keyed, NotifyKind::INVALID_SIGNATURE, failure)
            }
        }
    }

    /// The peer is who it says; our own proof follows.
    fn sign(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        keyed: Box<Keyed>,
        config: Box<ResponderConfig>,
        identity: Identity,
    ) -> Next {
        let id = Identification::of(&config.local_id);
        let Ok(body) = Payload::Id(id).body() else {
            return Next::failed(explain::nothing_to_offer("local-id"));
        };
        let hash = keyed.channel.hash(cx, &keyed.material, false, &body);
        if self.chosen.auth == AuthMethod::Psk {
            let hash = Payload::Hash(hash.expose().to_vec());
            return self.sixth(cx, keyed, (config, identity), hash);
        }
        let ask = cx.ask(Ask::Sign { certificate: choose(&config.own, &keyed.wanted), message: hash });
        self.stage = Stage::Signing { ask, keyed, config, identity };
        self.stay()
    }

    /// The sixth message; phase 1 is over.
    fn sixth(
        self: Box<Self>,
        cx: &mut Cx<'_>,
        mut keyed: Box<Keyed>,
        (config, identity): (Box<ResponderConfig>, Identity),
        auth: Payload,
    ) -> Next {
        let mut payloads = vec![Payload::Id(Identification::of(&config.local_id))];
        if self.chosen.auth == AuthMethod::RsaSignatures {
            payloads.extend(certificates(&config.own, &keyed.wanted));
        }
        payloads.push(auth);
        let (life, told) = life(self.chosen.life, config.timing.rekey_ike);
        payloads.extend(told.map(|told| responder_lifetime(self.cookies, told)));
        keyed.channel.path = keyed.from;
        let answer = match keyed.channel.seal_phase1(ExchangeType::IDENTITY_PROTECTION, &payloads) {
            Ok(answer) => answer,
            Err(failure) => return Next::failed(failure),
        };
        cx.transmit_all(keyed.from, &answer);
        let Keyed { mut channel, nat, fifth, .. } = *keyed;
        channel.peer = self.peer;
        Next::Stands(Box::new(Stands {
            channel,
            initiator: false,
            auth: self.chosen.auth,
            nat,
            life: Some(life),
            remote_id: identity,
            policy: Arc::new(Policy::of_responder(*config)),
            config: None,
            initial_contact: self.peer.initial_contact,
            last: Last::new(cx, &fifth, answer),
        }))
    }

    /// The peer is told under our keys, and that is all.
    fn refuse(self: Box<Self>, cx: &mut Cx<'_>, keyed: &Keyed, kind: NotifyKind, failure: Failure) -> Next {
        let id = cx.message_id();
        if let Ok(datagrams) = keyed.channel.seal_informational(cx, id, error(kind)) {
            cx.transmit_all(keyed.from, &datagrams);
        }
        Next::failed(failure)
    }
}

/// The life of an ISAKMP SA, and what of it the peer is told: ours, where it is shorter than what the peer offers. Only who
/// has dialled can make a new one, and many a client does not read what it is told: so the SA stands as long as the peer
/// believes, at most a day. To end it before would end what is protected, too.
fn life(offered: Option<Duration>, rekey: Duration) -> (Duration, Option<Duration>) {
    const MOST: Duration = Duration::from_hours(24);
    let ours = lifetime(rekey);
    // [2409:4-3]
    match offered {
        Some(offered) if offered <= ours => (offered, None),
        Some(offered) => (offered.min(MOST).max(ours), Some(ours)),
        None => (ours, Some(ours)),
    }
}

/// RESPONDER-LIFETIME of an ISAKMP SA (RFC 2407 §4.6.3.1).
fn responder_lifetime(cookies: (u64, u64), life: Duration) -> Payload {
    let spi = [cookies.0.to_be_bytes(), cookies.1.to_be_bytes()].concat();
    let data = proposal::lifetime_data(life);
    Payload::Notify(Notify::new(Protocol::IKE, spi, NotifyKind::RESPONDER_LIFETIME, data))
}

/// A notify of an error.
pub(crate) const fn error(kind: NotifyKind) -> Payload {
    Payload::Notify(Notify::new(Protocol::IKE, Vec::new(), kind, Vec::new()))
}

fn says_initial_contact(payload: &Payload) -> bool {
    matches!(payload, Payload::Notify(n) if n.kind == NotifyKind::INITIAL_CONTACT)
}
