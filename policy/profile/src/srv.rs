//! A `server` that is a name of SRV records (RFC 2782): they say which servers there are, on which ports, and which comes first.

use crate::ppp::TunnelKind;
use crate::read::{Reader, Table, entry};
use crate::value::{Host, ServerName};

/// `_isakmp._udp.example.com`, in its parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Srv<'a> {
    /// The whole name.
    pub name: &'a str,
    /// `_udp` or `_tcp`.
    pub protocol: &'a str,
    /// The domain whose servers they are.
    pub domain: &'a str,
}

impl ServerName {
    /// Whether its name is one of SRV records.
    #[must_use]
    pub fn srv(&self) -> Option<Srv<'_>> {
        let Host::Name(name) = &self.host else { return None };
        let (_, rest) = name.split_once('.').filter(|(service, _)| service.starts_with('_'))?;
        let (protocol, domain) = rest.split_once('.')?;
        matches!(protocol, "_udp" | "_tcp").then_some(Srv { name, protocol, domain })
    }
}

impl TunnelKind {
    /// The port that all of its servers have. `None`: the one that is said, or else the usual one.
    #[must_use]
    pub const fn only_port(self) -> Option<u16> {
        match self {
            Self::Ikev2 | Self::Sstp => None,
            // RFC 2637 §3, RFC 2661 §8.1.
            Self::Pptp => Some(1723),
            Self::L2tp => Some(1701),
        }
    }

    const fn protocol(self) -> &'static str {
        match self {
            Self::Ikev2 | Self::L2tp => "_udp",
            Self::Sstp | Self::Pptp => "_tcp",
        }
    }
}

/// What a file says of such names that can't be so.
pub(crate) fn srv_fits(reader: &mut Reader<'_>, table: &Table<'_>, kind: TunnelKind, servers: &[ServerName]) {
    let Some((server, srv)) = servers.iter().find_map(|server| server.srv().map(|srv| (server, srv))) else {
        return;
    };
    let Some((_, span)) = entry(table, "server") else { return };
    if reader.several {
        let help = r#"name the hosts, or one type: tunnel = "ikev2""#;
        reader.error(span, "`server`: SRV records name the servers of a single type of tunnel", help);
    } else if srv.protocol != kind.protocol() {
        let message = format!("`server`: {} is not what {} goes over", srv.protocol, kind.name());
        let help = format!("the records of a name with {}", kind.protocol());
        reader.error(span, message, help);
    } else if server.port.is_some() {
        reader.error(span, "`server`: SRV records say the port themselves", "take the port out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_records_is_told_by_its_underscores() {
        let server = |text: &str| text.parse::<ServerName>().unwrap();
        let of = server("_ISAKMP._udp.example.com.");
        let srv = of.srv().unwrap();
        assert_eq!((srv.name, srv.protocol, srv.domain), ("_isakmp._udp.example.com", "_udp", "example.com"));
        for text in
            ["vpn.example.com", "_isakmp.example.com", "_isakmp._sctp.example.com", "_a._udp", "192.0.2.1"]
        {
            assert_eq!(server(text).srv(), None, "{text}");
        }
    }
}
