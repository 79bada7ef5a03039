//! Drives one link: frames of its line and its unit, answers and deadlines go in; frames, questions and events come out.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Secret, Step};
use adit_crypto::OsEntropy;
use adit_ppp::wire::{Protocol, split_frame};
use adit_ppp::{
    Answer, Ask, AskId, Event, Input, Link, LinkConfig, LinkParameters, Network, NetworkPlan, Output,
    Restored,
};
use adit_ppp_kernel::{Channel, ChannelFlags, Compression, Family, LinkSpec};
use tokio::task::JoinSet;

use super::{MPPE_HEADER, Unit, World};
use crate::blocking::blocking;
use crate::clock;

/// What a step brought.
pub(crate) enum Happened {
    /// Nothing that concerns who drives.
    Nothing,
    /// The link carries packets.
    Established,
    /// It is over.
    Closed(Result<(), Failure>),
}

/// What carries a link's frames.
pub(crate) enum Line {
    /// A channel of the kernel, and what carries it, which is closed after it.
    Channel(Arc<Channel>, Box<dyn Send + Sync>),
    /// Whoever drives: these are still to be sent.
    Frames(VecDeque<Vec<u8>>),
}

/// A link with its line and, once it has one, its unit.
pub(crate) struct Driver {
    link: Link,
    entropy: OsEntropy,
    world: Arc<dyn World>,
    unit: Option<Arc<Unit>>,
    line: Line,
    /// What is being found out or done. None of it outlives the link: what it makes would never be undone.
    answers: JoinSet<Answered>,
    /// The longest packet that the carrier takes.
    mtu: u16,
    parameters: Option<LinkParameters>,
    encrypted: bool,
    heard: bool,
    /// What both sides have made of the authentication, until somebody takes it.
    keys: Option<Secret>,
    /// The world has given leave to log in.
    may_log_in: bool,
    /// It is waited for, with the last frame of a log-in, which answers nothing yet.
    leave: JoinSet<()>,
    held: Option<Vec<u8>>,
}

struct Answered {
    id: AskId,
    answer: Answer,
    unit: Option<Arc<Unit>>,
}

impl Driver {
    /// Begins a link on a line that is up.
    pub(crate) fn start(config: LinkConfig, line: Line, mtu: u16, world: Arc<dyn World>) -> Self {
        let mut driver = Self {
            link: Link::new(config),
            entropy: OsEntropy::new(),
            world,
            unit: None,
            line,
            answers: JoinSet::new(),
            mtu,
            parameters: None,
            encrypted: false,
            heard: false,
            keys: None,
            may_log_in: false,
            leave: JoinSet::new(),
            held: None,
        };
        driver.link.handle(clock::now(), &mut driver.entropy, Input::Up);
        driver
    }

    /// Goes on with a link that a process before has left, on its line and its unit.
    pub(crate) fn go_on(
        config: LinkConfig,
        left: &[u8],
        line: Line,
        unit: Arc<Unit>,
        world: Arc<dyn World>,
    ) -> Option<(Self, Restored)> {
        let (link, restored) = Link::restore(clock::now(), config, left)?;
        let driver = Self {
            link,
            entropy: OsEntropy::new(),
            world,
            unit: Some(unit),
            line,
            answers: JoinSet::new(),
            mtu: restored.mru,
            parameters: Some(restored.link),
            encrypted: restored.established.mppe.is_some(),
            heard: true,
            keys: None,
            may_log_in: true,
            leave: JoinSet::new(),
            held: None,
        };
        Some((driver, restored))
    }

    /// What the next process goes on with. `None`: it can't from here.
    pub(crate) fn snapshot(&self) -> Option<Vec<u8>> {
        let idle = self.answers.is_empty() && self.leave.is_empty() && self.held.is_none();
        self.link.snapshot().filter(|_| idle)
    }

    /// Whether anything has come from the peer.
    pub(crate) const fn has_heard(&self) -> bool {
        self.heard
    }

    /// Whether nothing more will come of it.
    pub(crate) fn is_over(&self) -> bool {
        self.link.is_over()
    }

    /// The unit, once there is one.
    pub(crate) const fn unit(&self) -> Option<&Arc<Unit>> {
        self.unit.as_ref()
    }

    /// The keys of the authentication, empty where it makes none: once, when both sides know who the other is.
    pub(crate) const fn take_keys(&mut self) -> Option<Secret> {
        self.keys.take()
    }

    /// A frame came, where whoever drives carries them.
    pub(crate) fn hear(&mut self, frame: Vec<u8>) -> Happened {
        self.heard = true;
        self.frame(frame);
        self.settle()
    }

