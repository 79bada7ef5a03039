//! Fragments of IKE messages (Cisco's and Microsoft's payload 132): cutting, and putting together at bounded size.

use std::collections::BTreeMap;

use adit_core::Path;
use adit_isakmp::v1::{Fragment, Kind, Payload, emit, parse_chain};
use adit_isakmp::{Flags, HEADER_LEN, Header, HeaderView};

/// Bytes that one message may have that came in fragments: a chain of certificates fits.
const MOST_BYTES: usize = 32 * 1024;
/// Fragments of it.
const MOST_PARTS: usize = 64;

/// UDP's header, the Non-ESP marker, and what a fragment has in front of its bytes.
const AROUND: usize = 8 + 4 + HEADER_LEN + 4 + 4;

/// One message that is being put together.
#[derive(Default)]
pub(crate) struct Reassembly {
    id: u16,
    parts: BTreeMap<u8, Vec<u8>>,
    last: Option<u8>,
    bytes: usize,
}

impl Reassembly {
    /// Takes a fragment; the whole message if it was the last one that was missing. Nothing has been authenticated, so
    /// another message's fragment simply begins anew.
    pub(crate) fn add(&mut self, fragment: Fragment) -> Option<Vec<u8>> {
        // Some peers give every message the same number: bytes that differ are another message's.
        let known = self.parts.get(&fragment.number);
        if known.is_some_and(|data| *data == fragment.data) && fragment.id == self.id {
            return None;
        }
        if fragment.id != self.id || known.is_some() {
            *self = Self { id: fragment.id, ..Self::default() };
        }
        if fragment.last {
            self.last = Some(fragment.number);
        }
        self.bytes = self.bytes.saturating_add(fragment.data.len());
        if self.bytes > MOST_BYTES || self.parts.len() == MOST_PARTS {
            *self = Self::default();
            return None;
        }
        self.parts.insert(fragment.number, fragment.data);
        let last = self.last?;
        let complete = (1..=last).all(|n| self.parts.contains_key(&n));
        let parts = complete.then(|| core::mem::take(self).parts)?;
        Some(parts.into_iter().take_while(|(n, _)| *n <= last).flat_map(|(_, data)| data).collect())
    }
}

/// The fragment that a datagram is.
pub(crate) fn of(view: &HeaderView<'_>) -> Option<Fragment> {
    let chain = parse_chain(Kind(view.next_payload().0), view.body(), HEADER_LEN, true).ok()?;
    chain.into_iter().find_map(|(payload, _)| match payload {
        Payload::Fragment(fragment) => Some(fragment),
        _ => None,
    })
}

/// Cuts a message into fragments whose IP packets have at most `size` bytes; one that fits stays whole.
pub(crate) fn cut(header: &Header, message: Vec<u8>, id: u16, size: u16, path: Path) -> Vec<Vec<u8>> {
    let ip = if path.remote.is_ipv4() { 20 } else { 40 };
    let room = usize::from(size).saturating_sub(ip).saturating_sub(AROUND);
    if message.len() <= room.saturating_add(8) || room == 0 {
        return vec![message];
    }
    let count = message.len().div_ceil(room);
    let outer = Header { flags: Flags(0), ..*header };
    let parts = message.chunks(room).zip(1_u8..).map(|(data, number)| {
        let last = usize::from(number) == count;
        emit(&outer, &[Payload::Fragment(Fragment { id, number, last, data: data.to_vec() })])
    });
    match parts.collect::<Result<Vec<_>, _>>() {
        Ok(parts) if parts.len() == count => parts,
        _ => vec![message],
    }
}
