//! The life of a connection that may be of several types of tunnel: one task from `up` to the last undo. Which comes next says
//! `adit_plan::strategy`; each way is dialled by who dials it where it is the only one.

mod memory;
mod round;
pub(super) mod way;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_plan::strategy::Rule;
use adit_profile::{EapType, Profile, TunnelKind, TunnelOrder, TunnelStrategy};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::eap::Passwords;
use super::handle::{After, Carrying, ClientHandle, Dial};
use super::life::{Ended, Ground, PAUSES, unless};
use super::new_passwords;
use crate::daemon::Daemon;
use crate::esp::Numbers;
use crate::registry::{ConnectionId, State};
use round::{Came, Gone, Round};
use way::{Client, Place, places};

/// Starts the task.
pub(super) fn start(dial: Dial, strategy: TunnelStrategy) -> ClientHandle {
    let (stop, stopped) = watch::channel(false);
    let (done, outcome) = watch::channel(None);
    let TunnelStrategy { order, others, left_out, race, weak, sstp_after_bad_certificate } = strategy;
    let first = Arc::new(dial.profile);
    // Names and passwords are the same for every type.
    let passwords = new_passwords(dial.id, &first, &dial.daemon);
    let profiles = std::iter::once(first).chain(others.into_iter().map(Arc::new)).collect();
    let (asked, carrying) = (Arc::new(Notify::new()), Carrying::default());
    let choice = Choice {
        id: dial.id,
        numbers: dial.daemon.numbers(),
        daemon: dial.daemon,
        profiles,
        order,
        left_out,
        rule: Rule { race, weak, sstp_after_bad_certificate },
        stopped,
        persistent: dial.persistent,
        passwords: Arc::clone(&passwords),
        asked: Arc::clone(&asked),
        carrying: Arc::clone(&carrying),
        ground: Ground::default(),
        blocks: false,
        places: Vec::new(),
        leaving: JoinSet::new(),
    };
    tokio::spawn(async move {
        let result = choice.run().await;
        done.send_replace(Some(result));
    });
    ClientHandle::new(stop, outcome, carrying, passwords, asked)
}

/// A connection that has a choice.
struct Choice {
    id: ConnectionId,
    daemon: Arc<Daemon>,
    /// One for each type that takes part, in the profile's order. Never empty.
    profiles: Vec<Arc<Profile>>,
    order: TunnelOrder,
    left_out: Vec<(TunnelKind, String)>,
    rule: Rule,
    stopped: watch::Receiver<bool>,
    persistent: bool,
    passwords: Arc<Passwords>,
    asked: Arc<Notify>,
    carrying: Carrying,
    /// The name of its interface, and the block of a full tunnel: they are the same whichever way it goes.
    ground: Ground,
    numbers: Numbers,
    blocks: bool,
    /// Where its servers were when their names were looked up last.
    places: Vec<Place>,
    /// Ways that were told to go.
    leaving: JoinSet<Gone>,
}

impl Choice {
    async fn run(mut self) -> Result<(), Failure> {
        for (kind, why) in &self.left_out {
            self.progress(Step::Profile, &format!("{} does not take part: {why}", kind.name()));
        }
        let ended = self.up_and_hold().await;
        ended.begins(&self.daemon, self.id);
        self.passwords.asker.cancel();
        let errors = self.wait_for_those_that_leave().await;
        let result = std::mem::take(&mut self.ground).leave(&self.daemon, errors).await;
        ended.over(&self.daemon, self.id);
        result
    }

    /// Returns when the connection is to go away for good, and nothing of any way is left but what still takes leave. Once it
    /// was up it comes back by itself, by whichever way there is then, and a full tunnel's block stands in between.
    async fn up_and_hold(&mut self) -> Ended {
        let mut pause = PAUSES.0;
        let mut was_up = self.persistent;
        loop {
            let failure = match self.connect().await {
                Came::Stopped => return Ended::Stopped,
                // A person may type what the server takes.
                Came::Nothing(failure) if self.passwords.asks_again(&failure) => {
                    self.progress(failure.step, &format!("{failure} Asking again."));
                    continue;
                }
                Came::Nothing(failure) if !was_up => return Ended::Lost(failure),
                Came::Nothing(failure) => failure,
                Came::Up(client, stop) => {
                    (was_up, pause) = (true, PAUSES.0);
                    let after = self.stand(client).await;
                    drop(stop);
                    match after {
                        After::Stopped => return Ended::Stopped,
                        After::Idle => return Ended::Idle,
                        After::Ended(failure) => return Ended::Lost(failure),
                        After::Again(failure, at_once) => {
                            if at_once {
                                pause = Duration::ZERO;
                            }
                            failure
                        }
                    }
                }
            };
            let text = format!("lost: {failure} Trying again in {} s.", pause.as_secs());
            let code = failure.code.as_str();
            self.daemon.registry().set_state(self.id, State::Connecting, code, Some(failure));
            self.progress(Step::Established, &text);
            if unless(self.stopped.clone(), tokio::time::sleep(pause)).await.is_none() {
                return Ended::Stopped;
            }
            pause = (pause * 2).clamp(PAUSES.0, PAUSES.1);
        }
    }

