//! CREATE_CHILD_SA that a process before has begun: its key exchange went with that process.

use adit_isakmp::{Message, Payload};

use crate::api::ChildId;
use crate::ike::Ike;
use crate::state::Cx;
use crate::task::Task;

/// What a process leaves of one in the making.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leaves {
    /// Nothing that the peer knows.
    Nothing,
    /// A CHILD_SA, perhaps, that sends to this SPI of ours.
    Spi(u32),
    /// Something that nobody else could go on from.
    Nobody,
}

/// A process before has asked for a CHILD_SA, whose keys went with it: where the peer has made one, it is deleted there, and the one in
/// whose place it was is rekeyed again.
pub(crate) fn answered(ike: &mut Ike, cx: &mut Cx<'_>, child: ChildId, response: &Message) {
    match response.payloads.iter().any(|p| matches!(p, Payload::Sa(_))) {
        true => ike.enqueue(Task::DeleteChild(child)),
        false => ike.drop_child(cx, child),
    }
}
