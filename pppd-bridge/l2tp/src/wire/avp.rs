use adit_core::DecodeError;

const MANDATORY: u16 = 0x8000;
const HIDDEN: u16 = 0x4000;
const RESERVED: u16 = 0x3c00;
const LENGTH: u16 = 0x03ff;
/// Flags and length, vendor, attribute type.
const HEADER_LEN: usize = 6;
/// The longest value, in octets (§4.1).
pub const LONGEST_VALUE: usize = LENGTH as usize - HEADER_LEN;

/// An attribute-value pair (RFC 2661 §4.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Avp {
    /// M: who does not know it ends the session, or the tunnel, that it belongs to.
    pub mandatory: bool,
    /// H: its value is hidden.
    pub hidden: bool,
    /// Bits 2 to 5, as they stand: an AVP in which one is set is not known (§4.1).
    pub reserved: u16,
    /// Vendor ID: 0 for those of the IETF.
    pub vendor: u16,
    /// Attribute Type.
    pub kind: u16,
    /// Attribute Value.
    pub value: Vec<u8>,
}

impl Avp {
    /// One of the IETF's, in clear.
    #[must_use]
    pub const fn new(mandatory: bool, kind: u16, value: Vec<u8>) -> Self {
        Self { mandatory, hidden: false, reserved: 0, vendor: 0, kind, value }
    }

    /// All AVPs of a control message.
    ///
    /// # Errors
    /// A length does not fit.
    pub fn parse_all(body: &[u8]) -> Result<Vec<Self>, DecodeError> {
        let mut rest = body;
        let mut all = Vec::new();
        while !rest.is_empty() {
            let at = body.len().saturating_sub(rest.len());
            let short = || DecodeError::new(at, "an AVP's length does not fit");
            let ([f0, f1, v0, v1, k0, k1], _) = rest.split_first_chunk::<HEADER_LEN>().ok_or_else(short)?;
            let flags = u16::from_be_bytes([*f0, *f1]);
            let length = usize::from(flags & LENGTH);
            let value = rest.get(HEADER_LEN..length).ok_or_else(short)?;
            all.push(Self {
                mandatory: flags & MANDATORY != 0,
                hidden: flags & HIDDEN != 0,
                reserved: flags & RESERVED,
                vendor: u16::from_be_bytes([*v0, *v1]),
                kind: u16::from_be_bytes([*k0, *k1]),
                value: value.to_vec(),
            });
            rest = rest.get(length..).ok_or_else(short)?;
        }
        Ok(all)
    }

    /// Writes it behind others. A value that is too long is cut off; none here is.
    // [2661:4.1-1]
    pub fn emit(&self, out: &mut Vec<u8>) {
        let value = self.value.get(..self.value.len().min(LONGEST_VALUE)).unwrap_or_default();
        let length = u16::try_from(HEADER_LEN.saturating_add(value.len())).unwrap_or(LENGTH) & LENGTH;
        let bit = |on: bool, bit| if on { bit } else { 0 };
        let flags =
            bit(self.mandatory, MANDATORY) | bit(self.hidden, HIDDEN) | self.reserved & RESERVED | length;
        for field in [flags, self.vendor, self.kind] {
            out.extend(field.to_be_bytes());
        }
        out.extend_from_slice(value);
    }

    /// All of them, as a control message's body.
    #[must_use]
    pub fn emit_all(all: &[Self]) -> Vec<u8> {
        let mut out = Vec::new();
        all.iter().for_each(|avp| avp.emit(&mut out));
        out
    }

    /// Whether it may be looked at: one of the IETF's, in clear, without reserved bits.
    pub(crate) const fn is_plain(&self) -> bool {
        self.vendor == 0 && !self.hidden && self.reserved == 0
    }
}
