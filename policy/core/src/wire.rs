use thiserror::Error;

/// Bytes that are not what their format says: where, and why. Never carries the bytes themselves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("at byte {at}: {why}")]
pub struct DecodeError {
    /// Offset from the start of what was decoded, in bytes.
    pub at: usize,
    /// What is wrong there, for a log and for a person.
    pub why: &'static str,
}

impl DecodeError {
    /// An error at byte `at`.
    #[must_use]
    pub const fn new(at: usize, why: &'static str) -> Self {
        Self { at, why }
    }

    /// The same error, seen from an enclosing structure that starts `offset` bytes earlier.
    #[must_use]
    pub const fn within(self, offset: usize) -> Self {
        Self { at: self.at.saturating_add(offset), why: self.why }
    }
}
