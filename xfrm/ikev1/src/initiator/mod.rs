//! Who dials: Main Mode, and Aggressive Mode where the profile says so (RFC 2409 §5.1 to §5.4).

mod messages;
mod proof;

use std::sync::Arc;

use adit_core::{Failure, Identity, Instant, Path, Secret, Step};
use adit_isakmp::ExchangeType;
use adit_isakmp::crypto::KeyExchange;
use adit_isakmp::v1::proposal::{self, ChosenIke};
use adit_isakmp::v1::{Message, NotifyKind, Payload, SecurityAssociation, flags};

use crate::api::{Answer, Ask, AskId, Auth, InitiatorConfig, Timer};
use crate::channel::{Agreed, Channel, Material, clear, header};
use crate::explain;
use crate::natt::Nat;
use crate::request::{Request, Retry};
use crate::state::{Cx, Datagram, Next, State};
use crate::vendor::{self, Peer};

use proof::Proof;

pub(crate) use messages::{value_and_nonce, wanted_authorities};
pub(crate) use proof::{Theirs, certificates, choose, requests};

/// One phase 1 of ours.
pub(crate) struct Initiator {
    config: Arc<InitiatorConfig>,
    cookie: u64,
    peer_cookie: u64,
    path: Path,
    peer: Peer,
    offered: SecurityAssociation,
    /// SAi_b.
    sai: Vec<u8>,
    request: Option<Request>,
    /// What somebody has said in clear, and how often.
    said: Option<(NotifyKind, u32)>,
    /// Why the last answer could not be used.
    unusable: Option<&'static str>,
    /// When an Ask has taken too long.
    patience: Instant,
    stage: Stage,
}

enum Stage {
    /// Main Mode: the first message is out.
    First,
    /// Main Mode: what both use is known.
    Generating { ask: AskId, chosen: Box<ChosenIke> },
    /// Main Mode: the third message is out.
    Third { chosen: Box<ChosenIke>, key: Box<dyn KeyExchange>, ni: Vec<u8> },
    /// Aggressive Mode: nothing is out yet.
    AggressiveKey { ask: AskId },
    /// Aggressive Mode: the first message is out.
    AggressiveSent { key: Box<dyn KeyExchange>, ni: Vec<u8> },
    /// The shared secret and the pre-shared key are being had.
    Secrets(Box<Secrets>),
    /// Aggressive Mode: the peer's signature is being verified.
    Checking { ask: AskId, proof: Box<Proof> },
    /// Our signature is being made.
    Signing { ask: AskId, proof: Box<Proof> },
    /// Main Mode: the fifth message is out.
    Fifth(Box<Proof>),
    /// Main Mode: the peer's signature is being verified.
    Verifying { ask: AskId, proof: Box<Proof>, datagram: Vec<u8> },
    /// Taken out while something is made of it.
    Taken,
}

struct Secrets {
    chosen: Box<ChosenIke>,
    material: Material,
    nat: Nat,
    agree: AskId,
    shared: Option<Secret>,
    psk_ask: Option<AskId>,
    psk: Option<Secret>,
    /// The authorities that the peer wants certificates of.
    wanted: Vec<Vec<u8>>,
    /// Aggressive Mode: the peer's proof came with its public value.
    theirs: Option<Theirs>,
    /// Aggressive Mode: the datagram that it came in.
    datagram: Vec<u8>,
}

impl Initiator {
    /// Sends the first message, or asks for the key pair of Aggressive Mode's.
    pub(crate) fn begin(cx: &mut Cx<'_>, config: Arc<InitiatorConfig>, cookie: u64) -> Next {
        let only = if config.aggressive { proposal::first_ke(&config.ike) } else { None };
        let life = lifetime(config.timing.rekey_ike);
        let Some(offered) = proposal::offer_ike(&config.ike, config.auth.method(), life, only) else {
            return Next::failed(explain::nothing_to_offer("ike"));
        };
        let sai = match Payload::Sa(offered.clone()).body() {
            Ok(body) => body,
            Err(_) => return Next::failed(explain::nothing_to_offer("ike")),
        };
        cx.progress(Step::IkeInit);
        let mut this = Box::new(Self {
            path: config.path,
            config,
            cookie,
            peer_cookie: 0,
            peer: Peer::default(),
            offered,
            sai,
            request: None,
            said: None,
            unusable: None,
            patience: cx.now,
            stage: Stage::First,
        });
        if let Some(ke) = only {
            let ask = cx.ask(Ask::Generate(ke));
            this.asked(cx, Stage::AggressiveKey { ask });
            return this.stay();
        }
        let payloads = core::iter::once(Payload::Sa(this.offered.clone())).chain(vendor::ours());
        let payloads: Vec<_> = payloads.collect();
        match this.send_clear(cx, ExchangeType::IDENTITY_PROTECTION, &payloads) {
            Ok(()) => this.stay(),
            Err(failure) => Next::failed(failure),
        }
    }

