//! The kernel's unit, as far as encryption goes (Linux 6.12's `ppp_ccp_peek` and `mppe_init`): it watches CCP go by. A
//! Configure-Request stops a direction; an Ack begins it, unless CCP is said to be up; and a key that is begun twice is
//! another key.

use adit_ppp::wire::{Code, Packet, Protocol, split_frame};
use adit_ppp::{Compress, Established};

/// What one direction is encrypted with.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Direction {
    key: Vec<u8>,
    begun: u32,
    runs: bool,
}

#[derive(Default, Debug)]
pub(super) struct Unit {
    /// It is there: before that CCP goes by the channel, which looks at nothing.
    pub(super) made: bool,
    open: bool,
    up: bool,
    transmit: Direction,
    receive: Direction,
}

impl Unit {
    pub(super) fn prepare(&mut self, compress: &Compress) {
        (self.open, self.up) = (true, false);
        let direction = if compress.transmit { &mut self.transmit } else { &mut self.receive };
        *direction = Direction { key: compress.key.expose().to_vec(), begun: 0, runs: false };
    }

    pub(super) fn encrypted(&mut self, stands: bool) {
        (self.open, self.up) = (true, stands);
    }

    pub(super) fn sees(&mut self, frame: &[u8], inbound: bool) {
        let Ok((Protocol::CCP, packet)) = split_frame(frame) else { return };
        let Ok(packet) = Packet::parse(packet) else { return };
        if !self.made {
            return;
        }
        match packet.code {
            // Whoever asks says what the other shall send.
            Code::CONFIGURE_REQUEST if inbound => self.transmit.runs = false,
            Code::CONFIGURE_REQUEST => self.receive.runs = false,
            Code::TERMINATE_REQUEST | Code::TERMINATE_ACK => {
                (self.transmit.runs, self.receive.runs) = (false, false);
            }
            Code::CONFIGURE_ACK if self.open && !self.up && !packet.data.is_empty() => {
                let direction = if inbound { &mut self.receive } else { &mut self.transmit };
                if !direction.key.is_empty() {
                    direction.begun += 1;
                    direction.runs = true;
                }
            }
            _ => {}
        }
    }

    /// Whether what one end sends is what the other reads.
    pub(super) fn of_one_mind(&self, other: &Self, facts: &Established) -> Result<(), String> {
        if facts.mppe.is_none() {
            return Ok(());
        }
        let good = |a: &Direction, b: &Direction| a == b && a.begun == 1 && a.runs;
        let up = self.up && other.up;
        match up && good(&self.transmit, &other.receive) && good(&self.receive, &other.transmit) {
            true => Ok(()),
            false => Err(format!("of two minds about keys: {self:?}, {other:?}")),
        }
    }
}
