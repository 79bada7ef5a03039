//! Who may bring data messages of a tunnel.
//!
//! From Linux 6.11 on the kernel finds a session by the two IDs of a data message, whichever socket it comes to and whoever
//! has sent it. So what stands before the sockets has to know whose a tunnel is: two sets of nftables, one of the marks that
//! IPsec gives to what it lets in, each with a Tunnel ID, and one of those Tunnel IDs alone. This fills them; who makes the
//! table writes its rules.

use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;

use crate::PppError;
use crate::netlink::{NESTED, NLM_F_ACK, NLM_F_REQUEST, attribute, exchange, message};

/// `linux/netlink.h`.
const NLM_F_CREATE: u16 = 0x400;
/// `linux/netfilter/nfnetlink.h`: what stands between the two is done as a whole.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
/// `linux/netfilter/nf_tables.h`.
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
const KEY: u16 = 1;
const VALUE: u16 = 1;
/// `NFPROTO_INET`, and none.
const INET: u8 = 1;
const UNSPECIFIED: u8 = 0;

const WHAT: &str = "who may bring an L2TP tunnel's data messages (nftables)";

/// The names of a table of family `inet` and of its sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct L2tpOwners {
    /// The table.
    pub table: &'static str,
    /// The set of marks and Tunnel IDs (`typeof meta mark . @th,80,16`).
    pub owners: &'static str,
    /// The set of Tunnel IDs (`typeof @th,80,16`).
    pub tunnels: &'static str,
}

/// A tunnel whose data messages one mark may bring, and nobody else; until it is dropped.
#[derive(Debug)]
pub struct L2tpOwned {
    of: L2tpOwners,
    mark: u32,
    tunnel: u16,
}

impl L2tpOwners {
    /// From now on what carries this mark may bring data messages of the tunnel that is known here by this ID.
    ///
    /// # Errors
    /// The table is gone, or the kernel refuses.
    pub fn own(self, mark: u32, tunnel: u16) -> Result<L2tpOwned, PppError> {
        let owned = L2tpOwned { of: self, mark, tunnel };
        owned.ask(NEW_ELEMENT, NLM_F_CREATE)?;
        Ok(owned)
    }
}

impl L2tpOwned {
    fn ask(&self, what: u16, flags: u16) -> Result<(), PppError> {
        exchange(NETLINK_NETFILTER, WHAT, &self.batch(what, flags)).map(drop)
    }

    fn batch(&self, what: u16, flags: u16) -> Vec<u8> {
        let L2tpOwners { table, owners, tunnels } = self.of;
        // Each part of a key begins at a multiple of four octets.
        let id = [&self.tunnel.to_be_bytes()[..], &[0; 2]].concat();
        let both = [&self.mark.to_ne_bytes()[..], &id].concat();
        let kind = SUBSYSTEM << 8 | what;
        let of = |flags, set, key: &[u8]| {
            message(kind, NLM_F_REQUEST | flags, &header(INET, 0), &element(table, set, key))
        };
        let edge = |kind| message(kind, NLM_F_REQUEST, &header(UNSPECIFIED, SUBSYSTEM), &[]);
        [
            edge(BATCH_BEGIN),
            of(flags, owners, &both),
            // The answer to the last one is the answer to all: what is wrong with the first comes before it.
            of(flags | NLM_F_ACK, tunnels, id.get(..2).unwrap_or_default()),
            edge(BATCH_END),
        ]
        .concat()
    }
}

impl Drop for L2tpOwned {
    fn drop(&mut self) {
        match self.ask(DELETE_ELEMENT, 0) {
            // The table is gone already.
            Ok(()) | Err(PppError::Refused { errno: Errno::ENOENT, .. }) => {}
            Err(error) => tracing::warn!(%error, tunnel = self.tunnel, "not removed"),
        }
    }
}

/// `struct nfgenmsg`.
fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn element(table: &str, set: &str, key: &[u8]) -> Vec<u8> {
    let name = |kind, text: &str| attribute(kind, &[text.as_bytes(), &[0]].concat());
    let nest = |kind, inner: &[u8]| attribute(kind | NESTED, inner);
    let element = nest(ELEMENT, &nest(KEY, &attribute(VALUE, key)));
    [name(LIST_TABLE, table), name(LIST_SET, set), nest(LIST_ELEMENTS, &element)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_a_mark_and_a_tunnel_id_as_nftables_keeps_them() {
        let of = L2tpOwners { table: "t", owners: "o", tunnels: "i" };
        let owned = std::mem::ManuallyDrop::new(L2tpOwned { of, mark: 0xAD00_0007, tunnel: 0x1234 });
        let bytes = owned.batch(NEW_ELEMENT, NLM_F_CREATE);
        let mut at = 0;
        let mut messages = Vec::new();
        while let Some(length) = bytes.get(at..at + 4) {
            let length = u32::from_ne_bytes(length.try_into().unwrap()) as usize;
            messages.push(&bytes[at..at + length]);
            at += length.next_multiple_of(4);
        }
        let kinds: Vec<u16> = messages.iter().map(|m| u16::from_ne_bytes([m[4], m[5]])).collect();
        assert_eq!(kinds, [BATCH_BEGIN, 0x0a0c, 0x0a0c, BATCH_END]);
        assert_eq!(messages[0][16..], [0, 0, 0, 10]);
        let key = [&0xAD00_0007_u32.to_ne_bytes()[..], &[0x12, 0x34, 0, 0]].concat();
        assert!(messages[1].ends_with(&key), "{:?}", messages[1]);
        assert!(messages[2].ends_with(&[6, 0, 1, 0, 0x12, 0x34, 0, 0]), "{:?}", messages[2]);
        assert_eq!(messages[1][16..20], [1, 0, 0, 0]);
    }
}
