//! One conversation: a peer with its person, and the access server that lets it in or does not.

use adit_auth::eap::{
    Authenticator, AuthenticatorAsk, AuthenticatorConfig, AuthenticatorStep, Binding, Code, InnerConfig,
    Method, Packet, Peer, PeerConfig, PeerStep, TlsAsk, TlsVersion, TtlsInner, Verdict, emit,
};
use adit_auth::mschap::{Exchange, MasterKeys, NtHash, nt_response, verify_authenticator};
use adit_auth::radius::{self, Query, QueryId, ServerId, attribute, chap};
use adit_core::{Entropy, Failure, FailureCode, Secret, Step};

use super::engine::Engine;
use super::{FALSE, NAMES, PASSWORD, RIGHT};
use crate::random::Random;

/// Who decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// We, by EAP.
    Local,
    /// A RADIUS server, by EAP that passes through.
    Radius,
    /// A RADIUS server, by MS-CHAPv2.
    Chap,
}

/// Who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    /// Somebody who may come in.
    Right,
    /// The same, who mistypes once.
    Typo,
    /// Somebody with another's name, and not the password nor the certificate.
    Wrong,
    /// Somebody whom nobody knows.
    Unknown,
    /// Somebody who may come in, at a server that is not ours.
    Deceived,
}

/// What is to be done.
pub(super) enum Effect {
    ToPeer(Vec<u8>),
    ToServer(Vec<u8>),
    Person,
    PeerTls(TlsAsk),
    Users(AuthenticatorAsk),
    ServerTls(TlsAsk),
    Query(Query),
    /// The access server has decided.
    Decided,
}

/// What an end made of it: the key.
pub(super) type Outcome = Result<Option<Vec<u8>>, Failure>;

/// A conversation.
pub(super) struct Talk {
    pub(super) index: usize,
    pub(super) way: Way,
    pub(super) who: Who,
    pub(super) method: Method,
    pub(super) version: TlsVersion,
    pub(super) name: &'static str,
    peer: Peer,
    pub(super) peer_engine: Engine,
    typed: Vec<&'static [u8]>,
    local: Authenticator,
    first: Vec<u8>,
    pub(super) engine: Engine,
    state: Option<(ServerId, Vec<u8>)>,
    pub(super) query: Option<QueryId>,
    response: Vec<u8>,
    challenges: ([u8; 16], [u8; 16]),
    /// What the access server decided.
    pub(super) decided: Option<Outcome>,
    /// How it ended for the peer.
    pub(super) ended: Option<Outcome>,
    /// It says its password in TTLS as it is: then a success is all that it ever hears of a server.
    pub(super) pap: bool,
    /// The peer took a success that nobody has sent for one.
    pub(super) fooled: bool,
    /// The world has refused something, or never answered.
    pub(super) hindered: bool,
    /// The password went to a server that had not proven itself.
    pub(super) leaked: bool,
}

/// What an authenticator of ours does.
pub(super) fn authenticator_config(method: Method) -> AuthenticatorConfig {
    AuthenticatorConfig { methods: vec![method], ..AuthenticatorConfig::new("vpn") }
}

fn typed(who: Who) -> Vec<&'static [u8]> {
    match who {
        Who::Wrong => vec![b"guess", b"other guess", b"third guess"],
        Who::Typo => vec![b"correct hrose", PASSWORD],
        Who::Right | Who::Unknown | Who::Deceived => vec![PASSWORD],
    }
}

