//! The ways that there are: a type of tunnel to one address each.

use std::net::SocketAddr;
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Step};
use adit_plan::strategy::Candidate;
use adit_profile::{Profile, ServerName, TunnelKind};

use crate::client::attempt;
use crate::client::handle::{After, Carried, Part};
use crate::client::life::MOST_ADDRESSES;
use crate::client::resolve;
use crate::daemon::Daemon;
use crate::ppp;

/// Where a way leads.
#[derive(Clone)]
pub(in crate::client) struct Place {
    /// The profile of its type, and where that stands in the list.
    pub(in crate::client) profile: Arc<Profile>,
    pub(in crate::client) at: usize,
    pub(in crate::client) gateway: ServerName,
    pub(in crate::client) remote: SocketAddr,
}

impl Place {
    pub(in crate::client) fn kind(&self) -> TunnelKind {
        self.profile.kind
    }

    pub(in crate::client) fn candidate(&self) -> Candidate {
        let sstp = self.kind() == TunnelKind::Sstp;
        Candidate { kind: self.at, weak: self.profile.is_weak(), sstp }
    }

    /// `SSTP to 203.0.113.1`.
    pub(in crate::client) fn name(&self) -> String {
        format!("{} to {}", self.kind().name(), self.remote.ip())
    }
}

/// Every place, type by type, of each server in order, IPv6 before IPv4. All names are looked up before the first is dialled.
///
/// # Errors
/// There is none.
pub(in crate::client) async fn places(
    profiles: &[Arc<Profile>],
    daemon: &Daemon,
) -> Result<Vec<Place>, Failure> {
    let lookups = profiles.iter().map(|profile| servers(profile, daemon));
    let (mut places, mut last) = (Vec::new(), None);
    let found = futures_util::future::join_all(lookups).await;
    for (at, (profile, found)) in profiles.iter().zip(found).enumerate() {
        match found {
            Err(failure) => last = Some(failure),
            Ok(servers) => {
                for (gateway, mut addresses) in servers {
                    addresses.sort_by_key(SocketAddr::is_ipv4);
                    addresses.truncate(MOST_ADDRESSES);
                    let place =
                        |remote| Place { profile: Arc::clone(profile), at, gateway: gateway.clone(), remote };
                    places.extend(addresses.into_iter().map(place));
                }
            }
        }
    }
    let none = || {
        let text = "the server has no address that any type of tunnel can use";
        Failure::new(FailureCode::NameUnresolved, Step::Resolve, text)
    };
    if places.is_empty() { Err(last.unwrap_or_else(none)) } else { Ok(places) }
}

async fn servers(profile: &Profile, daemon: &Daemon) -> Result<Vec<(ServerName, Vec<SocketAddr>)>, Failure> {
    if profile.kind != TunnelKind::Ikev2 {
        return ppp::client::servers(profile, daemon).await;
    }
    let found = resolve::places(daemon, profile).await;
    match found.failed {
        Some(failure) if found.known.is_empty() => Err(failure),
        _ => Ok(found.known),
    }
}

/// Who dials one.
pub(in crate::client) enum Client {
    Ike(Box<attempt::Attempt>, Arc<Profile>),
    Ppp(Box<ppp::client::Attempt>, Arc<Profile>),
}

impl Client {
    pub(in crate::client) fn new(part: Part) -> Self {
        let profile = Arc::clone(&part.profile);
        match profile.kind {
            TunnelKind::Ikev2 => Self::Ike(Box::new(attempt::Attempt::new(part)), profile),
            TunnelKind::Pptp | TunnelKind::Sstp | TunnelKind::L2tp => {
                let attempt = ppp::client::Attempt::new(part);
                attempt.warn();
                Self::Ppp(Box::new(attempt), profile)
            }
        }
    }

    fn profile(&self) -> &Profile {
        match self {
            Self::Ike(_, profile) | Self::Ppp(_, profile) => profile,
        }
    }

    pub(in crate::client) fn kind(&self) -> TunnelKind {
        self.profile().kind
    }

    pub(in crate::client) fn is_weak(&self) -> bool {
        self.profile().is_weak()
    }

    pub(in crate::client) fn carried(&self) -> Carried {
        match self {
            Self::Ike(attempt, _) => attempt.carried(),
            Self::Ppp(attempt, _) => attempt.carried(),
        }
    }

    pub(in crate::client) async fn connect(&mut self) -> Result<(), Failure> {
        match self {
            Self::Ike(attempt, _) => attempt.connect().await,
            Self::Ppp(attempt, _) => attempt.connect().await,
        }
    }

    pub(in crate::client) async fn stand(&mut self) -> After {
        match self {
            Self::Ike(attempt, _) => attempt.stand().await,
            Self::Ppp(attempt, _) => attempt.stand().await,
        }
    }

    /// The peer is told, and is not waited for.
    pub(in crate::client) fn let_go(&mut self) {
        match self {
            Self::Ike(attempt, _) => attempt.let_go(),
            Self::Ppp(..) => {}
        }
    }

    pub(in crate::client) async fn take_down(&mut self) -> Result<(), Failure> {
        match self {
            Self::Ike(attempt, _) => attempt.take_down().await,
            Self::Ppp(attempt, _) => attempt.take_down().await,
        }
    }
}
