//! A peer that we have dialled and that dials us in turn: some servers make their new ISAKMP SAs themselves (strongSwan's
//! `reauth_time`). It meets what it was dialled with, and nobody but itself.

use std::sync::Arc;

use adit_core::{Failure, Identity};

use crate::api::{Auth, AuthMethod, InitiatorConfig, ResponderConfig, ResponderDefaults};
use crate::explain;
use crate::initiator::Theirs;

/// Main Modes that one such peer may have begun at a time: its address is all that is known of whoever begins one.
pub(crate) const MOST: usize = 4;

/// What such a peer meets.
pub(crate) struct Dialled {
    pub(crate) config: Arc<InitiatorConfig>,
    /// Who it has proven to be when it was dialled.
    pub(crate) remote_id: Identity,
}

impl Dialled {
    /// For phase 1: what we offered ourselves, proven as we would have it proven.
    pub(crate) fn defaults(&self) -> ResponderDefaults {
        let config = &self.config;
        ResponderDefaults {
            ike: config.ike.clone(),
            auths: vec![config.auth.method()],
            authorities: match &config.auth {
                Auth::Psk => Vec::new(),
                Auth::Signature { authorities, .. } => authorities.clone(),
            },
            addresses: Vec::new(),
            half_open_limit: MOST,
            half_open_per_address: MOST,
            limit: usize::MAX,
            fragment_size: config.fragment_size,
            timing: config.timing,
        }
    }

    /// For what follows.
    pub(crate) fn responder(&self) -> ResponderConfig {
        let config = &self.config;
        ResponderConfig {
            name: String::new(),
            local_id: config.local_id.clone(),
            own: match &config.auth {
                Auth::Psk => Vec::new(),
                Auth::Signature { own, .. } => own.clone(),
            },
            esp: config.esp.clone(),
            mode: config.mode,
            local_ts: vec![config.local_ts],
            remote_ts: vec![config.remote_ts],
            timing: config.timing,
        }
    }

    /// Who the peer is if its proof holds: whom we dialled. Everybody of a group has a pre-shared key, so with one its holder has
    /// to say so; a certificate is for whom we dialled, whatever its holder calls itself.
    pub(crate) fn identity(&self, theirs: &Theirs, auth: AuthMethod) -> Result<Identity, Failure> {
        if auth == AuthMethod::Psk && theirs.identity != self.remote_id {
            return Err(explain::another(&self.remote_id, &theirs.identity));
        }
        Ok(self.remote_id.clone())
    }
}
