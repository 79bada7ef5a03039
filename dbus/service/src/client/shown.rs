//! What people see of a dialled connection: its facts in the registry.

use std::sync::Arc;
use std::time::Duration;

use adit_core::{Path, Step};
use adit_ikev2::api::{ChildId, ChildUp, Established, RestoredChild};
use adit_isakmp::IkeSuite;
use adit_profile::Profile;

use crate::clock;
use crate::registry::{ChildFacts, ConnectionId, Facts, Moved, Registry, State};

/// Keeps the facts in step with what the IKE_SA does.
pub(super) struct Shown {
    id: ConnectionId,
    registry: Arc<Registry>,
    profile: Arc<Profile>,
    /// When the IKE_SA, and the CHILD_SA that is oldest, are to be rekeyed at the latest; 0: never.
    due: (u64, u64),
    /// When it left its last path.
    since: std::time::Instant,
}

/// Moves that are remembered.
const MOST_MOVES: usize = 20;

impl Shown {
    pub(super) fn new(id: ConnectionId, registry: &Arc<Registry>, profile: &Arc<Profile>) -> Self {
        Self {
            id,
            registry: Arc::clone(registry),
            profile: Arc::clone(profile),
            due: (0, 0),
            since: std::time::Instant::now(),
        }
    }

    pub(super) fn established(&mut self, up: &Established, gateway: &str) {
        let rekeying = self.profile.rekeying;
        self.due = (in_time(rekeying.ike), in_time(rekeying.child));
        let child = ChildFacts {
            id: up.child,
            name: String::new(),
            mode: super::configuration::child_mode(self.profile.mode),
            esp_suite: up.esp.to_string(),
            local: up.local_ts.clone(),
            remote: up.remote_ts.clone(),
        };
        self.update(|f| {
            f.local = Some(up.path.local);
            f.remote = Some(up.path.remote);
            f.encapsulated = up.encapsulated;
            f.local_id = up.local_id.to_string();
            f.remote_id = up.remote_id.to_string();
            f.ppk = up.ppk;
            f.resumed = up.resumed;
            f.set_ike(up.ike);
            f.esp_suite = up.esp.to_string();
            f.legacy = [up.ike.legacy(), up.esp.legacy()].concat();
            f.dns.clone_from(&up.lease.dns);
            f.domains.clone_from(&up.lease.domains);
            gateway.clone_into(&mut f.gateway);
            f.children = vec![child];
            f.last_error = None;
        });
    }

    /// It goes on from a process before, with these CHILD_SAs, and is to be rekeyed then.
    pub(super) fn goes_on(&mut self, children: &[RestoredChild], next_rekey: u64) {
        self.due.0 = next_rekey;
        let child = |c: &RestoredChild| ChildFacts {
            id: c.child,
            name: c.name.clone().unwrap_or_default(),
            mode: c.mode,
            esp_suite: c.suite.to_string(),
            local: c.local_ts.clone(),
            remote: c.remote_ts.clone(),
        };
        let stay = children.iter().filter(|child| !child.replaced);
        self.update(|f| f.children = stay.map(child).collect());
    }

    /// It goes over this path.
    pub(super) fn moved(&self, path: Path, encapsulated: bool) {
        self.update(|f| {
            f.local = Some(path.local);
            f.remote = Some(path.remote);
            f.encapsulated = encapsulated;
        });
    }

    /// It goes over this link.
    pub(super) fn goes_over(&self, link: &str) {
        self.update(|f| link.clone_into(&mut f.uplink));
    }

    /// It stands like this, on its way from network to network.
    pub(super) fn stands(&mut self, state: State, link: &str, path: Path) {
        let (reason, text) = match state {
            State::Dormant => ("no-path", "no way out of this host: waiting for a network".to_owned()),
            State::Connected => {
                let after = self.since.elapsed().as_millis();
                ("moved", format!("connected over {link}, from {}, after {after} ms", path.local.ip()))
            }
            _ => ("moving", format!("moving to {link}, {}", path.local.ip())),
        };
        if state != State::Connected {
            self.since = std::time::Instant::now();
        }
        self.update(|f| {
            link.clone_into(&mut f.uplink);
            if state == State::Connected {
                let moved =
                    Moved { at: clock::wall().0, link: link.into(), local: path.local, remote: path.remote };
                f.moves.push(moved);
                let many = f.moves.len().saturating_sub(MOST_MOVES);
                f.moves.drain(..many);
            }
        });
        self.registry.set_state(self.id, state, reason, None);
        self.registry.progress(self.id, Step::Established.as_str(), &text);
    }

