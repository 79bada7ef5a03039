//! A tunnel's DNS servers, handed to systemd-resolved link by link (`org.freedesktop.resolve1`); where there is none, to
//! whoever else sees to this host's names ([`names_way`]), with an undo in a journal.
//!
//! resolved forgets what belongs to a link when the link goes, so nothing of this outlives a tunnel. It is set before a
//! connection is said to be up: domains first, then whether it is for all other names, and the servers last, so that no
//! name is ever asked for in between by the wrong way.

mod silent;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use adit_core::Step;
use adit_plan::{NameFacts, NamePlan};
use adit_profile::{Dns, Host as ServerHost, Profile, Tunnel};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::AddressFamily;
use tokio::sync::Mutex;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::{Connection, proxy};

use crate::host::{Change, Changes, Host, Journal, LinkNames, NamesWay, names_way};
use crate::registry::{ConnectionId, Facts, Registry};
use silent::{Asking, Questions};

/// How long a connection waits for resolved.
const PATIENCE: Duration = Duration::from_secs(5);

const RESOLVED: &str = "org.freedesktop.resolve1";
/// What is to be undone where somebody else sees to names.
const JOURNAL: &str = "names";

/// The part of resolved's interface that is used.
#[proxy(
    interface = "org.freedesktop.resolve1.Manager",
    default_service = "org.freedesktop.resolve1",
    default_path = "/org/freedesktop/resolve1"
)]
trait Resolved {
    /// The DNS servers of a link: family and address each.
    #[zbus(name = "SetLinkDNS")]
    fn set_link_dns(&self, link: i32, servers: &[(i32, Vec<u8>)]) -> zbus::Result<()>;

    /// The domains of a link, each with whether names without a dot are not looked for there.
    fn set_link_domains(&self, link: i32, domains: &[(&str, bool)]) -> zbus::Result<()>;

    /// Every domain: its link (0: none), and whether names without a dot are not looked for there.
    #[zbus(property(emits_changed_signal = "false"))]
    fn domains(&self) -> zbus::Result<Vec<(i32, String, bool)>>;

    /// Whether a link is asked for names that no other link is for.
    fn set_link_default_route(&self, link: i32, enable: bool) -> zbus::Result<()>;

    /// Takes all of it back.
    fn revert_link(&self, link: i32) -> zbus::Result<()>;
}

/// The host's resolver.
#[derive(Clone)]
pub(crate) struct Names {
    registry: Arc<Registry>,
    bus: Arc<OnceLock<Connection>>,
    set: Arc<Mutex<BTreeMap<ConnectionId, Set>>>,
    host: Arc<dyn Host>,
    journals: PathBuf,
}

/// What holds for a connection.
struct Set {
    link: i32,
    plan: NamePlan,
    /// Where systemd-resolved is not: the way, and the number of the undo.
    elsewhere: Option<(NamesWay, Option<u64>)>,
    /// Whether they answer.
    _asking: Asking,
}

impl Names {
    /// `journals`: the folder where undos are written down.
    pub(crate) fn new(registry: &Arc<Registry>, host: &Arc<dyn Host>, journals: &Path) -> Self {
        let (registry, host) = (Arc::clone(registry), Arc::clone(host));
        Self { registry, bus: Arc::default(), set: Arc::default(), host, journals: journals.to_owned() }
    }

    /// The bus that resolved is on.
    pub(crate) fn on(&self, bus: &Connection) {
        // A daemon has one system bus.
        let _ = self.bus.set(bus.clone());
    }

