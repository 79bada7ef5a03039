//! How a connection is raised.

use crate::registry::Owner;

/// How a connection is raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Raise {
    /// Whether to go on where the first attempt fails, as after one that succeeded.
    pub persistent: bool,
    /// Whether the caller hands its DNS servers to whoever looks names up.
    pub dns_by_caller: bool,
    /// Whose it will be.
    pub owner: Owner,
    /// The caller is neither root nor a member of the group `adit`.
    pub limited: bool,
}
