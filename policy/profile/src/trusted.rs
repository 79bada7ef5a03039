//! `trusted-networks`: where a connection that comes up by itself stays down.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use crate::value::{NameError, quoted};

/// A network, told by the router that leads out of it: `192.168.1.1@52:54:00:12:34:56`. Half of all networks have a router
/// 192.168.1.1, so its hardware address is asked for as well. Neither is a secret: who is in the same place may imitate both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TrustedNetwork {
    /// The address by which routes name it.
    pub router: IpAddr,
    /// Its hardware address (EUI-48).
    pub hardware: [u8; 6],
}

impl FromStr for TrustedNetwork {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || {
            let why = format!("{} is no router with its hardware address", quoted(text));
            NameError::new(why, r#""192.168.1.1@52:54:00:12:34:56", as  ip neigh  shows it"#)
        };
        let (router, hardware) = text.split_once('@').ok_or_else(wrong)?;
        let octets: Option<Vec<u8>> = hardware.split(':').map(octet).collect();
        let hardware = octets.and_then(|octets| octets.try_into().ok()).ok_or_else(wrong)?;
        Ok(Self { router: router.parse().map_err(|_| wrong())?, hardware })
    }
}

/// Two digits.
fn octet(text: &str) -> Option<u8> {
    let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

impl fmt::Display for TrustedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.hardware;
        write!(f, "{}@{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}", self.router)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_its_router_with_its_hardware_address() {
        for text in ["192.168.1.1@52:54:00:12:34:56", "fe80::1@02:00:00:00:0a:ff"] {
            let network: TrustedNetwork = text.parse().unwrap();
            assert_eq!(network.to_string(), text);
        }
        let upper: TrustedNetwork = "10.0.0.1@AA:BB:CC:DD:EE:0F".parse().unwrap();
        assert_eq!(upper.to_string(), "10.0.0.1@aa:bb:cc:dd:ee:0f");
        for text in [
            "192.168.1.1",
            "192.168.1.1@",
            "wlan0@52:54:00:12:34:56",
            "10.0.0.1@52:54:00:12:34",
            "10.0.0.1@+1:54:00:12:34:56",
        ] {
            assert!(text.parse::<TrustedNetwork>().is_err(), "{text}");
        }
    }
}
