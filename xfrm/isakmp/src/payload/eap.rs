use adit_core::DecodeError;

use crate::wire::{EncodeError, Reader, patch_length};

/// EAP (RFC 7296 §3.16): one EAP packet (RFC 3748 §4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Eap {
    /// Code: 1 Request, 2 Response, 3 Success, 4 Failure.
    pub code: u8,
    /// Identifier.
    pub identifier: u8,
    /// Everything after Length: Type and Type-Data of requests and responses.
    pub data: Vec<u8>,
}

impl Eap {
    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let cut = "the EAP packet is cut off";
        let total = r.len();
        let code = r.u8(cut)?;
        let identifier = r.u8(cut)?;
        let length_at = r.at();
        // [7296:3.16-2]
        if usize::from(r.u16(cut)?) != total {
            return Err(DecodeError::new(length_at, "the EAP packet's length is not the payload's"));
        }
        Ok(Self { code, identifier, data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        out.extend_from_slice(&[self.code, self.identifier, 0, 0]);
        out.extend_from_slice(&self.data);
        patch_length(out, start, "the EAP packet")
    }
}
