//! Tickets that we have given to peers (RFC 5723), as a responder.
//!
//! A ticket is a reference (RFC 5723 §6): 32 random bytes, and what they stand for is kept here, in memory. By value it
//! would have to be sealed, and all the same something would have to be kept of each: which were used, and whose IKE_SA
//! was deleted. So a ticket is gone with its entry: when it is used, when its IKE_SA is deleted, when its time is over, and
//! with this process. No key is in it, and none reaches a disk.

use std::collections::{BTreeMap, BTreeSet};

use adit_core::{Entropy, Identity, Instant, Secret};
use adit_isakmp::IkeSuite;
use adit_isakmp::crypto::CryptoProvider;
use adit_isakmp::payload::Identification;

use crate::api::SaId;

/// Bytes of a ticket.
const LEN: usize = 32;

/// What stands for a ticket here: a digest of it, so that how far a comparison gets tells nothing of one.
pub(crate) type Name = [u8; 20];

/// What a ticket stands for.
pub(crate) struct Session {
    /// The IKE_SA that it was given over.
    pub(crate) sa: SaId,
    pub(crate) until: Instant,
    pub(crate) sk_d: Secret,
    pub(crate) suite: IkeSuite,
    /// IDi and IDr as they were sent.
    pub(crate) initiator: Identification,
    pub(crate) responder: Identification,
    /// Who the peer has proven to be.
    pub(crate) remote: Identity,
    /// A postquantum preshared key is in SK_d.
    pub(crate) ppk: bool,
}

/// All of them, up to a bound.
pub(crate) struct Tickets {
    sessions: BTreeMap<Name, Session>,
    ends: BTreeSet<(Instant, Name)>,
    most: usize,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { sessions: BTreeMap::new(), ends: BTreeSet::new(), most: usize::MAX }
    }
}

impl Tickets {
    /// So many at most. An IKE_SA has one; the others are of peers that were lost.
    pub(crate) const fn bound(&mut self, most: usize) {
        self.most = most;
    }

    /// The name of a ticket that has come.
    pub(crate) fn name(crypto: &dyn CryptoProvider, ticket: &[u8]) -> Name {
        crypto.sha1(&[ticket])
    }

    /// Makes one. Where there are too many, that one goes whose end is nearest.
    pub(crate) fn make(
        &mut self,
        crypto: &dyn CryptoProvider,
        entropy: &mut dyn Entropy,
        session: Session,
    ) -> (Name, Vec<u8>) {
        // [5723:9.1-1]
        let mut ticket = vec![0; LEN];
        entropy.secret(&mut ticket);
        let name = Self::name(crypto, &ticket);
        self.ends.insert((session.until, name));
        self.sessions.insert(name, session);
        while self.sessions.len() > self.most {
            let Some((_, first)) = self.ends.pop_first() else { break };
            self.sessions.remove(&first);
        }
        (name, ticket)
    }

    /// What it stands for, if it is good.
    pub(crate) fn get(&self, now: Instant, name: &Name) -> Option<&Session> {
        // [5723:4.3-3]
        self.sessions.get(name).filter(|session| session.until > now)
    }

    /// It is used, or of no use any more. `true`: it was good.
    pub(crate) fn take(&mut self, now: Instant, name: &Name) -> bool {
        let Some(session) = self.sessions.remove(name) else { return false };
        self.ends.remove(&(session.until, *name));
        session.until > now
    }

    /// When the next one ends.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Forgets those whose time is over.
    pub(crate) fn wake(&mut self, now: Instant) {
        while let Some(end) = self.ends.first().copied().filter(|(at, _)| *at <= now) {
            self.ends.remove(&end);
            self.sessions.remove(&end.1);
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }
}
