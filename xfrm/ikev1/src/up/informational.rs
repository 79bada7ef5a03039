//! Informational exchanges under an ISAKMP SA (RFC 2409 §5.7): Delete, dead peer detection, and what peers say.

use adit_core::Instant;
use adit_isakmp::payload::Protocol;
use adit_isakmp::v1::{Delete, Notify, NotifyKind, Payload};

use super::isakmp::Isakmp;
use super::{Fate, Up};
use crate::api::{Event, Timer};
use crate::explain;
use crate::request::{Request, Retry};
use crate::state::{Cx, Datagram, Last};

/// A question whether the peer lives.
pub(crate) struct Dpd {
    pub(super) request: Request,
}

impl Up {
    pub(super) fn informational(&mut self, cx: &mut Cx<'_>, at: usize, datagram: Datagram) -> Fate {
        let id = datagram.header.message_id;
        let Some(isakmp) = self.isakmp.get_mut(at) else {
            return Fate::On;
        };
        // [2409:5.5-6]
        if isakmp.informational.has(id) {
            if !isakmp.asked.repeat(cx, &datagram.bytes, datagram.path) {
                cx.replayed();
            }
            return Fate::On;
        }
        let mut iv = isakmp.channel.first_iv(cx, id);
        // [2409:5-6] [2409:5.7-1]
        let Some(message) = isakmp.channel.open(cx, &mut iv, &[], &datagram.bytes) else {
            cx.forged();
            return Fate::On;
        };
        isakmp.informational.add(id);
        let cookies = isakmp.cookies();
        self.heard_from(cx, datagram.path);
        for payload in message.iter() {
            let fate = match payload {
                Payload::Notify(notify) => self.notified(cx, cookies, notify, &datagram.bytes),
                Payload::Delete(delete) => self.deleted(cx, cookies, delete),
                _ => Fate::On,
            };
            if let Fate::Over(_) = fate {
                return fate;
            }
        }
        Fate::On
    }

    fn notified(&mut self, cx: &mut Cx<'_>, cookies: (u64, u64), notify: &Notify, bytes: &[u8]) -> Fate {
        match notify.kind {
            NotifyKind::R_U_THERE => self.are_you_there(cx, cookies, notify, bytes),
            // Its coming is what counts, once: `heard_from` has ended the question.
            // [3706:5.4-2]
            NotifyKind::R_U_THERE_ACK if core::mem::take(&mut self.unconfirmed) => cx.event(Event::Confirmed),
            NotifyKind::R_U_THERE_ACK => {}
            NotifyKind::INITIAL_CONTACT => {
                let older = self.children.iter().filter(|c| c.cookies != cookies).map(|c| c.id);
                for id in older.collect::<Vec<_>>() {
                    if let Some(at) = self.children.iter().position(|c| c.id == id) {
                        let child = self.children.remove(at);
                        self.send_by_new(cx, child.selectors);
                        child.closed(cx, None);
                    }
                }
            }
            kind if notify.is_error() => {
                let one = self.ours.iter().position(|q| q.is_about(cookies, notify));
                if let Some(at) = one {
                    let quick = self.ours.remove(at);
                    let failure = explain::quick_refused(quick.offered(), self.how(), kind);
                    return self.quick_failed(cx, quick.replaces, failure);
                }
            }
            _ => {}
        }
        Fate::On
    }

    /// R-U-THERE (RFC 3706 §5.4).
    fn are_you_there(&mut self, cx: &mut Cx<'_>, cookies: (u64, u64), notify: &Notify, bytes: &[u8]) {
        let path = self.path;
        let Some(isakmp) = self.isakmp.iter_mut().find(|i| i.cookies() == cookies) else {
            return;
        };
        let number = <[u8; 4]>::try_from(notify.data.as_slice()).map(u32::from_be_bytes);
        let (Ok(number), true) = (number, notify.spi == spi(cookies)) else {
            return cx.ignore();
        };
        // [3706:6.2-1]
        if isakmp.dpd_seen.is_some_and(|seen| number < seen) {
            return cx.replayed();
        }
        isakmp.dpd_seen = Some(number);
        // [3706:5.4-1]
        let answer = alive(NotifyKind::R_U_THERE_ACK, cookies, number);
        if let Some(datagrams) = isakmp.inform(cx, answer) {
            cx.transmit_all(path, &datagrams);
            isakmp.asked = Last::new(cx, bytes, datagrams);
        }
    }

