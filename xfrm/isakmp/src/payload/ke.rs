use adit_core::DecodeError;

use crate::algorithm::KeMethod;
use crate::wire::Reader;

/// KE (RFC 7296 §3.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyExchangeData {
    /// The method's transform ID, known or not.
    pub method: u16,
    /// Key Exchange Data. Its length is not checked against the method.
    pub data: Vec<u8>,
}

impl KeyExchangeData {
    /// Our value for `method`.
    #[must_use]
    pub const fn new(method: KeMethod, data: Vec<u8>) -> Self {
        Self { method: method.transform_id(), data }
    }

    /// The method, if Adit knows it.
    #[must_use]
    pub fn known(&self) -> Option<KeMethod> {
        KeMethod::from_transform_id(self.method)
    }

    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let method = r.u16("the key exchange method is cut off")?;
        // [7296:2.5-6]
        r.u16("the KE payload's reserved bytes are cut off")?;
        Ok(Self { method, data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.method.to_be_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.data);
    }
}
