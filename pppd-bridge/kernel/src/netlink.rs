//! Netlink as this door speaks it: one request, one answer.

use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use crate::PppError;

const NLMSG_ERROR: u16 = 2;
pub(crate) const NLM_F_REQUEST: u16 = 1;
pub(crate) const NLM_F_ACK: u16 = 4;
pub(crate) const NESTED: u16 = 0x8000;
/// Of a message's header, in octets.
pub(crate) const HEADER: usize = 16;

/// An attribute, with what fills it up to four octets.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len().saturating_add(4)).unwrap_or(u16::MAX);
    let mut out = Vec::with_capacity(value.len().saturating_add(8));
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// The value of the first attribute of that kind.
pub(crate) fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some(([a, b, c, d], rest)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        let kind = u16::from_ne_bytes([*c, *d]) & !NESTED;
        let value = rest.get(..length.checked_sub(4)?)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// A message: its own structure, and attributes.
pub(crate) fn message(kind: u16, flags: u16, structure: &[u8], attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + structure.len() + attributes.len()).unwrap_or(u32::MAX);
    let mut out = Vec::new();
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(1_u32.to_ne_bytes());
    out.extend(0_u32.to_ne_bytes());
    out.extend_from_slice(structure);
    out.extend_from_slice(attributes);
    out
}

/// One request, one answer: the payload of a message, or an acknowledgement.
pub(crate) fn exchange(protocol: isize, what: &'static str, request: &[u8]) -> Result<Vec<u8>, PppError> {
    let broken = |_| PppError::Dialogue(what);
    let mut socket = Socket::new(protocol).map_err(broken)?;
    socket.bind_auto().map_err(broken)?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(broken)?;
    socket.send(request, 0).map_err(broken)?;
    let mut answer = Vec::with_capacity(1 << 16);
    socket.recv(&mut answer, 0).map_err(broken)?;
    let kind = answer.get(4..6).and_then(|k| <[u8; 2]>::try_from(k).ok()).map(u16::from_ne_bytes);
    let body = answer.get(HEADER..).ok_or(PppError::Dialogue(what))?;
    if kind != Some(NLMSG_ERROR) {
        return Ok(body.to_vec());
    }
    let code = body.first_chunk::<4>().map(|c| i32::from_ne_bytes(*c)).ok_or(PppError::Dialogue(what))?;
    match code {
        0 => Ok(Vec::new()),
        code => Err(PppError::Refused { what, errno: Errno::from_raw(code.saturating_neg()) }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn attributes_are_found(kind in 0_u16..0x4000, value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let bytes = [attribute(0x4001, &[1, 2, 3]), attribute(kind, &value)].concat();
            prop_assert_eq!(find(&bytes, kind), Some(&value[..]));
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in any::<u16>()) {
            let _ = find(&bytes, kind);
        }
    }
}