    /// A Delete names what the peer has to itself: its inbound SAs are our outbound ones.
    fn deleted(&mut self, cx: &mut Cx<'_>, cookies: (u64, u64), delete: &Delete) -> Fate {
        // [2408:5.15-1]
        match delete.protocol {
            Protocol::ESP => {
                for gone in &delete.spis {
                    let outbound = <[u8; 4]>::try_from(gone.as_slice()).map(u32::from_be_bytes).ok();
                    let at = self.children.iter().position(|c| Some(c.outbound) == outbound);
                    if let Some(at) = at {
                        let child = self.children.remove(at);
                        self.send_by_new(cx, child.selectors);
                        child.closed(cx, None);
                    }
                }
                Fate::On
            }
            Protocol::IKE => self.isakmp_deleted(cx, cookies, delete),
            _ => Fate::On,
        }
    }

    /// The peer's ISAKMP SA is gone. If it was the only one, so is the connection; unless its life was nearly over: then
    /// the peer has it no longer because it needs it no longer, and comes back when it does.
    fn isakmp_deleted(&mut self, cx: &mut Cx<'_>, cookies: (u64, u64), delete: &Delete) -> Fate {
        if !delete.spis.contains(&spi(cookies)) {
            return Fate::On;
        }
        let Some(at) = self.isakmp.iter().position(|i| i.cookies() == cookies) else {
            return Fate::On;
        };
        let isakmp = self.isakmp.remove(at);
        self.orphaned(cx, &isakmp);
        let old = isakmp.old_at.is_some_and(|at| at <= cx.now);
        // Those before it are about to go, too, unless the peer has made it while we made one.
        let newest = at == self.isakmp.len();
        let another = self.config.is_some() && self.isakmp.iter().any(|i| !i.is_going());
        if newest && !old && !another {
            return Fate::Over(Err(explain::peer_closed()));
        }
        Fate::On
    }

    /// Tells the peer that an ISAKMP SA is gone.
    pub(super) fn delete_isakmp(&self, cx: &mut Cx<'_>, isakmp: &mut Isakmp) {
        let delete = Payload::Delete(Delete::new(Protocol::IKE, vec![spi(isakmp.cookies())]));
        if let Some(datagrams) = isakmp.inform(cx, delete) {
            cx.transmit_all(self.path, &datagrams);
        }
    }

    pub(super) fn wake_dpd(&mut self, cx: &mut Cx<'_>) -> Fate {
        if let Some(dpd) = &mut self.dpd {
            // [3706:5.5-1]
            if dpd.request.wake(cx) == Retry::Waiting {
                return Fate::On;
            }
            let failure = explain::lost(dpd.request.sent(), dpd.request.age(cx.now));
            return Fate::Over(Err(failure));
        }
        if self.dpd_due().is_some_and(|at| at <= cx.now) {
            self.ask_whether_it_lives(cx);
        }
        Fate::On
    }

    /// The last message of the first Quick Mode is ours, and has no answer (RFC 2409 §5.5). R-U-THERE behind it has one: by then
    /// the peer has taken both.
    pub(super) fn ask_for_confirmation(&mut self, cx: &mut Cx<'_>) {
        if self.can_be_asked() {
            self.ask_whether_it_lives(cx);
            self.unconfirmed = self.dpd.is_some();
        }
    }

    /// R-U-THERE (RFC 3706 §5.4), of ours.
    pub(super) fn ask_whether_it_lives(&mut self, cx: &mut Cx<'_>) {
        let (path, timing) = (self.path, self.policy.timing);
        if let Some(isakmp) = self.isakmp.last_mut() {
            isakmp.dpd_sent = isakmp.dpd_sent.wrapping_add(1);
            let (cookies, number) = (isakmp.cookies(), isakmp.dpd_sent);
            // [3706:5.3-1]
            let question = alive(NotifyKind::R_U_THERE, cookies, number);
            if let Some(datagrams) = isakmp.inform(cx, question) {
                let request = Request::send(cx, path, datagrams, (&timing, timing.tries));
                self.dpd = Some(Dpd { request });
            }
        }
    }

    pub(super) fn dpd_deadline(&self) -> Option<(Instant, Timer)> {
        match &self.dpd {
            Some(dpd) => Some((dpd.request.deadline(), Timer::Retransmit)),
            None => self.dpd_due().map(|at| (at, Timer::DeadPeer)),
        }
    }

    /// Whether the peer answers questions of that kind, and is to be asked.
    pub(super) fn can_be_asked(&self) -> bool {
        self.peer().dpd && !self.policy.timing.dead_peer.is_zero()
    }

    /// When to ask, if nothing comes before.
    fn dpd_due(&self) -> Option<Instant> {
        // [3706:5-1]
        self.can_be_asked().then(|| self.heard + self.policy.timing.dead_peer)
    }
}

fn spi(cookies: (u64, u64)) -> Vec<u8> {
    [cookies.0.to_be_bytes(), cookies.1.to_be_bytes()].concat()
}

fn alive(kind: NotifyKind, cookies: (u64, u64), number: u32) -> Payload {
    Payload::Notify(Notify::new(Protocol::IKE, spi(cookies), kind, number.to_be_bytes().to_vec()))
}