    pub(crate) fn datagram(mut self: Box<Self>, cx: &mut Cx<'_>, datagram: Datagram) -> Next {
        let header = datagram.header;
        let foreign = self.peer_cookie != 0 && header.responder_spi != self.peer_cookie;
        if header.exchange == ExchangeType::INFORMATIONAL_V1 {
            return self.notice(cx, &datagram);
        }
        let mode =
            if self.config.aggressive { ExchangeType::AGGRESSIVE } else { ExchangeType::IDENTITY_PROTECTION };
        if foreign || header.exchange != mode || header.responder_spi == 0 {
            cx.ignore();
            return self.stay();
        }
        let encrypted = header.flags.contains(flags::ENCRYPTION);
        let stage = core::mem::replace(&mut self.stage, Stage::Taken);
        // [2409:5-1]
        match (stage, encrypted) {
            (Stage::Fifth(proof), true) => self.sixth(cx, proof, datagram),
            (stage @ (Stage::First | Stage::Third { .. } | Stage::AggressiveSent { .. }), false) => {
                let Ok(message) = Message::parse(&datagram.bytes, false) else {
                    self.stage = stage;
                    return self.useless(cx, "it is malformed");
                };
                match stage {
                    Stage::First => self.second(cx, header.responder_spi, &message),
                    Stage::Third { chosen, key, ni } => self.fourth(cx, (chosen, key, ni), &message),
                    Stage::AggressiveSent { key, ni } => self.aggressive(cx, (key, ni), datagram, &message),
                    other => {
                        self.stage = other;
                        self.stay()
                    }
                }
            }
            (stage, _) => {
                self.stage = stage;
                cx.ignore();
                self.stay()
            }
        }
    }

    pub(crate) fn answer(mut self: Box<Self>, cx: &mut Cx<'_>, id: AskId, answer: Answer) -> Next {
        let stage = core::mem::replace(&mut self.stage, Stage::Taken);
        match (stage, answer) {
            (Stage::Generating { ask, chosen }, Answer::Generated(key)) if ask == id => match key {
                Ok(key) => self.send_third(cx, chosen, key),
                Err(error) => Next::failed(explain::crypto(Step::IkeInit, error)),
            },
            (Stage::AggressiveKey { ask }, Answer::Generated(key)) if ask == id => match key {
                Ok(key) => self.send_aggressive(cx, key),
                Err(error) => Next::failed(explain::crypto(Step::IkeInit, error)),
            },
            (Stage::Secrets(mut secrets), Answer::Agreed(shared)) if secrets.agree == id => match shared {
                Ok(shared) => {
                    secrets.shared = Some(shared);
                    self.have(cx, secrets)
                }
                Err(error) => Next::failed(explain::crypto(Step::IkeInit, error)),
            },
            (Stage::Secrets(mut secrets), Answer::Psk(psk)) if secrets.psk_ask == Some(id) => match psk {
                Ok(psk) => {
                    secrets.psk = Some(psk);
                    self.have(cx, secrets)
                }
                Err(failure) => Next::failed(failure),
            },
            (Stage::Checking { ask, proof }, Answer::Verified(verdict)) if ask == id => match verdict {
                Ok(()) => self.prove(cx, proof),
                Err(failure) => Next::failed(failure),
            },
            (Stage::Signing { ask, proof }, Answer::Signed(signature)) if ask == id => match signature {
                Ok(signature) => self.send_proof(cx, proof, Payload::Signature(signature)),
                Err(failure) => Next::failed(failure),
            },
            (Stage::Verifying { ask, proof, datagram }, Answer::Verified(verdict)) if ask == id => {
                match verdict {
                    Ok(()) => self.stands(cx, proof, &datagram, Vec::new()),
                    Err(failure) => Next::failed(failure),
                }
            }
            (stage, _) => {
                self.stage = stage;
                self.stay()
            }
        }
    }

    pub(crate) fn wake(mut self: Box<Self>, cx: &mut Cx<'_>) -> Next {
        let given_up = match &mut self.request {
            Some(request) => request.wake(cx) == Retry::GivenUp,
            None => cx.now >= self.patience,
        };
        if given_up { Next::failed(self.given_up(cx)) } else { self.stay() }
    }

    pub(crate) fn deadline(&self) -> Option<(Instant, Timer)> {
        Some(match &self.request {
            Some(request) => (request.deadline(), Timer::Retransmit),
            None => (self.patience, Timer::HalfOpen),
        })
    }

    fn stay(self: Box<Self>) -> Next {
        Next::State(State::Initiator(self))
    }

    /// An answer was no use. It is waited for a better one: anybody may have sent it.
    fn useless(mut self: Box<Self>, cx: &mut Cx<'_>, why: &'static str) -> Next {
        cx.ignore();
        self.unusable = Some(why);
        self.stay()
    }

    fn asked(&mut self, cx: &Cx<'_>, stage: Stage) {
        self.request = None;
        self.patience = cx.now + self.config.timing.half_open;
        self.stage = stage;
    }

    const fn step(&self) -> Step {
        match self.stage {
            Stage::Signing { .. } | Stage::Fifth(_) | Stage::Verifying { .. } => Step::Authenticate,
            _ => Step::IkeInit,
        }
    }

