//! A connection that is up, handed to whoever goes on after this process, and taken up again.
//!
//! Only one that stands is handed on: its CHILD_SAs carry, and nobody is making another SA of it. A question whether the peer
//! lives may be on its way: it is sent again bit for bit, under the same Message ID. What has been answered, or was the last
//! message of its exchange, is kept, and repeated as it was. In any other moment there is no snapshot; such moments take a
//! few round trips.

use std::collections::BTreeSet;
use std::sync::Arc;

use adit_core::Path;
use adit_core::snapshot::{Reader, Writer};
use adit_isakmp::snapshot::{Read, Write};
use adit_isakmp::v1::Identification;
use zeroize::Zeroizing;

use super::child::Child;
use super::informational::Dpd;
use super::isakmp::Isakmp;
use super::outbound::Sending;
use super::{Done, Fate, MOST_DONE, MOST_ISAKMP, Up};
use crate::api::{AuthMethod, ChildId, ChildMode, Restored, RestoredChild, Rules, SaId};
use crate::natt::Nat;
use crate::policy::Policy;
use crate::request::Request;
use crate::state::{Cx, Next, datagram};

/// Octets of one at most: what has been said of two ISAKMP SAs, and certificates of one that are to be repeated.
const MOST: usize = 40 * 1024;

/// What is known of this form. Any other is refused.
const VERSION: u8 = 1;

/// A connection as it was left.
pub(crate) struct Left {
    up: Box<Up>,
    question: Option<(Path, Vec<Vec<u8>>)>,
}

/// The CHILD_SAs of which anything is said, oldest first: they have other names in each process.
struct Names(Vec<ChildId>);

impl Names {
    fn of(up: &Up) -> Self {
        let children = up.children.iter().flat_map(|c| [Some(c.id), c.root, c.superseded_by]);
        let all = children.flatten().chain(up.done.iter().map(|done| done.child));
        Self(all.collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn fresh(cx: &mut Cx<'_>, r: &mut Reader<'_>) -> Option<Self> {
        Some(Self((0..r.u8()?).map(|_| cx.fresh_child()).collect()))
    }

    fn save(&self, w: &mut Writer, id: ChildId) {
        let place = self.0.iter().position(|name| *name == id);
        w.u8(place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX));
    }

    fn read(&self, r: &mut Reader<'_>) -> Option<ChildId> {
        self.0.get(usize::from(r.u8()?)).copied()
    }
}

impl Up {
    /// It as octets. `None`: nobody could go on from here.
    pub(crate) fn snapshot(&self) -> Option<Zeroizing<Vec<u8>>> {
        if !self.can_be_left() {
            return None;
        }
        let mut w = Writer::new(MOST);
        w.u8(VERSION);
        w.flag(self.initiator);
        w.flag(self.config.is_some());
        w.flag(self.auth == AuthMethod::RsaSignatures);
        [self.nat.local, self.nat.remote, self.nat.forced].into_iter().for_each(|flag| w.flag(flag));
        w.path(self.path);
        w.identity(&self.policy.local_id);
        w.identity(&self.remote_id);
        w.list(&self.isakmp, |w, isakmp| isakmp.save(w));
        let names = Names::of(self);
        w.u8(u8::try_from(names.0.len()).ok()?);
        w.list(&self.children, |w, child| child.save(w, &names));
        w.list(&self.done, |w, done| done.save(w, &names));
        w.option(self.dpd.as_ref(), |w, dpd| {
            w.path(dpd.request.path());
            w.list(&dpd.request.datagrams, |w, datagram| w.bytes(datagram));
        });
        w.instant(self.heard);
        w.finish()
    }

    /// Whether somebody else could go on from here.
    fn can_be_left(&self) -> bool {
        let busy = |child: &Child| child.waits || matches!(child.sending, Sending::Asked { .. });
        self.established
            && self.ours.is_empty()
            && self.theirs.is_empty()
            && !self.redialling
            && !self.isakmp.is_empty()
            && !self.isakmp.iter().any(|isakmp| isakmp.waits)
            && !self.children.is_empty()
            && !self.children.iter().any(busy)
    }

