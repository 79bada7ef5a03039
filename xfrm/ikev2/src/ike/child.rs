//! The CHILD_SAs of an IKE_SA. They outlive it when it is rekeyed (RFC 7296 §2.8).

use super::Ike;
use crate::api::{ChildId, Event};
use crate::state::Cx;

/// One CHILD_SA.
pub(crate) struct Child {
    pub(crate) id: ChildId,
    pub(crate) inbound_spi: u32,
    pub(crate) outbound_spi: u32,
    /// We have asked the peer to delete it (RFC 7296 §1.4.1: the responses to two such requests that cross name
    /// nothing).
    pub(crate) deleting: bool,
}

impl Ike {
    /// Takes a CHILD_SA off, and tells the driver.
    pub(crate) fn drop_child(&mut self, cx: &mut Cx<'_>, index: usize) {
        if index < self.children.len() {
            let child = self.children.remove(index);
            cx.event(Event::ChildClosed {
                child: child.id,
                inbound_spi: child.inbound_spi,
                outbound_spi: child.outbound_spi,
                replaced_by: None,
            });
        }
    }
}
