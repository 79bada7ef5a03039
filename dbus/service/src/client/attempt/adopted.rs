//! A connection that a process before has dialled: this one goes on with its IKE_SA.

use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_ikev2::api::{InitiatorConfig, Lease, Restored};
use tokio::sync::mpsc;

use super::live::Live;
use super::{Attempt, internal};
use crate::client::adopt::Stands;
use crate::client::configuration::{Target, initiator};
use crate::client::context::ClientContext;
use crate::client::roaming;
use crate::handover::{Found, as_established};
use crate::ike::{IkeDriver, Ports};
use crate::registry::State;
use crate::uplinks::UPLINKS;

impl Attempt {
    /// Goes on with what a process before has left.
    ///
    /// # Errors
    /// Nobody can: what it had in the kernel is gone then, and it is dialled anew; the block stands meanwhile.
    pub(super) async fn go_on(&mut self, found: Found) -> Result<(), Failure> {
        let installation = Arc::clone(&self.installation);
        let mut slot = installation.slot.lock().await;
        let result = match installation.take_over(&mut slot).await {
            Ok(stands) => self.restore(found, stands).await,
            Err(failure) => {
                found.keeper.end();
                Err(failure)
            }
        };
        match result {
            Ok((restored, stands)) => {
                installation.knows_again(&mut slot, &restored, &stands).await;
                drop(slot);
                self.goes_on(&restored).await;
                Ok(())
            }
            Err(failure) => {
                installation.only_told_of();
                installation.clear_away(&mut slot).await;
                self.daemon.uplinks().unless_followed(|| self.daemon.changes(UPLINKS)).await;
                self.live = None;
                Err(failure)
            }
        }
    }

    async fn restore(&mut self, found: Found, stands: Stands) -> Result<(Restored, Arc<Stands>), Failure> {
        let Found { told, snapshot, keeper, .. } = found;
        let stands = Arc::new(stands);
        self.installation.handing.begin(told.print.clone(), told.gateway.clone(), Some(keeper));
        let gateway = told.gateway.parse().map_err(|_| internal("the gateway handed over is none"))?;
        let ike = self.daemon.ike(Ports::default(), false).await?;
        if roaming::may_roam(&self.profile) && self.uplinks.is_none() {
            let changes = || self.daemon.changes(UPLINKS);
            self.uplinks = Some(self.daemon.uplinks().follow(changes).await?);
        }
        let config = self.config_of(&ike, &gateway)?;
        let (sender, events) = mpsc::unbounded_channel();
        let context = Arc::new(ClientContext {
            profile: Arc::clone(&self.profile),
            files: self.daemon.files().clone(),
            own: None,
            anchors: None,
            installation: Arc::clone(&self.installation),
            eap: None,
            probe: None,
            stands: Some(Arc::clone(&stands)),
            events: sender,
        });
        let refused = || {
            let text = "what was handed over cannot be gone on with.";
            Failure::new(FailureCode::PeerLost, Step::Established, text)
        };
        let restored = ike.restore(snapshot, config, context).await.ok_or_else(refused)?;
        let remote = restored.path.remote;
        let ports = ike.sockets().ports();
        self.live =
            Some(Live { ike: ike.clone(), sa: restored.sa, gateway: gateway.clone(), remote, events });
        self.known = vec![(gateway, vec![remote])];
        let bound = [ports.ike, ports.nat].contains(&restored.path.local.port());
        if !bound || self.installation.newest() != Some(restored.sa) {
            if let Some(live) = self.live.take() {
                live.ike.close(live.sa);
            }
            return Err(refused());
        }
        self.daemon.registry().update(self.id, |facts| told.tell(facts));
        Ok((restored, stands))
    }

    /// By which rules it goes on: those of its profile. Where it goes and who it is has been handed over.
    fn config_of(
        &self,
        ike: &IkeDriver,
        gateway: &adit_profile::ServerName,
    ) -> Result<InitiatorConfig, Failure> {
        let nowhere = ([0, 0, 0, 0], 500).into();
        let target = Target {
            gateway,
            remote: nowhere,
            source: nowhere.ip(),
            ports: ike.sockets().ports(),
            own: None,
            authorities: Vec::new(),
            former: Lease::default(),
            addresses: Vec::new(),
            ticket: None,
        };
        initiator(&self.profile, target)
    }

    /// It stands, as people see it.
    async fn goes_on(&mut self, restored: &Restored) {
        let Some(up) = as_established(restored) else { return };
        let kept = self.daemon.registry().get(self.id);
        let gateway = self.live.as_ref().map(|live| live.gateway.host.to_string()).unwrap_or_default();
        self.shown.established(&up, &gateway);
        self.shown.goes_on(&restored.children, kept.as_ref().map_or(0, |facts| facts.next_rekey));
        self.former.clone_from(&up.lease);
        self.daemon.names().settle(self.id, &self.profile).await;
        self.progress(Step::Established, "goes on from before this daemon started");
        self.state(State::Connected, "handed-over");
        if let Some(kept) = kept {
            self.daemon.registry().update(self.id, |facts| {
                (facts.since, facts.ppk, facts.resumed) = (kept.since, kept.ppk, kept.resumed);
                facts.set_ike(up.ike);
            });
        }
        let following = self.uplinks.clone().zip(self.live.as_ref());
        self.roaming = following.map(|(uplinks, live)| {
            roaming::Roaming::new(&self.profile, &up, uplinks, (live.ike.clone(), live.sa))
        });
        let link = self.roaming.as_ref().map(|roaming| roaming.link().to_owned()).unwrap_or_default();
        self.shown.goes_over(&link);
        self.installation.tell_again();
    }
}