    /// One that was left, under the rules that there are now.
    pub(crate) fn read(cx: &mut Cx<'_>, bytes: &[u8], rules: Rules<'_>) -> Option<Left> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return None;
        }
        let (initiator, dialled) = (r.flag()?, r.flag()?);
        let auth = if r.flag()? { AuthMethod::RsaSignatures } else { AuthMethod::Psk };
        let nat = Nat { local: r.flag()?, remote: r.flag()?, forced: r.flag()? };
        let (path, local_id, remote_id) = (r.path()?, r.identity()?, r.identity()?);
        let (policy, config) = match rules {
            Rules::Initiator(config) => (Policy::of_initiator(config), Some(Arc::new(config.clone()))),
            Rules::Responder(config) => (Policy::of_responder(config.clone()), None),
        };
        if dialled != config.is_some() {
            return None;
        }
        let isakmp = r.list(|r| Isakmp::read(cx, r))?;
        let names = Names::fresh(cx, &mut r)?;
        let children = r.list(|r| Child::read(r, &names))?;
        let done = r.list(|r| Done::read(r, &names))?;
        let question = r.option(|r| Some((r.path()?, r.list(datagram)?)))?;
        let heard = r.instant()?;
        r.finish()?;
        let right =
            (1..=MOST_ISAKMP).contains(&isakmp.len()) && !children.is_empty() && done.len() <= MOST_DONE;
        if !right || !are_apart(&isakmp, &children) || !isakmp.iter().all(|i| i.channel.path == path) {
            return None;
        }
        let keepalive = (nat.local && !policy.timing.keepalive.is_zero()).then_some(cx.now);
        let up = Box::new(Self {
            initiator,
            auth,
            nat,
            path,
            remote_id,
            policy: Arc::new(Policy { local_id, ..policy }),
            config,
            isakmp,
            children,
            ours: Vec::new(),
            theirs: Vec::new(),
            done: done.into(),
            dpd: None,
            heard: heard.min(cx.now),
            keepalive,
            idle: None,
            established: true,
            unconfirmed: false,
            redialling: false,
        });
        Some(Left { up, question })
    }
}

/// Whether no two of them have one name, on the wire or here.
fn are_apart(isakmp: &[Isakmp], children: &[Child]) -> bool {
    fn all<T: Ord>(of: impl Iterator<Item = T>) -> bool {
        let mut seen = std::collections::BTreeSet::new();
        of.into_iter().all(|one| seen.insert(one))
    }
    all(isakmp.iter().map(Isakmp::our_cookie))
        && all(children.iter().map(|c| c.id))
        && all(children.iter().map(|c| c.inbound))
        && all(children.iter().map(|c| c.outbound))
}

impl Left {
    /// Our cookies.
    pub(crate) fn cookies(&self) -> Vec<u64> {
        self.up.isakmp.iter().map(Isakmp::our_cookie).collect()
    }

    /// What the driver needs to know of it.
    pub(crate) fn restored(&self, sa: SaId) -> Option<Restored> {
        let up = &*self.up;
        let channel = &up.isakmp.last()?.channel;
        Some(Restored {
            sa,
            path: up.path,
            encapsulated: up.nat.encapsulates(),
            nat_local: up.nat.local,
            nat_remote: up.nat.remote,
            local_id: up.policy.local_id.clone(),
            remote_id: up.remote_id.clone(),
            auth: up.auth,
            ike: channel.suite,
            vendor: channel.peer.name,
            children: up.children.iter().map(Child::restored).collect(),
        })
    }

    /// Goes on: the peer is asked at once whether it is there, and so hears from where we speak.
    pub(crate) fn resume(self, cx: &mut Cx<'_>) -> Next {
        let Self { mut up, question } = self;
        let timing = up.policy.timing;
        match question {
            Some((path, datagrams)) if up.can_be_asked() && !datagrams.is_empty() => {
                let request = Request::send(cx, path, datagrams, (&timing, timing.tries));
                up.dpd = Some(Dpd { request });
            }
            _ if up.can_be_asked() => up.ask_whether_it_lives(cx),
            _ => up.heard = cx.now,
        }
        up.after(cx, Fate::On)
    }
}

