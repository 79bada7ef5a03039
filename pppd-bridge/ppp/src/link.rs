//! A link: its phases (RFC 1661 §3.2), and everything that runs in them.

mod authenticate;
mod encryption;
mod keepalive;
mod network;
mod snapshot;

use std::collections::VecDeque;

use adit_core::{Entropy, Failure, FailureCode, Instant, Secret, Step};

use crate::api::{Answer, Ask, AskId, Authenticated, Event, Input, Keys, NetworkPlan, Output, Timer};
use crate::auth::{Authenticator, Peer};
use crate::automaton;
use crate::config::LinkConfig;
use crate::control::{Control, Layer, Outcome};
use crate::lcp::Lcp;
use crate::ncp::{Ccp, Ipcp, Ipv6cp};
use crate::wire::{Code, Protocol, emit_frame, emit_packet, split_frame};
use keepalive::Keepalive;

/// Frames that are kept until their turn comes.
const MOST_EARLY: usize = 8;

/// Where a link is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Dead,
    Establish,
    Authenticate,
    /// The unit is being made.
    Prepare,
    /// CCP, before anything else may run.
    Encrypt,
    Network,
    Terminate,
    Over,
}

/// What an Ask was about, and when its answer is too late.
struct Pending {
    id: AskId,
    about: About,
    until: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum About {
    PeerSecret,
    Verdict,
    EapUser,
    EapStep,
    /// TLS of our own proof, and of the peer's.
    OurTls,
    PeerTls,
    Stored,
    Network,
    CompressTransmit,
    CompressReceive,
    Encrypted,
    Unencrypted,
    InstallV4,
    InstallV6,
}

/// A PPP link, from the carrier's coming to the last Terminate-Ack.
pub struct Link {
    config: LinkConfig,
    phase: Phase,
    lcp: Control<Lcp>,
    proving: Option<Peer>,
    demanding: Option<Authenticator>,
    authenticated: Authenticated,
    authenticate_until: Option<Instant>,
    /// A TLS engine has been asked: it serves one conversation, and there is one for the whole link.
    tls_asked: bool,
    keys: Option<Keys>,
    plan: NetworkPlan,
    ccp: Option<Control<Ccp>>,
    crypt: encryption::Crypt,
    ipcp: Option<Control<Ipcp>>,
    ipv6cp: Option<Control<Ipv6cp>>,
    families: network::Families,
    /// Frames of network control protocols that came while their turn had not come here.
    early: Vec<(Protocol, Vec<u8>)>,
    keepalive: Keepalive,
    /// Why the link ends, once it does. The first reason counts.
    reason: Option<Result<(), Failure>>,
    pending: Vec<Pending>,
    last_ask: u64,
    identifier: u8,
    out: VecDeque<Output>,
}

impl Link {
    /// A link that waits for its carrier ([`Input::Up`]).
    #[must_use]
    pub fn new(config: LinkConfig) -> Self {
        Self {
            phase: Phase::Dead,
            lcp: Control::new(Lcp::new(&config), config.timing),
            proving: None,
            demanding: None,
            authenticated: Authenticated { ours: None, peer: None },
            authenticate_until: None,
            tls_asked: false,
            keys: None,
            plan: NetworkPlan::default(),
            ccp: None,
            crypt: encryption::Crypt::default(),
            ipcp: None,
            ipv6cp: None,
            families: network::Families::default(),
            early: Vec::new(),
            keepalive: Keepalive::default(),
            reason: None,
            pending: Vec::new(),
            last_ask: 0,
            identifier: 0,
            out: VecDeque::new(),
            config,
        }
    }

    /// Whether it is over: there is nothing more to come of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The keys that both sides have made of the authentication, the client's first, from [`Event::Authenticated`] on, for what
    /// carries the link. `None`: its method makes none.
    #[must_use]
    pub fn keys(&self) -> Option<Secret> {
        self.keys.as_ref().map(|keys| keys.master.both())
    }

    /// Tells it something; then [`Link::poll`] until `None`.
    pub fn handle(&mut self, now: Instant, entropy: &mut dyn Entropy, input: Input) {
        if self.phase == Phase::Over {
            return;
        }
        match input {
            Input::Up => self.up(now, entropy),
            Input::Down(why) => {
                self.because(Err(why));
                self.over();
            }
            Input::Frame(frame) => self.frame(now, entropy, &frame),
            Input::Answer { id, answer } => self.answer(now, entropy, id, answer),
            Input::Close => self.close(now, entropy, Ok(())),
            Input::Wake => {}
        }
        self.wake(now, entropy);
    }