    /// The next frame to be sent, where whoever drives carries them; [`Driver::settle`] comes before.
    pub(crate) fn next_frame(&mut self) -> Option<Vec<u8>> {
        match &mut self.line {
            Line::Channel(..) => None,
            Line::Frames(frames) => frames.pop_front(),
        }
    }

    /// The carrier is gone.
    pub(crate) fn down(&mut self, why: Failure) {
        self.handle(Input::Down(why));
    }

    /// The link is not wanted any more.
    pub(crate) fn close(&mut self) {
        self.handle(Input::Close);
    }

    /// A frame goes to the link. What a log-in begins with waits for leave, where the world gives it: then the last one goes,
    /// since peers send theirs again.
    fn frame(&mut self, frame: Vec<u8>) {
        if !self.may_log_in && is_of_log_in(&frame) {
            if self.leave.is_empty() {
                match self.world.leave() {
                    Some(leave) => drop(self.leave.spawn(leave)),
                    None => self.may_log_in = true,
                }
            }
            if !self.may_log_in {
                self.held = Some(frame);
                return;
            }
        }
        self.handle(Input::Frame(frame));
    }

    fn handle(&mut self, input: Input) {
        self.link.handle(clock::now(), &mut self.entropy, input);
    }

    /// Waits for the next thing and does it. Cancel-safe.
    pub(crate) async fn step(&mut self) -> Happened {
        let happened = self.settle();
        if !matches!(happened, Happened::Nothing) {
            return happened;
        }
        let (unit, deadline) = (self.unit.clone(), self.link.deadline().map(|(at, _)| at));
        let channel = match &self.line {
            Line::Channel(channel, _) => Some(Arc::clone(channel)),
            Line::Frames(_) => None,
        };
        let of_channel = async {
            match &channel {
                Some(channel) => channel.receive().await,
                None => std::future::pending().await,
            }
        };
        let of_unit = async {
            match (&unit, &channel) {
                (Some(unit), Some(_)) => unit.receive().await,
                _ => std::future::pending().await,
            }
        };
        let input = tokio::select! {
            frame = of_channel => self.heard(frame),
            frame = of_unit => self.heard(frame),
            Some(answered) = self.answers.join_next(), if !self.answers.is_empty() => match answered {
                Ok(Answered { id, answer, unit }) => {
                    self.unit = unit.or(self.unit.take());
                    Input::Answer { id, answer }
                }
                // The link waits for this answer, and ends for want of it.
                Err(_) => Input::Wake,
            },
            Some(_) = self.leave.join_next(), if !self.leave.is_empty() => {
                self.may_log_in = true;
                self.held.take().map_or(Input::Wake, Input::Frame)
            }
            () = clock::sleep_until(deadline) => Input::Wake,
        };
        match input {
            Input::Frame(frame) => self.frame(frame),
            other => self.handle(other),
        }
        self.settle()
    }

    fn heard(&mut self, frame: io::Result<Vec<u8>>) -> Input {
        match frame {
            Ok(frame) => {
                self.heard = true;
                Input::Frame(frame)
            }
            Err(error) => {
                let text = format!("the kernel has closed the link: {error}");
                Input::Down(Failure::new(FailureCode::KernelRefused, Step::Link, text))
            }
        }
    }

    /// Has the link say what it has to say: its frames can then be had at once, where whoever drives carries them.
    pub(crate) fn settle(&mut self) -> Happened {
        let mut happened = Happened::Nothing;
        while let Some(output) = self.link.poll() {
            match output {
                Output::Transmit(frame) => self.transmit(frame),
                Output::Ask { id, ask } => self.ask(id, ask),
                Output::Event(event) => {
                    self.world.event(&event);
                    match event {
                        Event::LinkUp(parameters) => self.link_up(parameters),
                        Event::Authenticated(_) => {
                            self.keys = Some(self.link.keys().unwrap_or_else(|| Secret::new(Vec::new())));
                        }
                        Event::Established(_) => happened = Happened::Established,
                        Event::Closed(why) => happened = Happened::Closed(why),
                        _ => {}
                    }
                }
            }
        }
        happened
    }

    fn transmit(&mut self, frame: Vec<u8>) {
        let channel = match &mut self.line {
            Line::Channel(channel, _) => channel,
            Line::Frames(frames) => return frames.push_back(frame),
        };
        let of_link = split_frame(&frame).is_ok_and(|(protocol, _): (Protocol, _)| protocol.of_link());
        let sent = match &self.unit {
            Some(unit) if !of_link => unit.send(&frame),
            _ => channel.send(&frame),
        };
        if let Err(error) = sent {
            // PPP sends again, and gives up by its own counters.
            tracing::debug!(%error, "a frame was not sent");
        }
    }

