//! A whole message: header and payloads.

use adit_core::DecodeError;

use crate::header::{HEADER_LEN, Header, HeaderView, finish_length};
use crate::payload::{Notify, NotifyType, Payload, PayloadType, emit_chain, first_kind, parse_chain};
use crate::wire::EncodeError;

/// A message of IKEv2. Where it has an SK payload that is still closed, that is the last of `payloads`
/// ([`crate::sk::open`] opens it).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The header.
    pub header: Header,
    /// The payloads, in order.
    pub payloads: Vec<Payload>,
}

impl Message {
    /// Reads a datagram of IKEv2.
    ///
    /// # Errors
    /// The first thing that is wrong, and at which byte.
    pub fn parse(datagram: &[u8]) -> Result<Self, DecodeError> {
        let view = HeaderView::parse(datagram)?;
        let header = view.header();
        header.check_ikev2()?;
        let payloads = parse_chain(view.next_payload(), view.body(), HEADER_LEN)?;
        Ok(Self { header, payloads })
    }

    /// The datagram.
    ///
    /// # Errors
    /// [`EncodeError`] if something does not fit its length field.
    pub fn emit(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::with_capacity(1024);
        self.header.emit(first_kind(&self.payloads), &mut out);
        emit_chain(&self.payloads, &mut out)?;
        finish_length(&mut out)?;
        Ok(out)
    }

    /// The first unknown payload with the critical bit: the answer is UNSUPPORTED_CRITICAL_PAYLOAD with this byte
    /// (RFC 7296 §2.5).
    #[must_use]
    pub fn unsupported_critical(&self) -> Option<PayloadType> {
        self.payloads.iter().find_map(|p| match p {
            // [7296:2.5-8] [7296:2.5-9] [7296:4-3]
            Payload::Unknown { kind, critical: true, .. } => Some(*kind),
            _ => None,
        })
    }

    /// The Notify payloads, in order.
    pub fn notifies(&self) -> impl Iterator<Item = &Notify> {
        self.payloads.iter().filter_map(|p| match p {
            Payload::Notify(n) => Some(n),
            _ => None,
        })
    }

    /// The first Notify of this type.
    #[must_use]
    pub fn notify(&self, kind: NotifyType) -> Option<&Notify> {
        self.notifies().find(|n| n.kind == kind)
    }
}
