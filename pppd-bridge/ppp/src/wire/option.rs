use adit_core::DecodeError;

/// An option of a Configure packet (RFC 1661 §6): Type, Length, Data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfigOption<'a> {
    /// Type.
    pub kind: u8,
    /// Data.
    pub data: &'a [u8],
}

/// The options of a Configure packet, all of the right length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Checks them.
    ///
    /// # Errors
    /// A Length below 2 or beyond what came.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut at = 0_usize;
        while let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) {
            let length = rest.get(1).map_or(0, |l| usize::from(*l));
            if length < 2 || length > rest.len() {
                return Err(DecodeError::new(at, "the Length of an option is not that of what came"));
            }
            at = at.saturating_add(length);
        }
        Ok(Self(bytes))
    }

    /// Each of them, in order.
    pub fn iter(self) -> impl Iterator<Item = ConfigOption<'a>> + Clone {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let [kind, length, tail @ ..] = rest else { return None };
            let (data, next) = tail.split_at_checked(usize::from(*length).checked_sub(2)?)?;
            rest = next;
            Some(ConfigOption { kind: *kind, data })
        })
    }

    /// As they came.
    #[must_use]
    pub const fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Options as octets. One whose data is longer than 253 octets is cut: ours are not.
#[must_use]
pub fn emit_options<'a>(options: impl IntoIterator<Item = ConfigOption<'a>>) -> Vec<u8> {
    let mut out = Vec::new();
    for ConfigOption { kind, data } in options {
        let data = data.get(..253).unwrap_or(data);
        out.extend([kind, u8::try_from(data.len().saturating_add(2)).unwrap_or(u8::MAX)]);
        out.extend_from_slice(data);
    }
    out
}
