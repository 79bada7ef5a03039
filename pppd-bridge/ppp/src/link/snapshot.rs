//! A link that is up, handed to whoever goes on after this process, and taken up again.
//!
//! Only one that stands is handed on: nothing is negotiated or asked for, and it is not being closed. The kernel goes on with its
//! packets and their keys meanwhile, and keeps the frames that come; what was on its way of our own is an Echo-Request at most,
//! which is asked again. In any other moment there is no snapshot; such moments take a few round trips.

use adit_core::Instant;
use adit_core::snapshot::{Reader, Writer};

use super::{Authenticated, Ccp, Control, Ipcp, Ipv6cp, Lcp, Link, Peer, Phase};
use crate::api::{NetworkPlan, Restored};
use crate::auth::Authenticator;
use crate::config::{Addresses, LinkConfig, NameServers};

/// Octets of one at most: what the peer has asked for by four protocols, and what else there is.
const MOST: usize = 16 * 1024;

/// Name servers of one kind at most.
const MOST_SERVERS: usize = 16;

/// What is known of this form. Any other is refused.
const VERSION: u8 = 2;

impl Link {
    /// It as octets, for [`Link::restore`]. `None`: nobody could go on from here.
    #[must_use]
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        if !self.can_be_left() {
            return None;
        }
        let mut w = Writer::new(MOST);
        w.u8(VERSION);
        w.u16(self.config.mru);
        w.flag(self.config.ipv4);
        w.flag(self.config.ipv6);
        self.lcp.save(&mut w, |w, lcp| lcp.save(w));
        w.option(
            self.demanding.as_ref().zip(self.authenticated.peer.as_ref()),
            |w, (demanding, (_, who))| {
                demanding.save(w);
                w.bytes(who.as_bytes());
            },
        );
        w.option(self.proving.as_ref(), |w, proving| w.u8(proving.identifier()));
        self.plan.save(&mut w);
        w.option(self.ccp.as_ref(), |w, ccp| ccp.save(w, |w, ccp| ccp.save(w)));
        self.crypt.save(&mut w);
        w.option(self.ipcp.as_ref(), |w, ipcp| ipcp.save(w, |w, ipcp| ipcp.save(w)));
        w.option(self.ipv6cp.as_ref(), |w, ipv6cp| ipv6cp.save(w, |w, ipv6cp| ipv6cp.save(w)));
        self.families.save(&mut w);
        self.keepalive.save(&mut w);
        w.u8(self.identifier);
        w.u64(self.last_ask);
        // There is no key in it: those that still count are the kernel's.
        w.finish().map(|octets| octets.to_vec())
    }

    /// Whether somebody else could go on from here.
    fn can_be_left(&self) -> bool {
        let idle = self.pending.is_empty() && self.early.is_empty() && self.out.is_empty();
        let proven = self.proving.as_ref().is_none_or(Peer::has_proven)
            && self.demanding.as_ref().is_none_or(Authenticator::is_over);
        self.phase == Phase::Network
            && self.reason.is_none()
            && [&self.plan.dns, &self.plan.wins].iter().all(|servers| servers.len() <= MOST_SERVERS)
            && idle
            && proven
            && self.lcp.is_open()
            && self.ccp.as_ref().is_none_or(Control::is_open)
            && self.crypt.rests(self.ccp.is_some())
            && self.ipcp.as_ref().is_none_or(Control::rests)
            && self.ipv6cp.as_ref().is_none_or(Control::rests)
            && self.families.rest(&self.facts())
    }

    /// Goes on with a link that was left as these octets, under the same configuration. Its MRU and its families are those that
    /// it had. It asks at once whether the peer is there.
    ///
    /// `None`: they are damaged, of another form, or of another configuration.
    #[must_use]
    pub fn restore(now: Instant, config: LinkConfig, octets: &[u8]) -> Option<(Self, Restored)> {
        let mut r = Reader::new(octets);
        (r.u8()? == VERSION).then_some(())?;
        let config = LinkConfig { mru: r.u16()?, ipv4: r.flag()?, ipv6: r.flag()?, ..config };
        let timing = config.timing;
        let lcp = Control::restore(&mut r, timing, |r| Lcp::restore(&config, r))?;
        let (ours, theirs) = (lcp.options.proving(), lcp.options.demanded());
        let demanding = r.option(|r| Some((Authenticator::restore(theirs?, &config, r)?, r.text()?)))?;
        let proving = r.option(|r| Some(Peer::has_been_proven(ours?, &config, r.u8()?)))?;
        // Whoever had to prove something has.
        (demanding.is_some() == theirs.is_some() && proving.is_some() == ours.is_some()).then_some(())?;
        let (demanding, who) = demanding.unzip();
        let authenticated = Authenticated { ours, peer: theirs.zip(who) };
        let mut link =
            Self { phase: Phase::Network, lcp, proving, demanding, authenticated, ..Self::new(config) };
        link.plan = NetworkPlan::restore(&mut r)?;
        let mppe = link.mppe();
        link.ccp = r.option(|r| Control::restore(r, timing, |r| Ccp::restore(mppe, r)))?;
        let ccp = link.ccp.as_ref().map(|ccp| &ccp.options);
        link.crypt = super::encryption::Crypt::restore(ccp, now, &mut r)?;
        let asked = match link.config.addresses {
            Addresses::FromPeer { servers, .. } => servers,
            Addresses::ForPeer => NameServers::ALL,
        };
        link.ipcp = r.option(|r| Control::restore(r, timing, |r| Ipcp::restore(r, asked)))?;
        link.ipv6cp = r.option(|r| Control::restore(r, timing, Ipv6cp::restore))?;
        link.restore_families(&mut r)?;
        link.keepalive = super::keepalive::Keepalive::restore(now, timing, &mut r)?;
        link.identifier = r.u8()?;
        link.last_ask = r.u64()?;
        r.finish()?;
        link.can_be_left().then_some(())?;
        let restored = Restored {
            link: link.lcp.options.parameters(),
            authenticated: link.authenticated.clone(),
            established: link.facts(),
            mru: link.config.mru,
        };
        Some((link, restored))
    }
}

impl NetworkPlan {
    fn save(&self, w: &mut Writer) {
        w.option(self.v4, |w, (ours, peer)| {
            w.v4(ours);
            w.v4(peer);
        });
        w.flag(self.v6);
        for servers in [&self.dns, &self.wins] {
            w.list(servers, |w, server| w.v4(*server));
        }
    }

    fn restore(r: &mut Reader<'_>) -> Option<Self> {
        let v4 = r.option(|r| Some((r.v4()?, r.v4()?)))?;
        let servers = |r: &mut Reader<'_>| r.list(Reader::v4).filter(|servers| servers.len() <= MOST_SERVERS);
        Some(Self { v4, v6: r.flag()?, dns: servers(r)?, wins: servers(r)? })
    }
}
