//! While a dialled connection stands: what is heard of it.

use std::collections::BTreeMap;

use adit_core::{Failure, Step};
use adit_ikev2::api::Event;

use super::super::idle::Idle;
use super::super::roaming::{Due, Over, Roaming};
use super::super::words::not_rekeyed;
use super::live::{Live, next_event, no_child};
use super::{Attempt, internal};

/// What is heard while the connection stands.
enum Heard {
    Current(Event),
    Renewal(Event),
    TimeToRenew,
    TimeToLook,
    Roaming(Due),
}

impl Attempt {
    /// Returns when the peer is lost or has closed the connection.
    pub(super) async fn hold(&mut self) -> Over {
        self.idle = self.profile.idle.map(|limit| {
            // Its states are new.
            Idle::new(limit, tokio::time::Instant::now(), BTreeMap::new())
        });
        loop {
            self.installation.tell_again();
            if let Some(roaming) = &mut self.roaming
                && let Some(over) = roaming.act(&self.daemon, &self.installation, &mut self.shown).await
            {
                return over;
            }
            let event = match self.hear().await {
                Heard::Current(event) => event,
                Heard::Renewal(event) => match self.renewal_said(event).await {
                    Some(failure) => return Over::Reconnect(failure),
                    None => continue,
                },
                Heard::TimeToRenew => {
                    self.renew().await;
                    continue;
                }
                Heard::TimeToLook => match self.idle_for_too_long().await {
                    Some(failure) => return Over::Idle(failure),
                    None => continue,
                },
                Heard::Roaming(what) => {
                    self.roaming.as_mut().into_iter().for_each(|roaming| roaming.wake(what));
                    continue;
                }
            };
            self.roaming.as_mut().into_iter().for_each(|roaming| roaming.heard(&event));
            if let Some(over) = self.happened(event).await {
                return over;
            }
        }
    }

    /// What the IKE_SA says, and whether it ends with it.
    async fn happened(&mut self, event: Event) -> Option<Over> {
        match event {
            Event::PathChanged { path, encapsulated } => {
                self.shown.moved(path, encapsulated);
                self.live.iter_mut().for_each(|live| live.remote.set_ip(path.remote.ip()));
            }
            Event::Closed(result) => {
                self.live = None;
                // A server ends the old one as soon as it has let the new one in, which may be known here later.
                if self.renewal.is_none() {
                    return Some(Over::Reconnect(
                        result.err().unwrap_or_else(|| internal("the IKE_SA was closed")),
                    ));
                }
            }
            Event::ChildUp(up) => self.shown.child_up(&up),
            Event::ChildClosed { child, replaced_by, .. } => {
                let left = self.shown.child_closed(child);
                if left == 0 && replaced_by.is_none() && self.renewal.is_none() {
                    let why = self.live.as_mut().map_or_else(no_child, Live::why_without_child);
                    return Some(Over::Reconnect(why));
                }
            }
            Event::ChildRefused { name, why } => {
                self.progress(Step::Child, &format!("IKEv2: no CHILD_SA {name}: {why}"));
            }
            Event::RekeyRefused { child, why } => {
                let text = not_rekeyed(child, &why);
                self.progress(Step::Established, &text);
                self.daemon.registry().rekey_refused(self.id, Failure { text, ..why });
            }
            Event::Rekeyed { ike } => self.shown.rekeyed(ike),
            Event::ReauthenticationDue => self.renew().await,
            Event::Ticket(ticket) => self.got_ticket(ticket),
            _ => {}
        }
        None
    }

    async fn hear(&mut self) -> Heard {
        let renew = at(self.renew_at);
        let look = at(self.idle.as_ref().map(Idle::next));
        tokio::select! {
            event = next_event(self.live.as_mut()), if self.live.is_some() => Heard::Current(event),
            event = next_event(self.renewal.as_mut()), if self.renewal.is_some() => Heard::Renewal(event),
            what = due(self.roaming.as_mut()) => Heard::Roaming(what),
            () = renew => Heard::TimeToRenew,
            () = look => Heard::TimeToLook,
        }
    }

    async fn idle_for_too_long(&mut self) -> Option<Failure> {
        let packets = self.installation.packets().await;
        self.idle.as_mut().and_then(|idle| idle.look(tokio::time::Instant::now(), packets))
    }
}

/// Waits until the mobility of a connection wants something.
async fn due(roaming: Option<&mut Roaming>) -> Due {
    match roaming {
        Some(roaming) => roaming.due().await,
        None => std::future::pending().await,
    }
}

/// Pends where there is no such time.
async fn at(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
