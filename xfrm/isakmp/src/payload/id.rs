use adit_core::{DecodeError, Identity};

use crate::wire::Reader;

/// IDi or IDr (RFC 7296 §3.5): a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identification {
    /// ID Type, known or not.
    pub id_type: u8,
    /// The reserved bytes: 0 when we send them, whatever they are ignored when they come. They are kept because AUTH
    /// covers them as they were sent (RFC 7296 §2.15).
    pub reserved: [u8; 3],
    /// Identification Data.
    pub data: Vec<u8>,
}

impl Identification {
    /// The identity, if the type is known and the data is of that type.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        Identity::from_parts(self.id_type, &self.data)
    }

    /// The payload's body, byte for byte: what `RestOfIDPayload` is when AUTH is computed (RFC 7296 §2.15).
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.data.len().saturating_add(4));
        self.write(&mut out);
        out
    }

    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let id_type = r.u8("the ID type is cut off")?;
        // [7296:3.5-2]
        let reserved = r.array("the ID payload's reserved bytes are cut off")?;
        Ok(Self { id_type, reserved, data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.id_type);
        out.extend_from_slice(&self.reserved);
        out.extend_from_slice(&self.data);
    }
}

impl From<&Identity> for Identification {
    fn from(identity: &Identity) -> Self {
        // [7296:3.5-1]
        Self { id_type: identity.id_type(), reserved: [0; 3], data: identity.data() }
    }
}