    /// Has names looked up as a connection's facts are now. Says so, or why not; a tunnel is one without that, too.
    pub(crate) async fn settle(&self, id: ConnectionId, profile: &Profile) {
        // One after the other: what was read last is what is told last.
        let mut set = self.set.lock().await;
        let ours = |facts: &Facts| profile.dns == Dns::Auto && !facts.dns_by_caller;
        let Some(facts) = self.registry.get(id).filter(ours) else { return };
        let full = profile.tunnel == Tunnel::Full;
        let Some(plan) = NamePlan::of(&known(&facts, full)) else { return };
        let link = if_nametoindex(facts.interface.as_str()).ok().and_then(|index| i32::try_from(index).ok());
        let Some(link) = link else { return };
        if set.get(&id).is_some_and(|set| set.link == link && set.plan == plan) {
            return;
        }
        let told = match self.has_resolved().await {
            true => self.tell(link, &plan).await.map(|()| None),
            false => self.tell_others(&facts.interface, &plan, set.get(&id)).await.map(Some),
        };
        let text = match told {
            Ok(elsewhere) => {
                let by = elsewhere.map_or_else(|| "systemd-resolved".to_owned(), |(way, _)| way.to_string());
                let split = elsewhere.is_some() && !plan.default;
                let asking = Asking::begin(&self.registry, id, questions(&facts.interface, &plan, profile));
                set.insert(id, Set { link, plan: plan.clone(), elsewhere, _asking: asking });
                match split {
                    // It knows no domains.
                    true => format!("DNS: every name first by {}, by {by}", servers(&plan)),
                    false => format!("DNS: {}, by {by}", described(&plan)),
                }
            }
            Err(why) => format!("DNS: nobody asks {}: {why}", servers(&plan)),
        };
        self.registry.progress(id, Step::Network.as_str(), &text);
    }

    /// A connection's link looks up nothing any more. Its servers are no facts of it by then.
    pub(crate) async fn forget(&self, id: ConnectionId) {
        let mut set = self.set.lock().await;
        let Some(Set { link, elsewhere, .. }) = set.remove(&id) else { return };
        if let Some((way, number)) = elsewhere {
            return self.forget_others(id, way, number).await;
        }
        let Some(bus) = self.bus.get() else { return };
        let revert = async { ResolvedProxy::new(bus).await?.revert_link(link).await };
        match tokio::time::timeout(PATIENCE, revert).await {
            Ok(Ok(())) => {}
            // Mostly since the link is gone, and everything with it.
            Ok(Err(error)) => tracing::debug!(connection = id.0, %error, "not reverted"),
            Err(_) => tracing::warn!(connection = id.0, "systemd-resolved does not answer"),
        }
    }

    async fn has_resolved(&self) -> bool {
        let Some(bus) = self.bus.get() else { return false };
        let has = async {
            let name = BusName::try_from(RESOLVED)?;
            DBusProxy::new(bus).await?.name_has_owner(name).await.map_err(zbus::Error::from)
        };
        matches!(tokio::time::timeout(PATIENCE, has).await, Ok(Ok(true)))
    }

    /// Whoever sees to this host's names now. What held before for this connection is replaced.
    async fn tell_others(
        &self,
        link: &str,
        plan: &NamePlan,
        former: Option<&Set>,
    ) -> Result<(NamesWay, Option<u64>), String> {
        let changes = self.changes()?;
        if let Some((_, Some(number))) = former.and_then(|former| former.elsewhere) {
            changes.undo_one(number).await.map_err(|error| error.to_string())?;
        }
        let way = names_way(self.bus.get()).await;
        let way = way.map_err(|why| format!("there is no systemd-resolved here, and {why}"))?;
        let plan = plan.clone();
        let named = |domain: &String| domain != "." && !domain.ends_with(".arpa");
        let search = plan.domains.into_iter().filter(named).collect();
        let names =
            LinkNames { way, link: link.to_owned(), servers: plan.servers, search, only: plan.default };
        let made = changes.make(&Change::Names(names)).await;
        made.map(|number| (way, number)).map_err(|error| error.to_string())
    }

    async fn forget_others(&self, id: ConnectionId, way: NamesWay, number: Option<u64>) {
        let Some(number) = number else { return };
        let undone = match self.changes() {
            Ok(changes) => changes.undo_one(number).await.map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        if let Err(why) = undone {
            tracing::warn!(connection = id.0, %way, why, "names are not asked as before; the next start tries again");
        }
    }

    /// The journal is read each time: nobody else writes it, and it is small.
    fn changes(&self) -> Result<Changes, String> {
        let journal = Journal::open(&self.journals, JOURNAL).map_err(|error| error.to_string())?;
        Ok(Changes::new(Arc::clone(&self.host), journal))
    }

    async fn tell(&self, link: i32, plan: &NamePlan) -> Result<(), String> {
        let Some(bus) = self.bus.get() else { return Err("aditd is not on the system bus".into()) };
        let servers: Vec<(i32, Vec<u8>)> = plan.servers.iter().map(|server| address(*server)).collect();
        let told = async {
            let resolved = ResolvedProxy::new(bus).await?;
            let others = match plan.default {
                true => resolved.domains().await?,
                false => Vec::new(),
            };
            let others: Vec<String> =
                others.into_iter().filter(|(of, ..)| *of != link).map(|(_, domain, _)| domain).collect();
            let domains = plan.link_domains(&others);
            let domains: Vec<(&str, bool)> =
                domains.iter().map(|(domain, only)| (domain.as_str(), *only)).collect();
            resolved.set_link_domains(link, &domains).await?;
            resolved.set_link_default_route(link, plan.default).await?;
            resolved.set_link_dns(link, &servers).await
        };
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(told) => told.map_err(|error| because(&error)),
            Err(_) => Err("systemd-resolved does not answer".into()),
        }
    }
}

