use std::net::IpAddr;

use adit_plan::mobility::Uplink;

use super::{Route, SourceRule};

/// How packets get to an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathInfo {
    /// The address that they would carry as their source.
    pub source: IpAddr,
    /// Index of the link that they leave by.
    pub link_index: u32,
    /// Its name.
    pub link: String,
    /// The path's MTU as far as the kernel knows it, in bytes.
    pub mtu: u32,
    /// The next router, if the address is not on the link itself.
    pub gateway: Option<IpAddr>,
}

/// A link over which others can be reached, and what makes it usable by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UplinkState {
    /// What it is.
    pub uplink: Uplink,
    /// Its routes, in a table of their own.
    pub routes: Vec<Route>,
    /// What sends packets with our mark and its addresses there.
    pub rules: Vec<SourceRule>,
}

/// A link as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkState {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its group.
    pub group: u32,
    /// Its if_id, if it is an xfrm interface.
    pub if_id: Option<u32>,
}
