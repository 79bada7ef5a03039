//! Who answers the questions of a link that is dialled: the profile, its passwords, and this host's network.

use std::net::IpAddr;
use std::sync::Arc;

use adit_auth::eap::PeerAsk;
use adit_core::{Failure, FailureCode, Step};
use adit_ppp::{Answer, Ask, Authenticated, Established, Event, Network, NetworkPlan};
use adit_profile::Profile;

use crate::client::{LogIn, Passwords};
use crate::daemon::Daemon;
use crate::eap_tls::{EapTls, failed};
use crate::host::LINK_GROUP;
use crate::ppp::install::Installation;
use crate::ppp::{Carriage, Later, Leaving, Unit, UnitPlan, World};
use crate::registry::ConnectionId;
use crate::suites::{self, Outside};

/// A link's world.
pub(super) struct ClientWorld {
    pub(super) id: ConnectionId,
    pub(super) profile: Arc<Profile>,
    pub(super) daemon: Arc<Daemon>,
    pub(super) installation: Arc<Installation>,
    pub(super) passwords: Arc<Passwords>,
    pub(super) tls: tokio::sync::Mutex<Option<EapTls>>,
    /// What the link is inside of.
    pub(super) outside: Outside,
    /// Its leave to log in, where it is one of several ways.
    pub(super) login: Option<LogIn>,
}

impl ClientWorld {
    fn progress(&self, step: Step, text: &str) {
        self.daemon.registry().progress(self.id, step.as_str(), text);
    }

    fn authenticated(&self, who: &Authenticated) {
        let how = who.ours.map_or_else(|| "no authentication".to_owned(), |m| m.to_string());
        self.progress(Step::Authenticate, &format!("PPP: authenticated by {how}"));
        self.daemon.registry().update(self.id, |f| f.ike_suite = how);
    }

    fn established(&self, up: &Established) {
        let dns = up.v4.as_ref().map(|v4| v4.dns.iter().map(|a| IpAddr::V4(*a)));
        let (esp, weak) = suites::ppp_shown(&self.outside, up.mppe);
        self.daemon.registry().update(self.id, |f| {
            // Others come by router advertisements, and by DHCP.
            let said: Vec<IpAddr> = dns.into_iter().flatten().collect();
            f.dns.retain(|known| !said.contains(known));
            f.dns.splice(..0, said);
            f.esp_suite = esp;
            f.remote_id = self.profile.server();
            f.legacy = weak;
        });
    }
}

impl World for ClientWorld {
    fn ask(self: Arc<Self>, ask: Ask) -> Later<Answer> {
        Box::pin(async move {
            let question = match ask {
                Ask::Password { again, .. } => PeerAsk::Password { again },
                Ask::NewPassword { message } => PeerAsk::NewPassword { message },
                Ask::Tls { method: None, ask } => {
                    return Answer::Tls(match self.tls.lock().await.as_mut() {
                        Some(engine) => engine.answer(ask).await,
                        None => failed(Failure::new(
                            FailureCode::Internal,
                            Step::Authenticate,
                            "there is no TLS engine",
                        )),
                    });
                }
                _ => {
                    let text = "the server is to prove nothing here";
                    return Answer::Secret(Err(Failure::new(
                        FailureCode::Internal,
                        Step::Authenticate,
                        text,
                    )));
                }
            };
            Answer::Secret(self.passwords.answer(question).await)
        })
    }

    fn mtu(&self) -> Option<u16> {
        self.profile.mtu
    }

    fn leave(&self) -> Option<Later<()>> {
        let login = self.login.clone()?;
        Some(Box::pin(async move { login.leave().await }))
    }

    fn unit(self: Arc<Self>, _peer: String) -> Later<Result<UnitPlan, Failure>> {
        Box::pin(async move {
            // A server that asks for nothing gets there without it.
            if let Some(login) = &self.login {
                login.leave().await;
            }
            let (name, unit) = self.installation.take_unit().await?;
            let carrier = Carriage::of(&self.profile).carrier();
            Ok(UnitPlan { name, group: LINK_GROUP, carrier, network: NetworkPlan::default(), unit })
        })
    }

    fn install(self: Arc<Self>, unit: Arc<Unit>, network: Network) -> Later<Result<(), Failure>> {
        Box::pin(async move { self.installation.install(&unit, &network).await })
    }

    fn passes(self: Arc<Self>, unit: Arc<Unit>, network: Network) -> Later<()> {
        Box::pin(async move { self.installation.passes(&unit, &network).await })
    }

    fn hands_on(&self) -> bool {
        self.installation.handing().hands_on()
    }

    fn hand_on(&self, leaving: Option<&Leaving<'_>>) {
        let facts = self.daemon.registry().get(self.id);
        self.installation.handing().hand_on(self.installation.numbers.if_id, facts.as_ref(), leaving);
    }

    fn event(&self, event: &Event) {
        match event {
            Event::Progress(Step::Link) => self.progress(Step::Link, "PPP: negotiating the link"),
            Event::Progress(Step::Authenticate) => self.progress(Step::Authenticate, "PPP: authenticating"),
            Event::Progress(Step::Encryption) => {
                self.progress(Step::Encryption, "PPP: negotiating encryption");
            }
            Event::Authenticated(who) => self.authenticated(who),
            Event::Established(up) | Event::Changed(up) => self.established(up),
            _ => {}
        }
    }
}
