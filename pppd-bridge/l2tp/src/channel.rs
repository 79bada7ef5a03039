//! The reliable channel of control messages (RFC 2661 §5.8, Appendices A and B).

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use adit_core::Instant;
use adit_core::snapshot::{Reader, Writer};

use crate::api::Timing;

/// What a peer takes that says nothing of its window (§4.4.3).
const DEFAULT_WINDOW: u16 = 4;
/// Messages that may wait to be sent: a peer that makes us say more and takes none of it is lost.
const MOST_WAITING: usize = 1024;

/// A control message that its peer has not acknowledged.
struct Outgoing {
    /// Its number, from when it was sent first.
    ns: u16,
    session: u16,
    body: Vec<u8>,
    /// It is on its way.
    in_flight: bool,
    sent: Option<Instant>,
    /// How often it was sent.
    times: u32,
}

/// What a message is for who receives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The one that is expected.
    Next,
    /// It has come before: it is acknowledged again, and nothing else.
    Before,
    /// It has come too early.
    Ahead,
}

/// A datagram to be made.
pub(crate) struct Packet<'a> {
    pub(crate) session: u16,
    pub(crate) ns: u16,
    pub(crate) nr: u16,
    pub(crate) body: &'a [u8],
}

/// Both directions of one control connection.
pub(crate) struct Channel {
    timing: Timing,
    /// Ns of the next message that is sent, and the next that is expected.
    ns: u16,
    nr: u16,
    outgoing: VecDeque<Outgoing>,
    /// What came too early, by its Ns.
    early: BTreeMap<u16, (u16, Vec<u8>)>,
    our_window: u16,
    peer_window: u16,
    /// Appendix A: CWND, SSTHRESH, and messages acknowledged since CWND grew.
    congestion: u16,
    threshold: u16,
    acknowledged: u16,
    smoothed: Option<(Duration, Duration)>,
    /// What a retransmission waits now.
    interval: Duration,
    /// Time-outs since something was acknowledged.
    timeouts: u32,
    until: Option<Instant>,
    owes: bool,
}

impl Channel {
    pub(crate) fn new(timing: Timing, our_window: u16) -> Self {
        Self {
            timing,
            ns: 0,
            nr: 0,
            outgoing: VecDeque::new(),
            early: BTreeMap::new(),
            our_window,
            peer_window: DEFAULT_WINDOW,
            congestion: 1,
            threshold: DEFAULT_WINDOW,
            acknowledged: 0,
            smoothed: None,
            interval: timing.retransmit,
            timeouts: 0,
            until: None,
            owes: false,
        }
    }

    /// The peer has said how many messages it takes.
    pub(crate) fn set_peer_window(&mut self, window: u16) {
        (self.peer_window, self.threshold) = (window.max(1), window.max(1));
    }

    /// A message is to be sent. `false`: too many wait.
    pub(crate) fn queue(&mut self, session: u16, body: Vec<u8>) -> bool {
        if self.outgoing.len() >= MOST_WAITING {
            return false;
        }
        self.outgoing.push_back(Outgoing { ns: 0, session, body, in_flight: false, sent: None, times: 0 });
        true
    }