impl Talk {
    pub(super) fn new(index: usize, random: &mut Random) -> Self {
        let way = random.pick(&[Way::Local, Way::Radius, Way::Radius, Way::Chap]).unwrap_or(Way::Local);
        let methods = [Method::MSCHAPV2, Method::TLS, Method::TTLS, Method::PEAP];
        let method = random.pick(&methods).unwrap_or(Method::MSCHAPV2);
        let everybody = [Who::Right, Who::Right, Who::Typo, Who::Wrong, Who::Unknown, Who::Deceived];
        let who = match (random.pick(&everybody).unwrap_or(Who::Right), method, way) {
            // A certificate has no typing errors, and its name is the server's to know.
            (Who::Typo, Method::TLS, _) | (Who::Deceived, _, Way::Radius | Way::Chap) => Who::Right,
            (Who::Unknown, Method::TLS, Way::Local | Way::Radius) => Who::Wrong,
            // MS-CHAPv2 in PPP and MSCHAPv2 inside of TTLS have one try.
            (Who::Typo, _, Way::Chap) | (Who::Typo, Method::TTLS, _) => Who::Wrong,
            (who, ..) => who,
        };
        let version = random.pick(&[TlsVersion::Tls12, TlsVersion::Tls13]).unwrap_or(TlsVersion::Tls13);
        let ttls =
            random.pick(&[TtlsInner::MsChapV2, TtlsInner::Pap, TtlsInner::Eap]).unwrap_or(TtlsInner::Eap);
        let binding = random.pick(&[Binding::Required, Binding::Offered]).unwrap_or(Binding::Required);
        let ours = NAMES.get(index % NAMES.len()).copied().unwrap_or_default();
        let name = if who == Who::Unknown { "nobody" } else { ours };
        let inner = InnerConfig { ttls, binding, ..InnerConfig::default() };
        let (identity, user) = (name.to_owned(), name.to_owned());
        let peer = Peer::new(PeerConfig { identity, user, methods: vec![method], inner });
        let shown = if who == Who::Wrong { "somebody else" } else { ours };
        let (local, first) = Authenticator::begin(random, authenticator_config(method));
        let of_server = if who == Who::Deceived { FALSE } else { RIGHT };
        let demanded = (method == Method::TLS && who != Who::Deceived).then_some(ours);
        let mut challenges = ([0; 16], [0; 16]);
        random.public(&mut challenges.0);
        random.public(&mut challenges.1);
        let mut typed = typed(who);
        typed.reverse();
        Self {
            index,
            way,
            who,
            method,
            version,
            name,
            peer,
            peer_engine: Engine::new(false, version, (method == Method::TLS).then_some(shown), Some(RIGHT)),
            typed,
            local,
            first,
            engine: Engine::new(true, version, Some(of_server), demanded),
            state: None,
            query: None,
            response: Vec::new(),
            challenges,
            decided: None,
            ended: None,
            pap: method == Method::TTLS && ttls == TtlsInner::Pap,
            fooled: false,
            hindered: false,
            leaked: false,
        }
    }

    /// The first question; of MS-CHAPv2 in PPP, the whole of it.
    pub(super) fn begin(&mut self) -> Vec<Effect> {
        if self.way != Way::Chap {
            return vec![Effect::ToPeer(self.first.clone())];
        }
        let Some(response) = self.chap_response() else { return Vec::new() };
        let mut attributes = self.about();
        attributes.extend(chap::ms_chap_v2(&self.challenges.0, &self.challenges.1, &response));
        vec![Effect::Query(Query::Access { attributes, eap: None, password: None, state: None })]
    }

    fn chap_response(&self) -> Option<[u8; 24]> {
        let hash = NtHash::of(&Secret::from(*self.typed.last()?))?;
        Some(nt_response(&hash, self.exchange()))
    }

