//! Holding back what enters an xfrm interface while the state behind it is replaced.
//!
//! The kernel keys a state by destination, SPI and protocol, so where only our own address changes the former outbound
//! state and the new one cannot stand at once. What is sent between the two would be lost. `sch_plug`, as the interface's
//! queue, holds it for these moments. The queue goes with the interface.

use std::io;

use rustix::thread::{MembarrierCommand, membarrier};

use crate::Operation;
use crate::attribute::push_attribute;
use crate::request::Batch;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE};

const RTM_NEWQDISC: u16 = 36;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TC_H_ROOT: u32 = u32::MAX;

/// Octets that are held at most: what 10 Gbit/s bring in some milliseconds. Beyond it the kernel drops.
const LIMIT: u32 = 8 << 20;

/// What the queue is to do (`struct tc_plug_qopt`).
#[derive(Clone, Copy)]
#[repr(i32)]
pub(crate) enum Plug {
    /// TCQ_PLUG_BUFFER.
    Hold = 0,
    /// TCQ_PLUG_RELEASE_INDEFINITE.
    Release = 2,
}

/// Comes back when whatever had passed the queue before is through the kernel. A packet is sent, and numbered, in one section
/// in which the kernel reads what RCU protects, and this waits until all of these are over: some milliseconds.
///
/// # Errors
/// The kernel does not do it (`nohz_full`).
pub(crate) fn settle() -> io::Result<()> {
    Ok(membarrier(MembarrierCommand::Global)?)
}

impl Batch {
    /// The queue of a link: made, with everything held at first, where it is not there.
    pub(crate) fn plug(&mut self, link: u32, what: Plug, create: bool) {
        let flags = if create { NLM_F_CREATE | NLM_F_REPLACE } else { 0 };
        self.request(RTM_NEWQDISC, NLM_F_ACK | flags, Operation::SetQueue(link), |out| {
            // struct tcmsg: family and padding, index, handle, parent, info.
            let fields = [0, link, 0, TC_H_ROOT, 0];
            fields.iter().for_each(|field| out.extend(&field.to_ne_bytes()));
            push_attribute(out, TCA_KIND, b"plug\0");
            let options = [(what as i32).to_ne_bytes(), LIMIT.to_ne_bytes()].concat();
            push_attribute(out, TCA_OPTIONS, &options);
        });
    }
}
