//! A tunnel that stands with its sessions, handed to whoever goes on after this process, and taken up again.
//!
//! The secret of both ends is not in it: it is the profile's. Calls that are on their way, and the end of a tunnel, are not handed
//! on; such moments take a few round trips.

use std::collections::BTreeSet;

use adit_core::snapshot::{Reader, Writer};
use zeroize::Zeroizing;

use super::{Plan, State, Tunnel, World};
use crate::api::{Association, Ids, Restored, Rules, SessionNumber};
use crate::call::Session;
use crate::channel::Channel;
use crate::wire::Message;

/// Octets of one at most: it holds what the peer has not acknowledged.
const MOST: usize = 16 * 1024;

/// What is known of this form. Any other is refused.
const VERSION: u8 = 1;

/// A tunnel as it was left.
pub(crate) struct Left(Tunnel);

impl Tunnel {
    /// It as octets. `None`: nobody could go on from here.
    pub(crate) fn snapshot(&self) -> Option<Zeroizing<Vec<u8>>> {
        let stands = self.state == State::Established && !self.sessions.is_empty();
        let peer = self.peer.filter(|_| stands && self.sessions.values().all(Session::can_be_left))?;
        let mut w = Writer::new(MOST);
        w.u8(VERSION);
        w.flag(self.answered);
        w.path(self.plan.path);
        w.u32(self.plan.association.0);
        w.u16(self.local);
        w.u16(peer);
        self.channel.save(&mut w);
        w.due(self.hello);
        w.u16(u16::try_from(self.sessions.len()).ok()?);
        self.sessions.values().for_each(|session| session.save(&mut w));
        w.finish()
    }

    /// One that was left, under the rules that there are now.
    pub(crate) fn read(world: &mut World<'_>, bytes: &[u8], rules: &Rules) -> Option<Left> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return None;
        }
        let (answered, path, association) = (r.flag()?, r.path()?, Association(r.u32()?));
        let (local, peer) = (r.u16()?, r.u16()?);
        let channel = Channel::read(&mut r, world.config.timing, world.config.window.max(1))?;
        let hello = r.due()?;
        let sessions = r.list(Session::read)?;
        r.finish()?;
        let apart: [BTreeSet<u16>; 2] = [
            sessions.iter().map(|s| s.local).collect(),
            sessions.iter().filter_map(Session::of_peer).collect(),
        ];
        let right = apart.iter().all(|ids| ids.len() == sessions.len()) && !sessions.is_empty();
        if !right || sessions.len() > rules.sessions || local == 0 || peer == 0 {
            return None;
        }
        let Rules { secret, hide, takes, sessions: most } = rules.clone();
        let plan = Plan { path, association, secret, hide, takes, sessions: most, call: None };
        let number = crate::api::TunnelNumber(world.number());
        let sessions = sessions.into_iter().map(|session| (SessionNumber(world.number()), session)).collect();
        Some(Left(Self {
            peer: Some(peer),
            sessions,
            answered,
            channel,
            hello,
            ..Self::new(world, number, local, plan, State::Established)
        }))
    }
}

impl Left {
    /// What the driver needs to know of it.
    pub(crate) fn restored(&self) -> Option<Restored> {
        let Self(tunnel) = self;
        let peer_tunnel = tunnel.peer?;
        let of = |(number, session): (&SessionNumber, &Session)| {
            let (session, peer_session, lns) = (session.local, session.of_peer()?, session.is_lns());
            Some((*number, Ids { tunnel: tunnel.local, peer_tunnel, session, peer_session }, lns))
        };
        Some(Restored {
            tunnel: tunnel.number,
            path: tunnel.plan.path,
            association: tunnel.plan.association,
            ids: (tunnel.local, peer_tunnel),
            sessions: tunnel.sessions.iter().map(of).collect::<Option<_>>()?,
        })
    }

    pub(crate) fn into_tunnel(self) -> Tunnel {
        self.0
    }
}

impl Tunnel {
    /// Goes on: what the peer has not acknowledged is sent again, and if there is nothing, it is asked whether it is there.
    // [2661:5.5-1]
    pub(crate) fn resume(&mut self, world: &mut World<'_>) {
        if self.channel.is_idle() {
            self.hello = None;
            self.say(world, 0, &Message::Hello);
        }
    }
}
