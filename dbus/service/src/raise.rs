//! How a connection is raised.

use adit_profile::{Profile, ServerName};

use crate::registry::Owner;

/// What a desktop says of the way to a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DesktopProxy {
    /// There is none.
    Direct,
    /// An HTTP proxy.
    Named(ServerName),
}

impl DesktopProxy {
    /// A profile that leaves it to the host goes by that.
    pub(crate) fn tell(self, profile: &mut Profile) {
        profile.proxy_of_desktop(match self {
            Self::Direct => None,
            Self::Named(server) => Some(server),
        });
    }
}

/// How a connection is raised.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Raise {
    /// Whether to go on where the first attempt fails, as after one that succeeded.
    pub persistent: bool,
    /// Whether the caller hands its DNS servers to whoever looks names up.
    pub dns_by_caller: bool,
    /// The proxy that the caller's desktop names: for a profile that leaves it to the host.
    pub proxy: Option<DesktopProxy>,
    /// Whose it will be.
    pub owner: Owner,
    /// The caller is neither root nor a member of the group `adit`.
    pub limited: bool,
}