    /// From when it is up until nothing of the way that it went is left.
    async fn stand(&mut self, mut client: Client) -> After {
        self.daemon.registry().update(self.id, |f| f.last_error = None);
        *self.carried() = Some(client.carried());
        let after = unless(self.stopped.clone(), client.stand()).await.unwrap_or(After::Stopped);
        *self.carried() = None;
        match &after {
            After::Stopped => Ended::Stopped.begins(&self.daemon, self.id),
            After::Idle => Ended::Idle.begins(&self.daemon, self.id),
            After::Ended(_) => {}
            After::Again(failure, _) => {
                // It carries nothing any more, whatever is still to be taken away.
                let code = failure.code.as_str();
                self.daemon.registry().set_state(self.id, State::Connecting, code, Some(failure.clone()));
                client.let_go();
            }
        }
        if let Err(why) = client.take_down().await {
            tracing::warn!(connection = self.id.0, %why, "not undone");
        }
        after
    }

    /// Returns when nothing is left of ways that were told to go, but for what this names.
    async fn wait_for_those_that_leave(&mut self) -> Vec<String> {
        let mut errors = Vec::new();
        while let Some(gone) = self.leaving.join_next().await {
            // One that died has its undos in the journal.
            let Ok(gone) = gone else { continue };
            errors.extend(gone.end().await.err().map(|why| why.text));
        }
        errors
    }

    fn carried(&self) -> std::sync::MutexGuard<'_, Option<super::handle::Carried>> {
        self.carrying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One round: every way that there is, until one is up or none is left.
    async fn connect(&mut self) -> Came {
        // Nothing of another round is in the way of this one, whose names and addresses are the same.
        for error in self.wait_for_those_that_leave().await {
            tracing::warn!(connection = self.id.0, %error, "not undone");
        }
        let interface = match unless(self.stopped.clone(), self.prepare()).await {
            None => return Came::Stopped,
            Some(Err(failure)) => return Came::Nothing(failure),
            Some(Ok(interface)) => interface,
        };
        let network = memory::network(&self.daemon, self.places.first()).await;
        let known = match (&self.order, &network) {
            (TunnelOrder::Auto, Some(network)) => memory::of(&self.daemon, self.name(), network).await,
            _ => None,
        };
        let came = Round::new(self, interface, known).run().await;
        if let (TunnelOrder::Auto, Some(network), Came::Up(client, _)) = (&self.order, network, &came)
            && !client.is_weak()
        {
            memory::learn(&self.daemon, self.name(), network, client.kind()).await;
        }
        came
    }

    fn name(&self) -> &str {
        self.profiles.first().map_or("", |profile| profile.name.as_str())
    }

    /// What has to be known before the first packet leaves; the interface's name.
    async fn prepare(&mut self) -> Result<String, Failure> {
        let Some(profile) = self.profiles.first().cloned() else { return Err(nothing()) };
        self.daemon.raise_required(self.id, &profile).await?;
        // A server is not kept waiting for a person where that can be helped, and a person is asked once.
        self.passwords.own_certificate(None).await?;
        if !profile.eap.methods.contains(&EapType::Tls) {
            self.passwords.ready().await?;
        }
        // A full tunnel's block, once it stands, lets no DNS query out.
        if self.places.is_empty() || !profile.blocks() {
            self.progress(Step::Resolve, &format!("resolving {}", profile.server()));
            match places(&self.profiles, &self.daemon).await {
                Ok(places) => self.places = places,
                Err(failure) if self.places.is_empty() => return Err(failure),
                Err(_) => {}
            }
        }
        let named = self.profiles.iter().find(|profile| profile.ppp.is_some()).unwrap_or(&profile);
        let interface = self.ground.name(&self.daemon, named).await?;
        if (profile.blocks() || profile.local_network) && !self.blocks {
            self.block(&profile).await?;
        }
        Ok(interface)
    }

    /// See [`Ground::block`]: whichever tunnel it is.
    async fn block(&mut self, profile: &Profile) -> Result<(), Failure> {
        let pptp = |place: &&Place| place.kind() == TunnelKind::Pptp;
        let v4 = |place: &Place| match place.remote.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        let gre: Vec<Ipv4Addr> = self.places.iter().filter(pptp).filter_map(v4).collect();
        self.ground.block(&self.daemon, self.numbers, profile, gre).await?;
        self.blocks = profile.blocks();
        Ok(())
    }

    fn progress(&self, step: Step, text: &str) {
        self.daemon.registry().progress(self.id, step.as_str(), text);
    }
}

fn nothing() -> Failure {
    Failure::new(FailureCode::Internal, Step::Profile, "there is no type of tunnel to try")
}
