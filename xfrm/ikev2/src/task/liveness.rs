//! Dead peer detection (RFC 7296 §2.4): an empty INFORMATIONAL request after silence. Any authentic answer proves
//! life; retransmission and giving up are those of every request. Who is behind a NAT also asks whether that has another
//! mapping (RFC 4555 §3.8).

use adit_isakmp::Payload;

use crate::ike::Ike;
use crate::state::Cx;
use crate::task::mobike;

/// The request: nothing, or NAT detection.
pub(crate) fn build(ike: &Ike, cx: &mut Cx<'_>) -> Vec<Payload> {
    mobike::liveness(ike, cx)
}