    /// What is to be done, in this order.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to wake it at the latest, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        let auth = self.proving.as_ref().and_then(Peer::deadline);
        let demand = self.demanding.as_ref().and_then(Authenticator::deadline);
        let ask = self.pending.iter().map(|p| p.until).min();
        [
            (self.lcp.deadline(), Timer::Restart),
            (self.ccp.as_ref().and_then(Control::deadline), Timer::Restart),
            (self.ipcp.as_ref().and_then(Control::deadline), Timer::Restart),
            (self.ipv6cp.as_ref().and_then(Control::deadline), Timer::Restart),
            (auth, Timer::Retransmit),
            (demand, Timer::Retransmit),
            (self.authenticate_until, Timer::Authenticate),
            (ask, Timer::Ask),
            (self.keepalive.deadline(), Timer::Echo),
            (self.families.until, Timer::Family),
            (self.crypt.reset_until, Timer::Reset),
        ]
        .into_iter()
        .filter_map(|(at, timer)| Some((at?, timer)))
        .min_by_key(|(at, _)| *at)
    }

    fn up(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        if self.phase != Phase::Dead {
            return;
        }
        self.phase = Phase::Establish;
        self.event(Event::Progress(Step::Link));
        for event in [automaton::Event::Open, automaton::Event::Up] {
            let outcome = self.lcp.event(now, entropy, event);
            self.lcp_outcome(now, entropy, outcome);
        }
    }

    fn frame(&mut self, now: Instant, entropy: &mut dyn Entropy, frame: &[u8]) {
        let Ok((protocol, packet)) = split_frame(frame) else { return };
        self.keepalive.heard(now, self.config.timing);
        match protocol {
            Protocol::LCP => self.lcp_packet(now, entropy, packet),
            // [1661:3.4-1] [1661:3.5-1]
            _ if !self.lcp.is_open() => {}
            Protocol::PAP | Protocol::CHAP | Protocol::EAP => {
                self.auth_packet(now, entropy, protocol, packet);
            }
            Protocol::CCP | Protocol::IPCP | Protocol::IPV6CP if self.phase == Phase::Authenticate => {
                self.let_in(now, entropy);
                if self.phase == Phase::Prepare {
                    self.keep(protocol, packet);
                }
            }
            Protocol::CCP if self.phase == Phase::Prepare => self.keep(protocol, packet),
            Protocol::IPCP | Protocol::IPV6CP if matches!(self.phase, Phase::Prepare | Phase::Encrypt) => {
                self.keep(protocol, packet);
            }
            Protocol::CCP => self.ccp_packet(now, entropy, packet),
            Protocol::COMPRESSED => self.unreadable(now),
            Protocol::IPCP if self.config.ipv4 => {
                if let Some(ipcp) = &mut self.ipcp {
                    let outcome = ipcp.packet(now, entropy, packet);
                    self.ipcp_outcome(now, outcome);
                }
            }
            Protocol::IPV6CP if self.ipv6_wanted() => {
                if let Some(ipv6cp) = &mut self.ipv6cp {
                    let outcome = ipv6cp.packet(now, entropy, packet);
                    self.ipv6cp_outcome(now, outcome);
                }
            }
            // The kernel carries these, or drops them.
            Protocol::IP | Protocol::IPV6 => {}
            other => {
                self.reject_protocol(other, packet);
                self.perhaps_garbled(now, entropy, other);
            }
        }
    }

    /// A peer that is quicker than this host's kernel need not say it twice; and if it does, it is heard once.
    fn keep(&mut self, protocol: Protocol, packet: &[u8]) {
        let known = self.early.iter().any(|(p, kept)| *p == protocol && kept == packet);
        if !known && self.early.len() < MOST_EARLY {
            self.early.push((protocol, packet.to_vec()));
        }
    }

    /// What was kept of this protocol is heard now.
    fn hear_kept(&mut self, now: Instant, entropy: &mut dyn Entropy, wanted: impl Fn(Protocol) -> bool) {
        let (now_heard, later) = core::mem::take(&mut self.early).into_iter().partition(|(p, _)| wanted(*p));
        self.early = later;
        let now_heard: Vec<(Protocol, Vec<u8>)> = now_heard;
        for (protocol, packet) in now_heard {
            self.frame(now, entropy, &emit_frame(protocol, &packet));
        }
    }

    /// [1661:5.7-1] [1661:5.7-2]
    fn reject_protocol(&mut self, protocol: Protocol, packet: &[u8]) {
        if self.phase < Phase::Prepare || self.phase >= Phase::Terminate {
            return;
        }
        self.identifier = self.identifier.wrapping_add(1);
        let packet = packet.get(..64).unwrap_or(packet);
        let reject =
            emit_packet(Code::PROTOCOL_REJECT, self.identifier, &[&protocol.0.to_be_bytes(), packet]);
        self.transmit(Protocol::LCP, &reject);
    }

