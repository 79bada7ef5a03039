//! Dead peer detection (RFC 7296 §2.4): an empty INFORMATIONAL request after silence. Any authentic answer proves
//! life; retransmission and giving up are those of every request.

use adit_isakmp::Payload;

/// The request: nothing.
pub(crate) const fn build() -> Vec<Payload> {
    Vec::new()
}