    fn link_up(&mut self, parameters: LinkParameters) {
        self.parameters = Some(parameters);
        let Line::Channel(channel, _) = &self.line else { return };
        let flags =
            ChannelFlags { compress_protocol: parameters.peer_pfc, compress_address: parameters.peer_acfc };
        if let Err(error) = channel.set_flags(flags) {
            tracing::debug!(%error, "headers are sent in full");
        }
    }

    fn ask(&mut self, id: AskId, ask: Ask) {
        match ask {
            Ask::Compress(compress) => {
                let compression =
                    Compression { transmit: compress.transmit, bits: compress.bits, key: compress.key };
                let done = self.on_unit(|unit| unit.prepare(&compression));
                self.handle(Input::Answer { id, answer: Answer::Compressed(done) });
            }
            Ask::Encrypted(stands) => {
                self.encrypted = stands;
                let done = self.on_unit(|unit| unit.encrypted(stands));
                self.handle(Input::Answer { id, answer: Answer::Compressed(done) });
            }
            Ask::Network { peer } => {
                let world = Arc::clone(&self.world);
                let channel = match &self.line {
                    Line::Channel(channel, _) => Some(Arc::clone(channel)),
                    Line::Frames(_) => None,
                };
                self.later(id, async move {
                    match make_unit(world, channel, peer).await {
                        Ok((plan, unit)) => (Answer::Network(Ok(plan)), Some(unit)),
                        Err(why) => (Answer::Network(Err(why)), None),
                    }
                });
            }
            Ask::Install(network) => self.install(id, network),
            other => {
                let world = Arc::clone(&self.world);
                self.later(id, async move { (world.ask(other).await, None) });
            }
        }
    }

    fn on_unit(
        &self,
        work: impl FnOnce(&Unit) -> Result<(), adit_ppp_kernel::PppError>,
    ) -> Result<(), Failure> {
        match &self.unit {
            Some(unit) => work(unit).map_err(Failure::from),
            None => Err(Failure::new(FailureCode::Internal, Step::Encryption, "there is no unit")),
        }
    }

    fn install(&mut self, id: AskId, network: Network) {
        let (world, unit, mtu) = (Arc::clone(&self.world), self.unit.clone(), self.inner_mtu());
        let family = match network {
            Network::V4(_) => Family::V4,
            Network::V6(_) => Family::V6,
        };
        self.later(id, async move {
            let Some(unit) = unit else {
                let why = Failure::new(FailureCode::Internal, Step::Network, "there is no unit");
                return (Answer::Installed(Err(why)), None);
            };
            let done = async {
                unit.set_up(mtu)?;
                Arc::clone(&world).install(Arc::clone(&unit), network.clone()).await?;
                unit.pass(family, true)?;
                world.passes(unit, network).await;
                Ok(())
            };
            (Answer::Installed(done.await), None)
        });
    }

    /// What fits the carrier, the peer's MRU, and encryption; no more than is wanted.
    fn inner_mtu(&self) -> u16 {
        let peer = self.parameters.map_or(self.mtu, |p| p.peer_mru);
        let fits = self.mtu.min(peer).saturating_sub(if self.encrypted { MPPE_HEADER } else { 0 });
        fits.min(self.world.mtu().unwrap_or(u16::MAX))
    }

    fn later(&mut self, id: AskId, work: impl Future<Output = (Answer, Option<Arc<Unit>>)> + Send + 'static) {
        self.answers.spawn(async move {
            let (answer, unit) = work.await;
            Answered { id, answer, unit }
        });
    }

    /// Breaks off what is under way, then closes unit and line, in this order. The kernel takes its time for
    /// each.
    pub(crate) async fn dismantle(self) {
        let Self { unit, line, mut answers, .. } = self;
        answers.shutdown().await;
        let close = move || {
            drop(unit);
            // The channel, and then what carries it.
            if let Line::Channel(channel, carrier) = line {
                drop(channel);
                drop(carrier);
            }
        };
        let _ = tokio::task::spawn_blocking(close).await;
    }
}

fn is_of_log_in(frame: &[u8]) -> bool {
    split_frame(frame)
        .is_ok_and(|(protocol, _)| matches!(protocol, Protocol::PAP | Protocol::CHAP | Protocol::EAP))
}

async fn make_unit(
    world: Arc<dyn World>,
    channel: Option<Arc<Channel>>,
    peer: String,
) -> Result<(NetworkPlan, Arc<Unit>), Failure> {
    let plan = world.unit(peer).await?;
    let unit = match plan.unit {
        Some(unit) => unit,
        None => {
            let make = move || Unit::make(plan.carrier, &LinkSpec { name: &plan.name, group: plan.group });
            Arc::new(blocking(Step::Kernel, "making the interface", make).await??)
        }
    };
    // Joining the two takes the kernel no time: no thread is woken for it.
    if let Some(channel) = &channel {
        unit.connect(channel)?;
    }
    Ok((plan.network, unit))
}