    fn lcp_packet(&mut self, now: Instant, entropy: &mut dyn Entropy, packet: &[u8]) {
        let outcome = self.lcp.packet(now, entropy, packet);
        self.lcp_outcome(now, entropy, outcome);
        self.lcp_own_codes(now, entropy, packet);
        if self.lcp.options.looped() {
            let text = "what we send comes back to us: the line is looped back";
            self.close(now, entropy, Err(Failure::new(FailureCode::PeerMisbehaved, Step::Link, text)));
        }
    }

    fn lcp_outcome(&mut self, now: Instant, entropy: &mut dyn Entropy, outcome: Outcome) {
        self.pass(outcome.frames);
        for layer in outcome.layers {
            match layer {
                Layer::Up => self.lcp_up(now, entropy),
                Layer::Down => self.lcp_down(now, entropy),
                Layer::Finished => self.lcp_finished(),
            }
        }
        if self.lcp.options.refuses_to_prove() && self.phase == Phase::Establish {
            let wanted: Vec<String> = self.config.demand.iter().map(ToString::to_string).collect();
            let text = format!("the peer will not prove who it is by {}", wanted.join(" or "));
            let why = Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text);
            self.close(now, entropy, Err(why));
        }
    }

    fn lcp_up(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        self.event(Event::LinkUp(self.lcp.options.parameters()));
        self.keepalive.begin(now, self.config.timing);
        self.authenticate(now, entropy);
    }

    /// Everything above is gone. What is negotiated then begins anew, where nothing stands on what was agreed.
    fn lcp_down(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        self.keepalive.end();
        let mut anew = None;
        if self.phase > Phase::Establish && self.phase < Phase::Terminate {
            let began_network = self.phase >= Phase::Prepare;
            let encrypting = self.phase == Phase::Encrypt;
            self.phase = Phase::Establish;
            let said = self.lcp.farewell().map(|said| String::from_utf8_lossy(said).into_owned());
            if let Some(said) = said {
                let declined = self.crypt.declined && !self.families.stand();
                self.because(Err(ended_by_peer(&said, began_network, (encrypting, declined))));
                self.phase = Phase::Terminate;
            } else if began_network || self.tls_asked {
                // Units, keys and addresses stand on what was agreed, and a TLS engine on one conversation: what it has
                // proven must count in no other. What would negotiate anew dials anew.
                let text = "the peer began to negotiate the link anew";
                let why = Failure::new(FailureCode::PeerClosed, Step::Link, text);
                self.because(Err(why.clone()));
                anew = Some(why);
            }
        }
        (self.proving, self.demanding, self.authenticate_until) = (None, None, None);
        // Who proved themselves on the link before has proved nothing on the next.
        (self.keys, self.authenticated) = (None, Authenticated { ours: None, peer: None });
        self.pending.clear();
        self.early.clear();
        (self.ccp, self.ipcp, self.ipv6cp) = (None, None, None);
        self.families = network::Families::default();
        self.crypt = encryption::Crypt::default();
        if let Some(why) = anew {
            self.close(now, entropy, Err(why));
        }
    }

    fn lcp_finished(&mut self) {
        if self.reason.is_none() {
            let text = match self.phase {
                Phase::Establish => "the peer does not answer, or does not agree to a link",
                _ => "the peer ended the link",
            };
            let why = Failure::new(FailureCode::PeerLost, Step::Link, text).hint(
                "its log says more; a firewall may let the control connection pass and not the packets",
            );
            self.because(Err(why));
        }
        self.over();
    }

    fn close(&mut self, now: Instant, entropy: &mut dyn Entropy, why: Result<(), Failure>) {
        if self.phase >= Phase::Terminate {
            return;
        }
        if let Err(failure) = &why {
            self.lcp.say(&failure.text);
        }
        self.because(why);
        if self.phase == Phase::Dead {
            return self.over();
        }
        self.phase = Phase::Terminate;
        let outcome = self.lcp.event(now, entropy, automaton::Event::Close);
        self.lcp_outcome(now, entropy, outcome);
        if self.lcp.is_over() {
            self.over();
        }
    }

    fn because(&mut self, why: Result<(), Failure>) {
        // A peer that refuses us and then goes has said why it goes; and so has one that goes when we have refused it.
        let why = why.map_err(|why| {
            let ours = self.proving.as_mut().and_then(Peer::take_refusal);
            let theirs = || self.demanding.as_mut().and_then(Authenticator::take_refusal);
            ours.or_else(theirs).unwrap_or(why)
        });
        self.reason.get_or_insert(why);
    }

    fn over(&mut self) {
        if self.phase == Phase::Over {
            return;
        }
        self.phase = Phase::Over;
        self.keepalive.end();
        self.pending.clear();
        (self.proving, self.demanding, self.authenticate_until) = (None, None, None);
        (self.ccp, self.ipcp, self.ipv6cp, self.keys) = (None, None, None, None);
        (self.families.until, self.crypt.reset_until) = (None, None);
        let why = self.reason.take().unwrap_or(Ok(()));
        self.event(Event::Closed(why));
    }

    fn wake(&mut self, now: Instant, entropy: &mut dyn Entropy) {
        let outcome = self.lcp.wake(now, entropy);
        self.lcp_outcome(now, entropy, outcome);
        self.wake_authentication(now, entropy);
        self.wake_network(now, entropy);
        self.wake_keepalive(now, entropy);
        if let Some(late) = self.pending.iter().find(|p| p.until <= now) {
            let text = format!("this host took too long to answer ({:?})", late.about);
            self.close(now, entropy, Err(Failure::new(FailureCode::TimedOut, Step::Link, text)));
        }
    }

    fn answer(&mut self, now: Instant, entropy: &mut dyn Entropy, id: AskId, answer: Answer) {
        // An answer to what is not asked any more counts for nothing.
        let Some(at) = self.pending.iter().position(|p| p.id == id) else { return };
        let about = self.pending.swap_remove(at).about;
        match (about, answer) {
            (About::PeerSecret, Answer::Secret(secret)) => self.secret(now, entropy, secret),
            (About::Verdict, Answer::Verdict(verdict)) => self.verdict(now, entropy, verdict),
            (About::EapUser, Answer::EapUser(known)) => self.eap_user(now, entropy, known),
            (About::EapStep, Answer::EapStep(step)) => self.eap_step(now, entropy, step),
            (About::OurTls, Answer::Tls(answer)) => self.our_tls(now, entropy, answer),
            (About::PeerTls, Answer::Tls(answer)) => self.peer_tls(now, entropy, answer),
            (About::Stored, Answer::Stored(result)) => self.stored(now, entropy, result),
            (About::Network, Answer::Network(plan)) => self.planned(now, entropy, plan),
            (
                About::CompressTransmit | About::CompressReceive | About::Encrypted | About::Unencrypted,
                Answer::Compressed(done),
            ) => {
                self.compressed(now, entropy, about, done);
            }
            (About::InstallV4 | About::InstallV6, Answer::Installed(done)) => {
                self.installed(now, entropy, about, done);
            }
            (about, _) => {
                let text = format!("an answer of the wrong kind ({about:?})");
                self.close(now, entropy, Err(Failure::new(FailureCode::Internal, Step::Link, text)));
            }
        }
    }

    fn ask(&mut self, now: Instant, about: About, ask: Ask) {
        self.last_ask = self.last_ask.wrapping_add(1);
        let id = AskId(self.last_ask);
        // Who asks a person has patience: the peer's own limit counts.
        let until = match about {
            About::PeerSecret => now + self.config.timing.authenticate,
            _ => now + self.config.timing.ask,
        };
        self.pending.push(Pending { id, about, until });
        self.out.push_back(Output::Ask { id, ask });
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn transmit(&mut self, protocol: Protocol, packet: &[u8]) {
        self.pass(vec![emit_frame(protocol, packet)]);
    }

    fn pass(&mut self, frames: Vec<Vec<u8>>) {
        self.out.extend(frames.into_iter().map(Output::Transmit));
    }
}

fn ended_by_peer(said: &str, up: bool, (encrypting, declined): (bool, bool)) -> Failure {
    let said: String = said.chars().filter(|c| !c.is_control()).collect();
    let failure = match (encrypting, up) {
        (true, _) => {
            let text =
                "the peer ended the link over its encryption (MPPE): it does not take what this end does";
            Failure::new(FailureCode::ProposalMismatch, Step::Encryption, text)
                .hint("make both ends take the same of MPPE: keys of 128 bits at best")
        }
        (false, _) if declined => {
            let text = "the peer ended the link after it had asked for encryption (MPPE), which this end does not speak here";
            Failure::new(FailureCode::ProposalMismatch, Step::Encryption, text)
                .hint("where the server insists on it:  require-mppe = true  in the profile")
        }
        (false, true) => Failure::new(FailureCode::PeerClosed, Step::Link, "the peer ended the link"),
        (false, false) => {
            Failure::new(FailureCode::PeerClosed, Step::Link, "the peer ended the link before it was up")
        }
    };
    if said.is_empty() { failure } else { failure.said(said) }
}