    fn given_up(&self, cx: &Cx<'_>) -> Failure {
        let (to, step) = (self.path.remote, self.step());
        let sent =
            self.request.as_ref().map_or((0, core::time::Duration::ZERO), |r| (r.sent(), r.age(cx.now)));
        match (self.said, self.unusable) {
            (Some((kind, _)), _) => explain::refused(&self.config, &self.offered, step, kind),
            (None, Some(_)) if step == Step::Authenticate => explain::server_unproven(&self.config),
            (None, Some(why)) => explain::unusable(to, step, why),
            (None, None) => explain::unreachable(&self.config, to, step, sent),
        }
    }

    /// Something that is not part of the exchange. In clear it is not believed, but remembered; where it is said again
    /// to a message that was sent again, it probably is so.
    fn notice(mut self: Box<Self>, cx: &mut Cx<'_>, datagram: &Datagram) -> Next {
        if datagram.path.remote.ip() != self.path.remote.ip() {
            cx.ignore();
            return self.stay();
        }
        if datagram.header.flags.contains(flags::ENCRYPTION) {
            return self.protected_notice(cx, datagram);
        }
        // [2408:5.14-1]
        let error = Message::parse(&datagram.bytes, false).ok().and_then(|m| error_in(&m));
        let Some(kind) = error else {
            cx.ignore();
            return self.stay();
        };
        let count = self.said.filter(|(k, _)| *k == kind).map_or(1, |(_, n)| n.saturating_add(1));
        self.said = Some((kind, count));
        let again = self.request.as_ref().is_some_and(|r| r.sent() > 1) && count > 1;
        if again { Next::failed(self.given_up(cx)) } else { self.stay() }
    }

    /// The peer has our keys, and says that it will not have us.
    fn protected_notice(self: Box<Self>, cx: &mut Cx<'_>, datagram: &Datagram) -> Next {
        let Stage::Fifth(proof) = &self.stage else {
            cx.ignore();
            return self.stay();
        };
        let mut iv = proof.channel.first_iv(cx, datagram.header.message_id);
        let Some(message) = proof.channel.open(cx, &mut iv, &[], &datagram.bytes) else {
            cx.forged();
            return self.stay();
        };
        match error_in(&message) {
            Some(kind) => {
                Next::failed(explain::refused(&self.config, &self.offered, Step::Authenticate, kind))
            }
            None => self.stay(),
        }
    }

    fn send_clear(
        &mut self,
        cx: &mut Cx<'_>,
        exchange: ExchangeType,
        payloads: &[Payload],
    ) -> Result<(), Failure> {
        let header = header((self.cookie, self.peer_cookie), exchange, adit_isakmp::Flags(0), 0);
        let bytes = clear(&header, payloads)?;
        let timing = &self.config.timing;
        let tries = if self.peer_cookie == 0 { timing.init_tries } else { timing.tries };
        self.request = Some(Request::send(cx, self.path, vec![bytes], (timing, tries)));
        Ok(())
    }

    /// What came of the two asks; goes on when both are there.
    fn have(mut self: Box<Self>, cx: &mut Cx<'_>, mut secrets: Box<Secrets>) -> Next {
        // In whichever order they come.
        let complete = secrets.psk.is_some() || !matches!(self.config.auth, Auth::Psk);
        let Some(shared) = secrets.shared.take_if(|_| complete) else {
            self.stage = Stage::Secrets(secrets);
            return self.stay();
        };
        let psk = secrets.psk.take();
        let agreed = Agreed {
            suite: secrets.chosen.suite,
            peer: self.peer,
            path: self.path,
            fragment_size: self.config.fragment_size,
            shared: &shared,
            psk: psk.as_ref(),
        };
        let channel = match Channel::derive(cx, &secrets.material, &agreed) {
            Ok(channel) => channel,
            Err(error) => return Next::failed(explain::crypto(Step::IkeInit, error)),
        };
        cx.progress(Step::Authenticate);
        let Secrets { chosen, material, nat, wanted, theirs, datagram, .. } = *secrets;
        let life = shorter(chosen.life, Some(lifetime(self.config.timing.rekey_ike)));
        let proof = Box::new(Proof { channel, material, nat, wanted, life, remote: None, datagram });
        match theirs {
            Some(theirs) => self.check(cx, proof, theirs),
            None => self.prove(cx, proof),
        }
    }

    fn local(&self) -> &Identity {
        &self.config.local_id
    }
}

/// The life that goes with the age at which something is rekeyed: half as long again.
pub(crate) fn lifetime(rekey: core::time::Duration) -> core::time::Duration {
    const NEVER: core::time::Duration = core::time::Duration::from_hours(24);
    if rekey.is_zero() { NEVER } else { rekey.saturating_add(rekey / 2) }
}

/// The shorter one of two lives.
pub(crate) fn shorter(
    a: Option<core::time::Duration>,
    b: Option<core::time::Duration>,
) -> Option<core::time::Duration> {
    // [2409:4-3]
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn error_in(message: &Message) -> Option<NotifyKind> {
    message.iter().find_map(|p| match p {
        Payload::Notify(n) if n.is_error() => Some(n.kind),
        _ => None,
    })
}
