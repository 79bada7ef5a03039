//! The form in which an IKE_SA that is up is handed on: keys, Message IDs, CHILD_SAs. See [`adit_core::snapshot`].

pub(crate) use adit_core::snapshot::{Reader, Writer};
pub(crate) use adit_isakmp::snapshot::{Read, Write};

/// Octets of one at most: a response of 16 kB that is to be repeated, and what else there is.
pub(crate) const MOST: usize = 24 * 1024;

/// What is known of this form. Any other is refused.
pub(crate) const VERSION: u8 = 4;