fn known(facts: &Facts, full: bool) -> NameFacts {
    NameFacts {
        servers: facts.dns.clone(),
        domains: facts.domains.clone(),
        routes: facts.routes.clone(),
        full,
    }
}

/// Something that its servers know: the first of its domains, or the gateway's name.
fn questions(link: &str, plan: &NamePlan, profile: &Profile) -> Questions {
    let own = plan.domains.iter().find(|domain| *domain != "." && !domain.ends_with(".arpa"));
    let gateway = profile.servers.iter().find_map(|server| match &server.host {
        ServerHost::Name(name) => Some(name.to_string()),
        ServerHost::Address(_) => None,
    });
    Questions {
        link: link.to_owned(),
        servers: plan.servers.clone(),
        name: own.cloned().or(gateway).unwrap_or_else(|| "localhost".to_owned()),
        again: profile.idle.is_none(),
    }
}

/// As resolved has it: AF_INET or AF_INET6, and the octets.
fn address(address: IpAddr) -> (i32, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (AddressFamily::Inet as i32, address.octets().to_vec()),
        IpAddr::V6(address) => (AddressFamily::Inet6 as i32, address.octets().to_vec()),
    }
}

fn because(error: &zbus::Error) -> String {
    let name = match error {
        zbus::Error::MethodError(name, ..) => name.as_str(),
        _ => "",
    };
    match name {
        "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner" => {
            "there is no systemd-resolved here (systemctl enable --now systemd-resolved)".into()
        }
        "org.freedesktop.DBus.Error.AccessDenied"
        | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" => {
            "systemd-resolved does not take it from aditd: is polkit there, with the rule of this package?"
                .into()
        }
        _ => format!("systemd-resolved: {error}"),
    }
}

fn servers(plan: &NamePlan) -> String {
    plan.servers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// `everything by 10.1.0.53`, `corp.example by 10.1.0.53, 10.1.0.54`.
fn described(plan: &NamePlan) -> String {
    let names: Vec<&str> =
        plan.domains.iter().map(String::as_str).filter(|d| !d.ends_with(".arpa")).collect();
    let what = match names.as_slice() {
        _ if plan.default => "every name".to_owned(),
        [] => "the names of its networks' addresses".to_owned(),
        names => names.join(", "),
    };
    format!("{what} by {}", servers(plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(domains: &[&str], default: bool) -> NamePlan {
        let servers = vec!["10.1.0.53".parse().unwrap(), "fd00::53".parse().unwrap()];
        NamePlan { servers, domains: domains.iter().map(|d| (*d).to_owned()).collect(), default }
    }

    #[test]
    fn what_is_asked_for_is_said_in_a_few_words() {
        assert_eq!(described(&plan(&[".", "corp.example"], true)), "every name by 10.1.0.53, fd00::53");
        let split = plan(&["1.10.in-addr.arpa", "corp.example"], false);
        assert_eq!(described(&split), "corp.example by 10.1.0.53, fd00::53");
        let networks = plan(&["1.10.in-addr.arpa"], false);
        assert_eq!(described(&networks), "the names of its networks' addresses by 10.1.0.53, fd00::53");
    }

    #[test]
    fn addresses_are_as_resolved_has_them() {
        assert_eq!(address("10.1.0.53".parse().unwrap()), (2, vec![10, 1, 0, 53]));
        assert_eq!(address("fd00::53".parse().unwrap()).0, 10);
        assert_eq!(address("fd00::53".parse().unwrap()).1.len(), 16);
    }
}
