use core::fmt;
use std::net::{IpAddr, Ipv4Addr};

use adit_core::Prefix;
use serde::{Deserialize, Serialize};

use super::text;

/// A change of the host's network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// An xfrm interface, up, in our link group, without addresses of its own making.
    XfrmLink {
        /// Its name, 1 to 15 letters, digits, `.`, `_` or `-`.
        name: String,
        /// Its if_id.
        if_id: u32,
        /// Its MTU in bytes.
        mtu: u32,
    },
    /// An address on a link: alone, with no route to its network and no duplicate address detection.
    Address {
        /// The link's name.
        link: String,
        /// The address, as a host's (/32, /128) or with a prefix.
        address: Prefix,
    },
    /// A route.
    Route(Route),
    /// A rule that sends packets without our mark to a table.
    Rule(Rule),
    /// A rule that sends packets with our mark and an address of this host to a table.
    SourceRule(SourceRule),
    /// A rule before those of tunnels that lets GRE to this address look in another table: the kernel's PPTP sockets send
    /// theirs without our mark. An uplink's own comes before `main`, where somebody may have led everything into the tunnel.
    GreRule {
        /// The server.
        to: Ipv4Addr,
        /// An uplink's table, or [`super::MAIN_TABLE`].
        table: u32,
    },
    /// An nftables table of family `inet`; replaced in one step if it is there.
    Nftables {
        /// Its name; begins with `adit-`.
        table: String,
        /// What stands between its braces.
        body: String,
    },
    /// A kernel setting.
    Setting {
        /// The path below `/proc/sys`, with slashes.
        key: String,
        /// The value wanted.
        value: String,
    },
    /// Answering ARP or neighbour solicitations for an address behind us.
    ProxyNeighbour {
        /// The link on which they are answered.
        link: String,
        /// The address.
        address: IpAddr,
    },
    /// Names are asked of a link's servers, where systemd-resolved does not see to that.
    Names(LinkNames),
}

/// Where a route leads.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Target {
    /// Out of a link.
    Link(String),
    /// Out of a link, to a router there.
    Gateway {
        /// The link.
        link: String,
        /// The router.
        gateway: IpAddr,
    },
    /// Nowhere: packets are refused. The floor under a tunnel's routes.
    Unreachable,
}

/// A route.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Route {
    /// Its table.
    pub table: u32,
    /// To where.
    #[serde(with = "text")]
    pub destination: Prefix,
    /// By what way.
    pub target: Target,
    /// The address that this host's own packets on it carry.
    pub source: Option<IpAddr>,
    /// Lower wins.
    pub metric: u32,
}

/// "Packets without our mark look in `table`", for one family.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Rule {
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// Lower comes first.
    pub priority: u32,
    /// The table.
    pub table: u32,
}

/// "Packets with our mark from `source` look in `table`."
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct SourceRule {
    /// The address.
    pub source: IpAddr,
    /// Lower comes first.
    pub priority: u32,
    /// The table.
    pub table: u32,
}

/// What takes a change back. Holds no secret: it is written to a journal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum Undo {
    /// Delete the xfrm interface with this if_id, whatever its name is by now.
    XfrmLink {
        /// Its if_id.
        if_id: u32,
    },
    /// Remove an address.
    Address {
        /// The link's name.
        link: String,
        /// The address.
        #[serde(with = "text")]
        address: Prefix,
    },
    /// Remove a route.
    Route(Route),
    /// Remove a rule.
    Rule(Rule),
    /// Remove a rule.
    SourceRule(SourceRule),
    /// Remove the rule for GRE to this address.
    GreRule {
        /// The server.
        to: Ipv4Addr,
        /// The table that it leads to; records from before there was a choice mean `main`.
        #[serde(default = "main_table")]
        table: u32,
    },
    /// Delete an nftables table.
    Nftables {
        /// Its name.
        table: String,
    },
    /// Give kernel settings their former values, if the first still has ours.
    Setting {
        /// The value that we gave to the first.
        ours: String,
        /// The setting itself, then those that the kernel changed along with it.
        former: Vec<FormerSetting>,
    },
    /// Stop answering for an address.
    ProxyNeighbour {
        /// The link.
        link: String,
        /// The address.
        address: IpAddr,
    },
    /// Ask whom was asked before.
    Names {
        /// Who sees to it.
        way: NamesWay,
        /// The link.
        link: String,
        /// Its servers.
        servers: Vec<IpAddr>,
    },
}

/// Who sees to a host's names.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub enum NamesWay {
    /// NetworkManager, which writes `/etc/resolv.conf`.
    NetworkManager,
    /// resolvconf, which writes that file.
    Resolvconf,
    /// Nobody else: it is written here.
    File,
}