    /// The IKE_SA has other keys.
    pub(super) fn rekeyed(&mut self, ike: IkeSuite) {
        self.due.0 = in_time(self.profile.rekeying.ike);
        self.update(|f| f.ike_rekeyed(ike));
    }

    /// One more CHILD_SA, or one in another's place.
    pub(super) fn child_up(&mut self, up: &ChildUp) {
        if up.replaces.is_some() {
            self.due.1 = in_time(self.profile.rekeying.child);
        }
        self.update(|f| {
            let former = f.children.iter_mut().find(|c| Some(c.id) == up.replaces);
            let name = former.as_ref().map(|c| c.name.clone());
            let child = ChildFacts {
                id: up.child,
                name: name.or_else(|| up.name.clone()).unwrap_or_default(),
                mode: up.mode,
                esp_suite: up.esp.to_string(),
                local: up.local_ts.clone(),
                remote: up.remote_ts.clone(),
            };
            let first = child.name.is_empty();
            match former {
                Some(former) => {
                    *former = child;
                    f.child_rekeyed(up.esp, first);
                }
                None => {
                    f.children.push(child);
                    f.add_legacy(up.esp.legacy());
                }
            }
        });
    }

    /// A CHILD_SA is gone; how many are left.
    pub(super) fn child_closed(&self, child: ChildId) -> usize {
        self.update(|f| f.children.retain(|c| c.id != child));
        self.registry.get(self.id).map_or(0, |f| f.children.len())
    }

    fn update(&self, change: impl FnOnce(&mut Facts)) {
        let next = [self.due.0, self.due.1].into_iter().filter(|at| *at != 0).min().unwrap_or(0);
        self.registry.update(self.id, |f| {
            f.next_rekey = next;
            change(f);
        });
    }
}

fn in_time(age: Option<Duration>) -> u64 {
    age.map_or(0, |age| clock::wall().0 + age.as_secs())
}

#[cfg(test)]
mod tests {
    use adit_ikev2::api::ChildMode;
    use adit_isakmp::algorithm::{Encryption, EspSuite, KeyBits};
    use adit_profile::{Source, parse_profile};

    use super::*;
    use crate::registry::Role;

    #[test]
    fn rekeys_are_counted_and_a_child_keeps_its_name() {
        let text =
            "server = \"a\"\nauth = \"psk\"\nlocal-id = \"b\"\npsk-file = \"c\"\nrekey-ike = \"never\"\n";
        let source = Source { file: "t", text, access: None };
        let profile = parse_profile(&"t".parse().unwrap(), &source, &|_, _| Ok(Vec::new())).unwrap();
        let registry = Registry::new();
        let id = registry.add(Facts::new(Role::Client, "t", "a"));
        let mut shown = Shown::new(id, &registry, &Arc::new(profile));
        let esp = EspSuite {
            encryption: Encryption::AesGcm16(KeyBits::B256),
            integrity: None,
            ke: None,
            additional: Default::default(),
            esn: true,
        };
        let up = |child, replaces, name: Option<&str>| ChildUp {
            child: ChildId(child),
            replaces,
            name: name.map(str::to_owned),
            esp,
            mode: ChildMode::Tunnel,
            local_ts: Vec::new(),
            remote_ts: Vec::new(),
        };
        shown.child_up(&up(1, None, Some("voice")));
        shown.child_up(&up(2, Some(ChildId(1)), None));
        let facts = registry.get(id).unwrap();
        assert_eq!((facts.rekeys, facts.children.len()), (1, 1));
        assert_eq!((facts.children[0].id, facts.children[0].name.as_str()), (ChildId(2), "voice"));
        assert!(facts.next_rekey >= clock::wall().0 + 3_590);

        // What was replaced goes later, and takes nothing along.
        assert_eq!(shown.child_closed(ChildId(1)), 1);
        assert_eq!(shown.child_closed(ChildId(2)), 0);
    }
}