    fn exchange(&self) -> Exchange<'_> {
        Exchange { authenticator: &self.challenges.0, peer: &self.challenges.1, user: self.name }
    }

    /// What a request says of who asks.
    pub(super) fn about(&self) -> Vec<radius::Attribute> {
        vec![
            (attribute::USER_NAME, self.name.as_bytes().to_vec()),
            (attribute::ACCT_SESSION_ID, self.index.to_string().into_bytes()),
        ]
    }

    /// An EAP packet has come to the peer.
    pub(super) fn peer_hears(&mut self, packet: &[u8], forged: bool) -> Vec<Effect> {
        let step = self.peer.packet(packet);
        self.fooled |= forged && matches!(step, PeerStep::Ended(Ok(_)));
        self.peer_step(step)
    }

    /// What the person types, after `refused` or not.
    pub(super) fn type_in(&mut self, refused: bool) -> Result<Secret, Failure> {
        match self.typed.pop().filter(|_| !refused) {
            Some(typed) => Ok(Secret::from(typed)),
            None => Err(Failure::new(FailureCode::Cancelled, Step::Authenticate, "the person has gone")),
        }
    }

    pub(super) fn person(&mut self, random: &mut Random, answer: Result<Secret, Failure>) -> Vec<Effect> {
        let step = self.peer.answer(random, answer);
        self.peer_step(step)
    }

    pub(super) fn peer_tls(&mut self, random: &mut Random, answer: adit_auth::eap::TlsAnswer) -> Vec<Effect> {
        let step = self.peer.tls(random, answer);
        self.peer_step(step)
    }

    fn peer_step(&mut self, step: PeerStep) -> Vec<Effect> {
        match step {
            PeerStep::Send(packet) => {
                let said = packet.windows(PASSWORD.len()).any(|w| w == PASSWORD);
                self.leaked |= said && self.who == Who::Deceived;
                vec![Effect::ToServer(packet)]
            }
            PeerStep::Ask(_) => vec![Effect::Person],
            PeerStep::Tls(ask) => vec![Effect::PeerTls(ask)],
            PeerStep::Ended(verdict) => {
                self.ended.get_or_insert(key(verdict));
                Vec::new()
            }
            PeerStep::Ignore => Vec::new(),
        }
    }

    /// A Response has come to the access server.
    pub(super) fn server_hears(&mut self, random: &mut Random, packet: &[u8]) -> Vec<Effect> {
        if self.decided.is_some() {
            return Vec::new();
        }
        if self.way == Way::Local {
            let step = self.local.packet(random, packet);
            return self.server_step(step);
        }
        // What carries EAP knows the same packet again, and waits for one answer at a time.
        if self.query.is_some() || packet == self.response {
            return Vec::new();
        }
        packet.clone_into(&mut self.response);
        let (attributes, eap, state) = (self.about(), Some(packet.to_vec()), self.state.take());
        vec![Effect::Query(Query::Access { attributes, eap, password: None, state })]
    }

    pub(super) fn users(
        &mut self,
        random: &mut Random,
        found: Result<Option<adit_auth::eap::UserSecret>, Failure>,
    ) -> Vec<Effect> {
        let step = self.local.user(random, found);
        self.server_step(step)
    }

    pub(super) fn server_tls(
        &mut self,
        random: &mut Random,
        answer: adit_auth::eap::TlsAnswer,
    ) -> Vec<Effect> {
        let step = self.local.tls(random, answer);
        self.server_step(step)
    }

    fn server_step(&mut self, step: AuthenticatorStep) -> Vec<Effect> {
        if self.decided.is_some() {
            return Vec::new();
        }
        match step {
            AuthenticatorStep::Send(packet) => vec![Effect::ToPeer(packet)],
            AuthenticatorStep::Ask(ask) => vec![Effect::Users(ask)],
            AuthenticatorStep::Tls(ask) => vec![Effect::ServerTls(ask)],
            AuthenticatorStep::Ended(packet, verdict) => self.decide(key(verdict), Some(packet)),
            AuthenticatorStep::Ignore => Vec::new(),
        }
    }

    /// The access server decides, and says so.
    pub(super) fn decide(&mut self, outcome: Outcome, packet: Option<Vec<u8>>) -> Vec<Effect> {
        if self.decided.is_some() {
            return Vec::new();
        }
        self.decided = Some(outcome);
        packet.into_iter().map(Effect::ToPeer).chain([Effect::Decided]).collect()
    }

    /// What carries EAP is gone.
    pub(super) fn hang_up(&mut self) {
        let gone =
            || Failure::new(FailureCode::PeerClosed, Step::Authenticate, "the access server has hung up");
        self.ended.get_or_insert_with(|| Err(gone()));
    }

    /// A RADIUS server has answered, or none did.
    pub(super) fn verdict(&mut self, verdict: radius::Verdict) -> Vec<Effect> {
        self.query = None;
        let identifier = Packet::parse(&self.response).map_or(0, |p| p.identifier);
        let no = |text: &str| Err(Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text));
        match verdict {
            radius::Verdict::Challenge { eap: Some(eap), state, .. } => {
                self.state = Some(state);
                vec![Effect::ToPeer(eap)]
            }
            radius::Verdict::Accept(granted) => {
                let keys = granted.keys.as_ref();
                let msk = keys.map(|(send, receive)| [receive.expose(), send.expose()].concat());
                if self.way == Way::Chap {
                    self.chap_success(granted.chap2_success.as_deref().unwrap_or_default());
                    return self.decide(Ok(msk), None);
                }
                let success = emit(Code::Success, identifier, None, &[]);
                self.decide(Ok(msk), Some(granted.eap.unwrap_or(success)))
            }
            radius::Verdict::Reject { .. } if self.way == Way::Chap => {
                let outcome = no("refused");
                self.hang_up();
                self.decide(outcome, None)
            }
            radius::Verdict::Reject { eap, .. } => {
                let failure = emit(Code::Failure, identifier, None, &[]);
                self.decide(no("refused"), Some(eap.unwrap_or(failure)))
            }
            radius::Verdict::None(why) => {
                self.hang_up();
                self.decide(Err(why), None)
            }
            radius::Verdict::Challenge { eap: None, .. } | radius::Verdict::Noted => {
                self.hang_up();
                self.decide(no("no sense"), None)
            }
        }
    }

    /// The person's end of MS-CHAPv2: does the server know the password too?
    fn chap_success(&mut self, success: &[u8]) {
        let proven = || {
            let typed = Secret::from(*self.typed.last()?);
            let (hash, response) = (NtHash::of(&typed)?, self.chap_response()?);
            let message = chap::success_message(success)?;
            let right = verify_authenticator(&hash, self.exchange(), &response, message);
            right.then(|| MasterKeys::derive(&hash, &response).both().expose().to_vec())
        };
        let no = || Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, "no proof");
        self.ended = Some(proven().map(Some).ok_or_else(no));
    }
}

fn key(verdict: Verdict) -> Outcome {
    verdict.map(|established| established.msk.map(|msk| msk.expose().to_vec()))
}