impl Done {
    fn save(&self, w: &mut Writer, names: &Names) {
        w.u64(self.cookies.0);
        w.u64(self.cookies.1);
        w.u32(self.message_id);
        names.save(w, self.child);
        w.fixed(&self.digest);
        w.list(&self.third, |w, datagram| w.bytes(datagram));
        w.instant(self.until);
        w.u8(self.repeated);
    }

    fn read(r: &mut Reader<'_>, names: &Names) -> Option<Self> {
        Some(Self {
            cookies: (r.u64()?, r.u64()?),
            message_id: r.u32()?,
            child: names.read(r)?,
            digest: r.fixed()?,
            third: r.list(datagram)?,
            until: r.instant()?,
            repeated: r.u8()?,
        })
    }
}

impl Child {
    fn save(&self, w: &mut Writer, names: &Names) {
        names.save(w, self.id);
        w.u32(self.inbound);
        w.u32(self.outbound);
        w.selector(&self.selectors.0);
        w.selector(&self.selectors.1);
        w.option(self.ids.as_ref(), |w, (ours, theirs)| {
            [ours, theirs].into_iter().for_each(|id| traffic(w, id))
        });
        w.esp_suite(self.suite);
        w.flag(self.mode == ChildMode::Transport);
        w.option(self.root, |w, root| names.save(w, root));
        w.flag(self.ours);
        [self.rekey_at, self.dies_at, self.life_ends].into_iter().for_each(|at| w.due(at));
        self.sending.save(w);
        w.option(self.superseded_by, |w, by| names.save(w, by));
        w.u64(self.cookies.0);
        w.u64(self.cookies.1);
    }

    fn read(r: &mut Reader<'_>, names: &Names) -> Option<Self> {
        let id = names.read(r)?;
        let (inbound, outbound) = (r.u32()?, r.u32()?);
        let selectors = (r.selector()?, r.selector()?);
        let ids = r.option(|r| Some((read_traffic(r)?, read_traffic(r)?)))?;
        let suite = r.esp_suite()?;
        let mode = if r.flag()? { ChildMode::Transport } else { ChildMode::Tunnel };
        let (root, ours) = (r.option(|r| names.read(r))?, r.flag()?);
        let [rekey_at, dies_at, life_ends] = [r.due()?, r.due()?, r.due()?];
        let sending = Sending::read(r, &suite)?;
        let superseded_by = r.option(|r| names.read(r))?;
        let cookies = (r.u64()?, r.u64()?);
        // RFC 4303 §2.1
        let right = inbound >= 256 && outbound >= 256 && superseded_by != Some(id);
        right.then_some(Self {
            id,
            inbound,
            outbound,
            selectors,
            ids,
            suite,
            mode,
            root,
            ours,
            rekey_at,
            waits: false,
            dies_at,
            life_ends,
            sending,
            superseded_by,
            cookies,
        })
    }

    const fn restored(&self) -> RestoredChild {
        RestoredChild {
            child: self.id,
            mode: self.mode,
            suite: self.suite,
            inbound_spi: self.inbound,
            outbound_spi: self.outbound,
            sends: matches!(self.sending, Sending::Yes),
            replaced_by: self.superseded_by,
            local_ts: self.selectors.0,
            remote_ts: self.selectors.1,
        }
    }
}

fn traffic(w: &mut Writer, id: &Identification) {
    w.u8(id.id_type);
    w.u8(id.protocol);
    w.u16(id.port);
    w.bytes(&id.data);
}

fn read_traffic(r: &mut Reader<'_>) -> Option<Identification> {
    Some(Identification { id_type: r.u8()?, protocol: r.u8()?, port: r.u16()?, data: r.bytes()?.to_vec() })
}
