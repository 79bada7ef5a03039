//! What may be negotiated on an IKE_SA after IKE_AUTH: what is left of a configuration when identities are proven.

use std::sync::Arc;

use core::time::Duration;

use adit_core::{Identity, TrafficSelector};
use adit_isakmp::proposal::{EspProposal, IkeProposal};

use crate::api::{InitiatorConfig, ResponderConfig, Timing};
use crate::selectors;

/// The same for all peers of one connection, and kept once for all of them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The connection's name, of a responder.
    pub(crate) name: Option<String>,
    pub(crate) local_id: Identity,
    /// What the IKE_SA may be rekeyed to, best first.
    pub(crate) ike: Arc<[IkeProposal]>,
    /// What CHILD_SAs may use, best first.
    pub(crate) esp: Arc<[EspProposal]>,
    /// Our side of traffic selectors.
    pub(crate) local_ts: Vec<TrafficSelector>,
    /// The peer's side.
    pub(crate) remote_ts: Vec<TrafficSelector>,
    /// The peer's side is the addresses that it got from us.
    pub(crate) addresses: bool,
    /// Whether the peer may have transport mode.
    pub(crate) transport: bool,
    /// How long a session of the peer's can be resumed.
    pub(crate) ticket_lifetime: Duration,
    pub(crate) timing: Timing,
}

impl Policy {
    /// An initiator's.
    pub(crate) fn of_initiator(config: &InitiatorConfig) -> Self {
        Self {
            name: None,
            local_id: config.local_id.clone(),
            ike: config.ike.as_slice().into(),
            esp: config.esp.as_slice().into(),
            local_ts: selectors::or_everything(&config.local_ts),
            remote_ts: selectors::or_everything(&config.remote_ts),
            addresses: false,
            transport: true,
            ticket_lifetime: Duration::ZERO,
            timing: config.timing,
        }
    }

    /// A responder's.
    pub(crate) fn of_responder(config: ResponderConfig, ike: Arc<[IkeProposal]>) -> Self {
        Self {
            name: Some(config.name),
            local_id: config.local_id,
            ike,
            esp: config.esp.into(),
            local_ts: config.local_ts,
            remote_ts: config.remote_ts,
            addresses: config.addresses,
            transport: config.transport,
            ticket_lifetime: config.ticket_lifetime,
            timing: config.timing,
        }
    }
}
