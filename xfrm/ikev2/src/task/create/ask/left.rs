//! CREATE_CHILD_SA that a process before has begun: its key exchange went with that process.

use adit_isakmp::{Message, Payload};

use super::{Create, Phase, Purpose};
use crate::api::ChildId;
use crate::ike::{Child, Ike, Kernel};
use crate::state::Cx;
use crate::task::Task;

/// What a process leaves of one in the making.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leaves {
    /// Nothing that the peer knows.
    Nothing,
    /// A CHILD_SA in the other's place, perhaps, that sends to this SPI of ours.
    Made { spi: u32, old: ChildId },
    /// Something that nobody else could go on from.
    Nobody,
}

/// A process before has asked for `child`, whose keys went with it. Where the peer has made it, it is rekeyed itself, and both that went
/// before are deleted then. Deleting it alone would leave the old one as it was by the RFC, and does with us; strongSwan takes it for the end
/// of the rekey, and sends on neither.
pub(crate) fn answered(ike: &mut Ike, cx: &mut Cx<'_>, child: ChildId, response: &Message) {
    let made = response.payloads.iter().any(|p| matches!(p, Payload::Sa(_)));
    match ike.child(child).and_then(|child| child.replaces).filter(|_| made) {
        Some(old) => ike.enqueue(Task::Rekey(old)),
        None => ike.drop_child(cx, child),
    }
}

impl Create {
    /// What the peer may have of a rekey, where another process could go on without it. Whose key exchanges are several is made
    /// by several messages.
    pub(crate) fn leaves(&self) -> Leaves {
        match (&self.purpose, &self.phase) {
            (Purpose::New(_), _) => Leaves::Nobody,
            (_, Phase::Allocating | Phase::Generating) => Leaves::Nothing,
            (Purpose::Rekey(old), Phase::Sent(_) | Phase::Installing(..)) => self.leaves_in_place_of(*old),
            (Purpose::Rekey(old), Phase::Agreeing(granted)) if !granted.exchanges.several() => {
                self.leaves_in_place_of(*old)
            }
            (_, Phase::Agreeing(_) | Phase::Following(_) | Phase::Followed(..)) => Leaves::Nobody,
        }
    }

    /// What is in the place of something that was left itself, nobody could name.
    const fn leaves_in_place_of(&self, old: ChildId) -> Leaves {
        match self.left {
            Some(_) => Leaves::Nobody,
            None => Leaves::Made { spi: self.inbound_spi, old },
        }
    }
}

impl Child {
    /// In whose place the peer has made it for a process before, or is about to: what nothing but that is known of.
    pub(crate) fn left_by(&self) -> Option<ChildId> {
        self.replaces.filter(|_| self.kernel == Kernel::Out && !self.deleting)
    }
}

impl Ike {
    /// What the peer has made in that one's place for a process before.
    pub(crate) fn left_by(&self, old: ChildId) -> Option<ChildId> {
        self.children.iter().find(|child| child.left_by() == Some(old)).map(|child| child.id)
    }

    /// What the peer has made in that one's place is not to be.
    pub(crate) fn delete_left_by(&mut self, old: ChildId) {
        if let Some(left) = self.left_by(old) {
            self.enqueue(Task::DeleteChild(left));
        }
    }
}