/// What a link's name servers are for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkNames {
    /// Who sees to it.
    pub way: NamesWay,
    /// The link.
    pub link: String,
    /// Whom to ask, best first.
    pub servers: Vec<IpAddr>,
    /// Where a name without a dot is looked for.
    pub search: Vec<String>,
    /// Nobody else is asked for anything.
    pub only: bool,
}

impl Change {
    /// Whether the kernel is told of it by one message of rtnetlink, and nothing else is done for it.
    #[must_use]
    pub const fn is_one_message(&self) -> bool {
        matches!(self, Self::Address { .. } | Self::Route(_) | Self::Rule(_) | Self::SourceRule(_))
    }
}

impl Undo {
    /// Whether this is what takes that change back, as far as the two tell.
    #[must_use]
    pub fn takes_back(&self, change: &Change) -> bool {
        match (self, change) {
            (Self::XfrmLink { if_id }, Change::XfrmLink { if_id: made, .. }) => if_id == made,
            (Self::Address { link, address }, Change::Address { link: on, address: made }) => {
                (link, address) == (on, made)
            }
            (Self::Route(route), Change::Route(made)) => route == made,
            (Self::Rule(rule), Change::Rule(made)) => rule == made,
            (Self::SourceRule(rule), Change::SourceRule(made)) => rule == made,
            (Self::GreRule { to, table }, Change::GreRule { to: of, table: made }) => {
                (to, table) == (of, made)
            }
            (Self::Nftables { table }, Change::Nftables { table: made, .. }) => table == made,
            (Self::Setting { ours, former }, Change::Setting { key, value }) => {
                ours == value && former.first().is_some_and(|former| former.key == *key)
            }
            (Self::ProxyNeighbour { link, address }, Change::ProxyNeighbour { link: on, address: made }) => {
                (link, address) == (on, made)
            }
            _ => false,
        }
    }
}

const fn main_table() -> u32 {
    super::MAIN_TABLE
}

/// A kernel setting as it was.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct FormerSetting {
    /// The path below `/proc/sys`.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::XfrmLink { name, .. } => write!(f, "link {name}"),
            Self::Address { link, address } => write!(f, "address {address} on {link}"),
            Self::Route(route) => route.fmt(f),
            Self::Rule(rule) => rule.fmt(f),
            Self::SourceRule(rule) => rule.fmt(f),
            Self::GreRule { to, table } => write!(f, "rule for GRE to {to} to look in table {table}"),
            Self::Nftables { table, .. } => write!(f, "nftables table {table}"),
            Self::Setting { key, value } => write!(f, "{key} = {value}"),
            Self::ProxyNeighbour { link, address } => write!(f, "answering for {address} on {link}"),
            Self::Names(names) => write!(f, "name servers of {} by {}", names.link, names.way),
        }
    }
}

impl fmt::Display for NamesWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetworkManager => "NetworkManager",
            Self::Resolvconf => "resolvconf",
            Self::File => "/etc/resolv.conf",
        })
    }
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::XfrmLink { if_id } => write!(f, "removing the xfrm interface {if_id:#x}"),
            Self::Address { link, address } => write!(f, "removing address {address} from {link}"),
            Self::Route(route) => write!(f, "removing {route}"),
            Self::Rule(rule) => write!(f, "removing {rule}"),
            Self::SourceRule(rule) => write!(f, "removing {rule}"),
            Self::GreRule { to, table } => {
                write!(f, "removing the rule for GRE to {to} to look in table {table}")
            }
            Self::Nftables { table } => write!(f, "removing nftables table {table}"),
            Self::Setting { former, .. } => match former.first() {
                Some(first) => write!(f, "setting {} back to {}", first.key, first.value),
                None => f.write_str("setting nothing back"),
            },
            Self::ProxyNeighbour { link, address } => {
                write!(f, "no longer answering for {address} on {link}")
            }
            Self::Names { way, link, .. } => write!(f, "name servers of before {link} by {way}"),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Link(link) => {
                write!(f, "route to {} by {link} in table {}", self.destination, self.table)
            }
            Target::Gateway { link, gateway } => {
                write!(f, "route to {} by {link} and {gateway} in table {}", self.destination, self.table)
            }
            Target::Unreachable => {
                write!(f, "unreachable route to {} in table {}", self.destination, self.table)
            }
        }
    }
}

impl fmt::Display for SourceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} of {} to table {}", self.priority, self.source, self.table)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.ipv6 { "IPv6" } else { "IPv4" };
        write!(f, "{family} rule {} to table {}", self.priority, self.table)
    }
}