    /// Gives every message that may be sent now to `send`, and an acknowledgement where none of them carries it.
    // [2661:5.8-3] [2661:5.8-5] [2661:5.8-6] [2661:5.8-12]
    pub(crate) fn pump(&mut self, now: Instant, mut send: impl FnMut(Packet<'_>)) {
        let limit = usize::from(self.congestion.min(self.peer_window));
        let mut room = limit.saturating_sub(self.outgoing.iter().filter(|o| o.in_flight).count());
        for out in self.outgoing.iter_mut().filter(|o| !o.in_flight) {
            if room == 0 {
                break;
            }
            room = room.saturating_sub(1);
            if out.times == 0 {
                out.ns = self.ns;
                self.ns = self.ns.wrapping_add(1);
            }
            (out.in_flight, out.sent) = (true, Some(now));
            out.times = out.times.saturating_add(1);
            // [2661:5.8-4]
            send(Packet { session: out.session, ns: out.ns, nr: self.nr, body: &out.body });
            self.owes = false;
            self.until.get_or_insert(now + self.interval);
        }
        if core::mem::take(&mut self.owes) {
            // [2661:5.8-1]: its Ns is not used up.
            send(Packet { session: 0, ns: self.ns, nr: self.nr, body: &[] });
        }
    }

    /// The peer expects this message next: it has all before.
    pub(crate) fn acknowledge(&mut self, now: Instant, nr: u16) {
        let Some(oldest) = self.outgoing.front().filter(|o| o.times > 0).map(|o| o.ns) else { return };
        let count = usize::from(nr.wrapping_sub(oldest));
        // What was never sent can't be acknowledged: an old or a wrong number.
        let sent = self.outgoing.iter().take_while(|o| o.times > 0).count();
        if count == 0 || count > sent {
            return;
        }
        for out in self.outgoing.drain(..count) {
            // Whose answer it was is not known of what was sent twice (Karn).
            if let (1, Some(at)) = (out.times, out.sent) {
                self.smoothed = Some(smooth(self.smoothed, now.since(at)));
            }
        }
        for _ in 0..count {
            self.grow();
        }
        self.interval = self.measured();
        self.timeouts = 0;
        self.until = self.outgoing.iter().any(|o| o.in_flight).then(|| now + self.interval);
    }

    fn grow(&mut self) {
        if self.congestion < self.threshold {
            self.congestion = self.congestion.saturating_add(1);
            return;
        }
        self.acknowledged = self.acknowledged.saturating_add(1);
        if self.acknowledged >= self.congestion {
            self.acknowledged = 0;
            self.congestion = self.congestion.saturating_add(1).min(self.peer_window);
        }
    }

    fn measured(&self) -> Duration {
        let Timing { retransmit, longest_retransmit, .. } = self.timing;
        let measured =
            self.smoothed.map_or(retransmit, |(mean, deviation)| mean.saturating_add(deviation * 4));
        measured.clamp(retransmit, longest_retransmit)
    }

    /// The retransmission's time has come, if it has. `false`: it was sent often enough, the peer is lost.
    // [2661:5.8-2] [2661:5.8-7] [2661:5.8-8]
    pub(crate) fn wake(&mut self, now: Instant) -> bool {
        if self.until.is_none_or(|until| until > now) {
            return true;
        }
        self.until = None;
        self.timeouts = self.timeouts.saturating_add(1);
        if self.timeouts > self.timing.retransmissions {
            return false;
        }
        self.threshold = (self.congestion / 2).max(1);
        (self.congestion, self.acknowledged) = (1, 0);
        self.interval = (self.interval * 2).min(self.timing.longest_retransmit);
        self.outgoing.iter_mut().for_each(|o| o.in_flight = false);
        true
    }

    /// Where in the order a message of the peer's is.
    // [2661:5.8-9] [2661:5.8-10]
    pub(crate) const fn place(&mut self, ns: u16) -> Place {
        self.owes = true;
        match ns.wrapping_sub(self.nr) {
            0 => Place::Next,
            ahead if ahead < 0x8000 => Place::Ahead,
            _ => Place::Before,
        }
    }

    /// The message that was expected is taken.
    pub(crate) const fn take(&mut self) {
        self.nr = self.nr.wrapping_add(1);
    }

    /// Keeps one that came too early, as far as there is room.
    pub(crate) fn keep(&mut self, ns: u16, session: u16, body: &[u8]) {
        if ns.wrapping_sub(self.nr) < self.our_window {
            self.early.entry(ns).or_insert_with(|| (session, body.to_vec()));
        }
    }

    /// The message that is expected, where it came early.
    pub(crate) fn early(&mut self) -> Option<(u16, Vec<u8>)> {
        self.early.remove(&self.nr)
    }

    /// Nothing that came early counts any more, and nothing that waits is sent.
    pub(crate) fn forget(&mut self) {
        self.early.clear();
        self.outgoing.retain(|o| o.times > 0);
    }

    /// Goes on where another one was, with nothing to send: it only acknowledges.
    pub(crate) const fn resume(&mut self, other: &Self) {
        (self.ns, self.nr, self.owes) = (other.ns, other.nr, other.owes);
    }

    /// All of it but what came too early: that was not acknowledged, and comes again.
    pub(crate) fn save(&self, w: &mut Writer) {
        [self.ns, self.nr, self.peer_window].into_iter().for_each(|number| w.u16(number));
        w.list(&self.outgoing, |w, out| {
            w.u16(out.ns);
            w.u16(out.session);
            w.bytes(&out.body);
            w.u32(out.times);
        });
        [self.congestion, self.threshold, self.acknowledged].into_iter().for_each(|number| w.u16(number));
        w.option(self.smoothed, |w, (mean, deviation)| {
            [mean, deviation].into_iter().for_each(|t| w.duration(t))
        });
        w.duration(self.interval);
        w.u32(self.timeouts);
        w.flag(self.owes);
    }

    /// One that was left. What the peer has not acknowledged is sent again as it was, under its own numbers.
    // [2661:5.8-7]
    pub(crate) fn read(r: &mut Reader<'_>, timing: Timing, our_window: u16) -> Option<Self> {
        let (ns, nr, peer_window) = (r.u16()?, r.u16()?, r.u16()?);
        let outgoing = r.list(|r| {
            let (ns, session, body) = (r.u16()?, r.u16()?, r.bytes()?.to_vec());
            Some(Outgoing { ns, session, body, in_flight: false, sent: None, times: r.u32()? })
        })?;
        let (congestion, threshold, acknowledged) = (r.u16()?, r.u16()?, r.u16()?);
        let smoothed = r.option(|r| Some((r.duration()?, r.duration()?)))?;
        let interval =
            r.duration()?.clamp(timing.retransmit, timing.longest_retransmit.max(timing.retransmit));
        let (timeouts, owes) = (r.u32()?, r.flag()?);
        // Those that were sent come first, and their numbers lead up to the next one.
        let sent = u16::try_from(outgoing.iter().take_while(|o| o.times > 0).count()).ok()?;
        let mut number = ns.wrapping_sub(sent);
        for (place, out) in (0_u16..).zip(&outgoing) {
            let right = if place < sent { out.ns == number } else { out.times == 0 };
            if !right || out.body.is_empty() {
                return None;
            }
            number = number.wrapping_add(1);
        }
        let right = outgoing.len() <= MOST_WAITING && peer_window > 0 && congestion > 0 && threshold > 0;
        right.then(|| Self {
            timing,
            ns,
            nr,
            outgoing: outgoing.into(),
            early: BTreeMap::new(),
            our_window,
            peer_window,
            congestion,
            threshold,
            acknowledged,
            smoothed,
            interval,
            timeouts,
            until: None,
            owes,
        })
    }

    /// Whether the peer has everything.
    pub(crate) fn is_idle(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// When something is to be sent again.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.until
    }
}

/// Round-trip time and its mean deviation, with one more measure (RFC 2661 §5.8; RFC 6298 has the numbers).
fn smooth(before: Option<(Duration, Duration)>, measure: Duration) -> (Duration, Duration) {
    match before {
        None => (measure, measure / 2),
        Some((mean, deviation)) => {
            let error = mean.abs_diff(measure);
            ((mean * 7 + measure) / 8, (deviation * 3 + error) / 4)
        }
    }
}
