//! Messages too long for the path (RFC 7383): sent as several datagrams, put together again on arrival.
//!
//! What the RFC demands: fragments only where both sides announced them in IKE_SA_INIT (§2.4), never of IKE_SA_INIT
//! itself; each encrypted and authenticated by itself (§2.5), so that only authentic ones are stored; a larger total
//! begins the reassembly anew and a smaller one is old (§2.6); a repetition is known by fragment 1 (§2.6.1); a sender
//! that hears nothing may try smaller ones (§2.5.2).

use std::collections::BTreeMap;

use core::net::IpAddr;
use core::time::Duration;

use adit_core::{Instant, Path};
use adit_isakmp::sk::Fragment;
use adit_isakmp::{Header, PayloadType};
use zeroize::Zeroizing;

use crate::snapshot::{Reader, Writer};
use crate::state::Cx;

/// A peer may take so long over the fragments of one message.
const PATIENCE: Duration = Duration::from_secs(30);
/// Fragments of one message at most: 64 kB in the smallest ones.
const MOST: u16 = 160;
/// Content of one message at most: what an unfragmented one could have.
const LONGEST: usize = 65_535;

/// IP packets that every host can take (RFC 791, RFC 8200 §5).
const LEAST_V4: u16 = 576;
const LEAST_V6: u16 = 1280;
/// IPv4 header, UDP header, Non-ESP marker.
const AROUND_V4: u16 = 20 + 8 + 4;
/// IPv6 header, UDP header, Non-ESP marker.
const AROUND_V6: u16 = 40 + 8 + 4;

/// Bytes of an IKE message for IP packets of this size on this path, and not less than every host can take.
pub(crate) fn limit(path: Path, packet: u16) -> u16 {
    match path.remote.ip() {
        IpAddr::V4(_) => packet.max(LEAST_V4).saturating_sub(AROUND_V4),
        IpAddr::V6(_) => packet.max(LEAST_V6).saturating_sub(AROUND_V6),
    }
}

/// The least that makes sense on this path.
pub(crate) fn least(path: Path) -> u16 {
    limit(path, 0)
}

/// A message as it goes out: one datagram, or its fragments in order. Sent again bit for bit.
#[derive(Clone)]
pub(crate) struct Datagrams(Vec<Vec<u8>>);

impl Datagrams {
    pub(crate) const fn new(datagrams: Vec<Vec<u8>>) -> Self {
        Self(datagrams)
    }

    /// Sends all of it.
    pub(crate) fn transmit(&self, cx: &mut Cx<'_>, path: Path) {
        for datagram in &self.0 {
            cx.transmit(path, datagram.clone());
        }
    }

    /// Whether it is more than one.
    pub(crate) const fn fragmented(&self) -> bool {
        self.0.len() > 1
    }

    pub(crate) fn save(&self, w: &mut Writer) {
        w.list(&self.0, |w, datagram| w.bytes(datagram));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let all = r.list(|r| r.bytes().map(<[u8]>::to_vec))?;
        (!all.is_empty()).then_some(Self(all))
    }

    /// The first one: all of it, where it was not cut.
    pub(crate) fn first(&self) -> &[u8] {
        self.0.first().map(Vec::as_slice).unwrap_or_default()
    }
}

impl From<Vec<u8>> for Datagrams {
    fn from(datagram: Vec<u8>) -> Self {
        Self(vec![datagram])
    }
}

/// A message of which fragments have come.
pub(crate) struct Assembly {
    message_id: u32,
    header: Header,
    total: u16,
    first: PayloadType,
    reserved: u8,
    parts: BTreeMap<u16, Zeroizing<Vec<u8>>>,
    bytes: usize,
    until: Instant,
    seen: Seen,
}

/// What is remembered of the datagrams themselves.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Digest of the one with fragment 1: a repetition of the message is known by it.
    pub(crate) digest: Option<[u8; 20]>,
    /// The longest one: that much gets through.
    pub(crate) longest: usize,
}

/// All of a message.
pub(crate) struct Whole {
    pub(crate) header: Header,
    pub(crate) first: PayloadType,
    pub(crate) reserved: u8,
    pub(crate) content: Zeroizing<Vec<u8>>,
    pub(crate) seen: Seen,
}

impl Assembly {
    /// When it is given up.
    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// Takes an authentic fragment, and gives the message that it completes. `seen` is of its datagram alone.
    pub(crate) fn add(
        place: &mut Option<Box<Self>>,
        now: Instant,
        fragment: Fragment,
        seen: Seen,
    ) -> Option<Whole> {
        if fragment.total > MOST {
            return None;
        }
        let current = place.take_if(|a| {
            let same = a.message_id == fragment.header.message_id && a.until > now;
            // [7383:2.6-4] [7383:2.5.2-5] Cut anew, smaller: what there is of the other cut does not fit.
            !same || a.total < fragment.total
        });
        drop(current);
        let assembly = place.get_or_insert_with(|| Box::new(Self::begin(now, &fragment)));
        if assembly.total != fragment.total {
            return None;
        }
        assembly.take(fragment, seen);
        if assembly.parts.len() < usize::from(assembly.total) {
            return None;
        }
        place.take().map(|assembly| assembly.whole())
    }

    fn begin(now: Instant, fragment: &Fragment) -> Self {
        Self {
            message_id: fragment.header.message_id,
            header: fragment.header,
            total: fragment.total,
            first: PayloadType::NONE,
            reserved: 0,
            parts: BTreeMap::new(),
            bytes: 0,
            until: now + PATIENCE,
            seen: Seen::default(),
        }
    }

    fn take(&mut self, fragment: Fragment, seen: Seen) {
        let bytes = self.bytes.saturating_add(fragment.content.len());
        // [7383:2.6-2]
        if self.parts.contains_key(&fragment.number) || bytes > LONGEST {
            return;
        }
        self.bytes = bytes;
        self.seen.longest = self.seen.longest.max(seen.longest);
        if fragment.number == 1 {
            self.first = fragment.first;
            self.reserved = fragment.reserved;
            self.seen.digest = seen.digest;
        }
        self.parts.insert(fragment.number, fragment.content);
    }

    fn whole(self) -> Whole {
        let mut content = Zeroizing::new(Vec::with_capacity(self.bytes));
        for part in self.parts.values() {
            content.extend_from_slice(part);
        }
        Whole { header: self.header, first: self.first, reserved: self.reserved, content, seen: self.seen }
    }
}
