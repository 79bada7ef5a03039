//! Dialled connections whose link is PPP's.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::bundle::{Left, gather};
use super::{Handover, LINK_PREFIX};

/// What is known of one beside its snapshots. Nothing of it is secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub(crate) struct LinkTold {
    /// The profile's name.
    pub(crate) profile: String,
    /// What its file was known by when it was dialled.
    pub(crate) print: String,
    /// The gateway as the profile names it, and where all of the profile's were.
    pub(crate) gateway: String,
    pub(crate) known: Vec<(String, Vec<SocketAddr>)>,
    pub(crate) dns_by_caller: bool,
    /// When it came up, seconds since 1970.
    pub(crate) since: u64,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Who we are.
    pub(crate) name: String,
    /// Its interface: name, index, and the unit's number.
    pub(crate) link: String,
    pub(crate) index: u32,
    pub(crate) number: i32,
}

/// One that a process before has left.
pub(crate) type FoundLink = Left<LinkTold>;

impl Handover {
    /// All of them, by profile.
    pub(crate) fn take_links(&self) -> BTreeMap<String, FoundLink> {
        let mut links = self.links.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = std::mem::take(&mut *links);
        let mut found: BTreeMap<String, FoundLink> = BTreeMap::new();
        let now = gather(LINK_PREFIX, self.take_others(LINK_PREFIX));
        for one in now.into_iter().chain(before.into_values()) {
            // There is one of each profile.
            if let Some(other) = found.insert(one.told.profile.clone(), one) {
                other.refuse();
            }
        }
        found
    }

    /// These can be gone on with.
    pub(crate) fn keep_links(&self, found: BTreeMap<String, FoundLink>) {
        *self.links.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = found;
    }
}
