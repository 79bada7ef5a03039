//! What `ctl doctor NAME` finds out: how far each type of tunnel comes with each of a profile's servers, without logging in.
//! Who dials is who dials otherwise; what is refused is its leave to log in ([`LogIn::probe`]).

mod firewall;
mod mtu;
mod tunnel;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use adit_core::Failure;
use adit_dbus_api::DoctorCheck;
use adit_profile::{AuthMethod, Dns, Host, Profile, TunnelKind};

use super::lookup;
use super::strategy::way::{Place, places};
use crate::daemon::Daemon;
use crate::doctor::{check, needs};
use crate::registry::State;

/// Every check, in a fixed order.
pub(crate) async fn diagnose(daemon: &Arc<Daemon>, mut profile: Profile) -> Vec<DoctorCheck> {
    let strategy = profile.strategy.take();
    let (others, left_out) = strategy.map(|all| (all.others, all.left_out)).unwrap_or_default();
    let profiles: Vec<Arc<Profile>> = std::iter::once(profile).chain(others).map(Arc::new).collect();
    let kinds: Vec<TunnelKind> = profiles.iter().map(|profile| profile.kind).collect();
    let mut out = needs(daemon, &kinds).await;
    for (kind, why) in left_out {
        let text = format!("{} does not take part: {why}", kind.name());
        out.push(check(&format!("left-out-{}", kind.as_str()), "ok", text, ""));
    }
    match places(&profiles, daemon).await {
        Err(failure) => out.push(failed("name", "", &failure)),
        Ok(places) => {
            out.extend(names(&places));
            out.extend(of_places(daemon, &places).await);
        }
    }
    if let Some(profile) = profiles.first() {
        out.extend(name_servers(daemon, profile).await);
    }
    out
}

/// A check that has failed, and how.
fn failed(id: &str, lead: &str, failure: &Failure) -> DoctorCheck {
    let said = failure.peer.as_ref().map(|peer| format!(" (the server says {peer})")).unwrap_or_default();
    let hint = failure.hint.clone().unwrap_or_default();
    check(id, "fail", format!("{lead}{}{said}", failure.text), hint)
}

/// What was looked up.
fn names(places: &[Place]) -> Vec<DoctorCheck> {
    let mut out: Vec<DoctorCheck> = Vec::new();
    let hosts: BTreeSet<String> = places
        .iter()
        .filter_map(|place| match &place.gateway.host {
            Host::Name(name) => Some(name.to_string()),
            Host::Address(_) => None,
        })
        .collect();
    for host in hosts {
        let of_host = places.iter().filter(|place| place.gateway.host.to_string() == host);
        let addresses: BTreeSet<IpAddr> = of_host.map(|place| place.remote.ip()).collect();
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        out.push(check("name", "ok", format!("{host} is {}", addresses.join(", ")), ""));
    }
    out
}

/// The tunnels, all at once, and what is on the way to their servers.
async fn of_places(daemon: &Arc<Daemon>, places: &[Place]) -> Vec<DoctorCheck> {
    let remotes: BTreeSet<IpAddr> = places.iter().map(|place| place.remote.ip()).collect();
    let doors: BTreeSet<(SocketAddr, bool)> = places.iter().flat_map(udp_ports).collect();
    let walls = doors.into_iter().map(|(remote, ike)| firewall::check(remote, ike));
    let wanted = places.first().and_then(|place| place.profile.mtu);
    let paths = remotes.into_iter().map(|remote| mtu::check(daemon, remote, wanted));
    let tunnels = places.iter().map(|place| of_place(daemon, place));
    let (walls, paths, tunnels) = tokio::join!(
        futures_util::future::join_all(walls),
        futures_util::future::join_all(paths),
        futures_util::future::join_all(tunnels),
    );
    let mut tunnels: Vec<DoctorCheck> = tunnels.into_iter().flatten().collect();
    let kinds: BTreeSet<&str> = places.iter().map(|place| place.kind().as_str()).collect();
    if kinds.len() > 1 && tunnels.iter().any(|check| check.id.starts_with("tunnel-") && check.status == "ok")
    {
        // One of them is enough.
        let failed =
            tunnels.iter_mut().filter(|check| check.id.starts_with("tunnel-") && check.status == "fail");
        failed.for_each(|check| "warn".clone_into(&mut check.status));
    }
    walls.into_iter().flatten().chain(tunnels).chain(paths).collect()
}

/// The UDP ports of a server that a tunnel needs, and whether IKE's own rules hold there.
fn udp_ports(place: &Place) -> Vec<(SocketAddr, bool)> {
    match place.kind() {
        TunnelKind::Ikev2 | TunnelKind::L2tp if place.gateway.port.is_none() => {
            [500, 4500].map(|port| (SocketAddr::new(place.remote.ip(), port), port == 4500)).into()
        }
        TunnelKind::Ikev2 => vec![(place.remote, true)],
        TunnelKind::L2tp | TunnelKind::Pptp | TunnelKind::Sstp => Vec::new(),
    }
}

/// One tunnel. Where IKEv2 would not come to its second port without logging in, that is called by itself.
async fn of_place(daemon: &Arc<Daemon>, place: &Place) -> Vec<DoctorCheck> {
    let both = place.kind() == TunnelKind::Ikev2
        && place.profile.auth != AuthMethod::Eap
        && place.gateway.port.is_none();
    if !both {
        return tunnel::check(daemon, place.clone(), "").await;
    }
    let mut behind_nat = place.clone();
    behind_nat.remote.set_port(4500);
    let first = tunnel::check(daemon, place.clone(), " (UDP 500)");
    let second = tunnel::check(daemon, behind_nat, " (UDP 4500)");
    let (first, second) = tokio::join!(first, second);
    first.into_iter().chain(second).collect()
}

/// Of a connection that is up: whether the name servers that came with it answer.
async fn name_servers(daemon: &Arc<Daemon>, profile: &Profile) -> Vec<DoctorCheck> {
    let facts = daemon.registry().live_client(profile.name.as_str()).and_then(|id| daemon.registry().get(id));
    let up = facts.filter(|facts| facts.state == State::Connected && profile.dns == Dns::Auto);
    let Some(facts) = up else { return Vec::new() };
    let name = match profile.servers.first().map(|server| &server.host) {
        Some(Host::Name(name)) => name.to_string(),
        _ => "localhost".to_owned(),
    };
    let asked = facts.dns.iter().map(|server| lookup::answers(*server, &name, None));
    let answers = futures_util::future::join_all(asked).await;
    let told = facts.dns.iter().zip(answers).map(|(server, answer)| match answer {
        Ok(()) => check("dns-of-tunnel", "ok", format!("the tunnel's DNS server {server} answers"), ""),
        Err(error) => {
            let text = format!(
                "the tunnel's DNS server {server} does not answer ({error}): names do not resolve while it is up"
            );
            let hint = format!(
                "tell whoever runs the server; to do without it:  dns = \"ignore\"  in the profile, then ctl down {0} and ctl up {0}",
                profile.name
            );
            check("dns-of-tunnel", "fail", text, hint)
        }
    });
    told.collect()
}
