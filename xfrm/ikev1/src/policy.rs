//! What is left of a configuration when phase 1 is over.

use adit_core::{Identity, Path, TrafficSelector};
use adit_isakmp::proposal::EspProposal;

use crate::api::{ChildMode, InitiatorConfig, ResponderConfig, Timing};

/// What Quick Modes of a connection may negotiate.
pub(crate) struct Policy {
    /// The connection's name, of a responder.
    pub(crate) name: Option<String>,
    pub(crate) local_id: Identity,
    pub(crate) esp: Vec<EspProposal>,
    pub(crate) mode: ChildMode,
    pub(crate) local_ts: Vec<TrafficSelector>,
    pub(crate) remote_ts: Vec<TrafficSelector>,
    pub(crate) timing: Timing,
}

impl Policy {
    pub(crate) fn of_initiator(config: &InitiatorConfig) -> Self {
        Self {
            name: None,
            local_id: config.local_id.clone(),
            esp: config.esp.clone(),
            mode: config.mode,
            local_ts: vec![config.local_ts],
            remote_ts: vec![config.remote_ts],
            timing: config.timing,
        }
    }

    pub(crate) fn of_responder(config: ResponderConfig) -> Self {
        Self {
            name: Some(config.name),
            local_id: config.local_id,
            esp: config.esp,
            mode: config.mode,
            local_ts: config.local_ts,
            remote_ts: config.remote_ts,
            timing: config.timing,
        }
    }

    /// The traffic that a peer asks for, as it is for us: in transport mode it goes between the two ends, whatever
    /// addresses a NAT lets the peer believe in (RFC 3947 §5.2). `None`: it is not allowed.
    pub(crate) fn allowed(
        &self,
        path: Path,
        local: TrafficSelector,
        remote: TrafficSelector,
    ) -> Option<(TrafficSelector, TrafficSelector)> {
        let (local, remote) = match self.mode {
            ChildMode::Tunnel => (local, remote),
            ChildMode::Transport => (at(local, path.local.ip()), at(remote, path.remote.ip())),
        };
        // [2409:5.5-5]
        let fits = |all: &[TrafficSelector], ts: TrafficSelector| {
            all.iter().any(|a| match self.mode {
                ChildMode::Tunnel => a.covers(ts),
                ChildMode::Transport => TrafficSelector { addresses: ts.addresses, ..*a }.covers(ts),
            })
        };
        (fits(&self.local_ts, local) && fits(&self.remote_ts, remote)).then_some((local, remote))
    }
}

/// The same protocol and ports at one address.
pub(crate) fn at(selector: TrafficSelector, address: core::net::IpAddr) -> TrafficSelector {
    TrafficSelector { addresses: adit_core::Prefix::host(address.to_canonical()).range(), ..selector }
}
