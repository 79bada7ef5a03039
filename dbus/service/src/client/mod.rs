//! A connection that we dial: from `up` to the last undo.

mod adopt;
mod again;
mod asker;
mod attempt;
mod configuration;
mod context;
mod dhcp;
mod eap;
mod handing;
mod handle;
mod idle;
mod install;
mod life;
mod login;
mod lookup;
mod probe;
pub(crate) mod resolve;
mod roaming;
mod shown;
mod strategy;
mod trap;
mod words;

use std::sync::Arc;

use adit_profile::{Profile, TunnelKind};

use crate::daemon::Daemon;
use crate::registry::ConnectionId;
pub(crate) use asker::{Asker, not_wanted};
pub(crate) use eap::{Passwords, inner, method};
pub(crate) use handing::may_be_handed_on;
pub(crate) use handle::{After, Carried, Found, Part};
pub use handle::{ClientHandle, Dial};
pub(crate) use idle::Idle;
pub(crate) use life::{
    Ended, Ground, MOST_ADDRESSES, PAUSES, down, journal_of, no_route, not_armed, not_made, refused, unless,
};
pub(crate) use login::LogIn;
pub(crate) use lookup::answers;
pub(crate) use probe::diagnose;
pub(crate) use roaming::may_roam;
pub(crate) use words::{hint_at_legacy, not_rekeyed};

/// Starts the connection's task.
#[must_use]
pub fn start(mut dial: Dial) -> ClientHandle {
    if let Some(strategy) = dial.profile.strategy.take() {
        return strategy::start(dial, *strategy);
    }
    match dial.profile.kind {
        TunnelKind::Ikev2 => attempt::start(dial),
        TunnelKind::Pptp | TunnelKind::Sstp | TunnelKind::L2tp => crate::ppp::client::start(dial),
    }
}

/// Where a connection's passwords come from.
pub(crate) fn new_passwords(
    id: ConnectionId,
    profile: &Arc<Profile>,
    daemon: &Arc<Daemon>,
) -> Arc<Passwords> {
    let asker = Asker::new(id, daemon.registry());
    Arc::new(Passwords::new(profile, daemon.files(), asker))
}
