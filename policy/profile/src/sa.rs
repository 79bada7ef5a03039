//! What profiles and `server.toml` say of SAs beyond their algorithms: mode, rekeying, further CHILD_SAs.

use core::time::Duration;

use adit_core::TrafficSelector;

use crate::value::{ProfileName, Suite};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            pub(crate) const WORDS: &[(&str, Self)] = &[$(($word, Self::$variant),)*];

            /// The word for it in a file.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// What a CHILD_SA carries (RFC 4301 §4.1).
    Mode {
        /// Whole packets inside others.
        Tunnel = "tunnel",
        /// The payload of packets between the two hosts themselves.
        Transport = "transport",
    }
}

words! {
    /// When a connection is raised.
    Start {
        /// When somebody asks for it.
        Manual = "manual",
        /// When the daemon starts; and it is kept up.
        Boot = "boot",
        /// When a packet wants to go where it leads.
        OnDemand = "on-demand",
    }
}

words! {
    /// What becomes of the connections that a client has already when it comes in again.
    Uniqueness {
        /// The new one takes their place.
        Replace = "replace",
        /// All stay.
        Keep = "keep",
        /// The new one is refused while an old one lives.
        Refuse = "refuse",
    }
}

#[expect(clippy::derivable_impls, reason = "the macro makes the enum")]
impl Default for Uniqueness {
    fn default() -> Self {
        Self::Replace
    }
}

/// When keys are replaced (RFC 7296 §2.8). `None`: never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rekeying {
    /// Age of an IKE_SA. Default: 4 h.
    pub ike: Option<Duration>,
    /// Age of a CHILD_SA. Default: 1 h.
    pub child: Option<Duration>,
    /// Bytes that a CHILD_SA has carried in one direction. Default: never.
    pub bytes: Option<u64>,
    /// Packets that a CHILD_SA has carried in one direction. Default: never.
    pub packets: Option<u64>,
}

impl Default for Rekeying {
    fn default() -> Self {
        let (ike, child) = (Duration::from_hours(4), Duration::from_hours(1));
        Self { ike: Some(ike), child: Some(child), bytes: None, packets: None }
    }
}

/// `[[child]]`: a CHILD_SA beside the first one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildRule {
    /// Its name, as status shows it.
    pub name: ProfileName,
    /// Our side. Default: the profile's.
    pub local_subnets: Vec<TrafficSelector>,
    /// The peer's side. In tunnel mode never empty.
    pub remote_subnets: Vec<TrafficSelector>,
    /// Proposals, best first. Default: the profile's.
    pub esp: Vec<Suite>,
    /// What it carries. Default: the profile's.
    pub mode: Mode,
}
