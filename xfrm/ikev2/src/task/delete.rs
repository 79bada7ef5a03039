//! Deletion of IKE_SAs and CHILD_SAs, both ways (RFC 7296 §1.4.1).

use adit_isakmp::payload::{Delete, Protocol};
use adit_isakmp::{Message, Payload};

use crate::api::ChildId;
use crate::explain;
use crate::ike::Ike;
use crate::state::Cx;
use crate::task::Reply;

/// The request that deletes the IKE_SA, and with it everything that it has.
pub(crate) fn build_ike() -> Vec<Payload> {
    vec![Payload::Delete(Delete::Ike)]
}

/// The request that deletes one CHILD_SA, named by our inbound SPI.
pub(crate) fn build_child(ike: &mut Ike, child: ChildId) -> Option<Vec<Payload>> {
    let child = ike.child(child).filter(|c| !c.deleting)?;
    // [7296:1.4.1-5]
    child.deleting = true;
    // [7296:1.4.1-2] [7296:2.4-8]
    Some(vec![Payload::Delete(Delete::esp(child.inbound_spi))])
}

/// The peer has answered our deletion of a CHILD_SA. Whether it named its half or not (both requests may have
/// crossed), the pair is gone.
pub(crate) fn child_deleted(ike: &mut Ike, cx: &mut Cx<'_>, child: ChildId) {
    // [7296:1.4.1-6] [7296:1.4.1-1]
    ike.drop_child(cx, child);
}

/// The peer deletes: the IKE_SA if any payload says so, else CHILD_SAs.
pub(crate) fn answer(ike: &mut Ike, cx: &mut Cx<'_>, message: &Message) -> Reply {
    let deletes = || {
        message.payloads.iter().filter_map(|p| match p {
            Payload::Delete(delete) => Some(delete),
            _ => None,
        })
    };
    if deletes().any(|d| *d == Delete::Ike) {
        return Reply::last(Vec::new(), explain::closed_by_peer(ike.sa.channel.path));
    }
    let mut ours = Vec::new();
    for delete in deletes() {
        let Delete::Child { protocol: Protocol::ESP, spis } = delete else {
            continue;
        };
        for spi in spis {
            // The peer names what it receives on, which is what we send on. SPIs that we don't have are no error.
            // [7296:1.4.1-3]
            let Some(child) = ike.children.iter().find(|c| c.outbound_spi == *spi) else {
                continue;
            };
            // Where our own request is on its way, the answer names nothing.
            // [7296:1.4.1-4] [7296:1.4.1-5]
            if !child.deleting {
                ours.push(child.inbound_spi);
            }
            // [7296:1.4.1-3] [7296:1.4.1-1]
            ike.drop_child(cx, child.id);
        }
    }
    if ours.is_empty() {
        return Reply::of(Vec::new());
    }
    Reply::of(vec![Payload::Delete(Delete::Child { protocol: Protocol::ESP, spis: ours })])
}
