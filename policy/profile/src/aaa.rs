use core::net::IpAddr;
use core::time::Duration;

use crate::secret::FileRef;

/// `[aaa]` and `[[radius]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aaa {
    /// The servers, in the order in which they are asked.
    pub servers: Vec<RadiusServer>,
    /// NAS-Identifier. `None`: the server's identity.
    pub nas_identifier: Option<String>,
    /// Whether the servers are told who is in, since when and how much it has moved. Default: yes.
    pub accounting: bool,
    /// How often they are told so while somebody is in, where they do not say it themselves. `None`, the default: never.
    pub interim: Option<Duration>,
    /// First retransmission of a question after this long, each later one after twice the time. Default: 2 s.
    pub timeout: Duration,
    /// Packets that one server gets for one question, before the next server is asked. Default: 3.
    pub tries: u32,
    /// The UDP port on which servers may end and change sessions (RFC 5176). `None`, the default: they may not.
    pub dynamic_port: Option<u16>,
}

/// `[[radius]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RadiusServer {
    /// Where it is.
    pub address: IpAddr,
    /// Its UDP port for authentication. Default 1812.
    pub port: u16,
    /// Its UDP port for accounting. Default 1813.
    pub accounting_port: u16,
    /// What it shares with us.
    pub secret: FileRef,
}

impl Default for Aaa {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            nas_identifier: None,
            accounting: true,
            interim: None,
            timeout: Duration::from_secs(2),
            tries: 3,
            dynamic_port: None,
        }
    }
}
