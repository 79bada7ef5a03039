//! What NetworkManager says of a connection: its settings, a dictionary of dictionaries.

use std::collections::{BTreeMap, HashMap};

use adit_core::{Failure, FailureCode, Step};
use zbus::OwnedVariant;
use zeroize::Zeroizing;

/// A connection as it comes by D-Bus.
pub(crate) type Dictionary = HashMap<String, HashMap<String, OwnedVariant>>;

/// An IPv6 route of a profile: network, length of its prefix, next hop, metric.
type Route6 = (Vec<u8>, u32, Vec<u8>, u32);

/// What of it counts here.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// `connection.id`, its name.
    pub(crate) id: String,
    /// `connection.uuid`: 32 hexadecimal digits, without the hyphens.
    pub(crate) uuid: String,
    /// `connection.interface-name`.
    pub(crate) interface: Option<String>,
    /// Whose it is: users' names; nobody's in particular if empty.
    pub(crate) users: Vec<String>,
    /// `vpn.service-type`: ours, or one of those that we stand in for.
    pub(crate) service: String,
    /// `vpn.data`.
    pub(crate) data: BTreeMap<String, String>,
    /// `vpn.secrets`.
    pub(crate) secrets: BTreeMap<String, Zeroizing<String>>,
    /// `ipv4.never-default`: the tunnel is for some networks only.
    pub(crate) split: bool,
    /// Networks of `ipv4.routes` and `ipv6.routes`.
    pub(crate) networks: Vec<String>,
    /// `ipv4.ignore-auto-dns`.
    pub(crate) ignores_dns: bool,
}

impl Settings {
    /// Reads them. What is not there is empty.
    ///
    /// # Errors
    /// It has no UUID, or is of no VPN.
    pub(crate) fn read(dictionary: &Dictionary) -> Result<Self, Failure> {
        let of = |setting: &str, key: &str| dictionary.get(setting)?.get(key);
        let text = |setting: &str, key: &str| of(setting, key).and_then(text).unwrap_or_default();
        let truth = |setting: &str, key: &str| {
            of(setting, key).is_some_and(|v| v.downcast_ref::<bool>().unwrap_or(false))
        };
        let uuid: String = text("connection", "uuid").chars().filter(|c| *c != '-').collect();
        if uuid.len() != 32 || !uuid.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(bad("the connection has no UUID"));
        }
        let service = text("vpn", "service-type");
        if service.is_empty() {
            return Err(bad("the connection is not one of a VPN"));
        }
        let permissions: Vec<String> = of("connection", "permissions").and_then(read).unwrap_or_default();
        let secrets = texts(of("vpn", "secrets")).into_iter().map(|(k, v)| (k, Zeroizing::new(v)));
        Ok(Self {
            id: text("connection", "id"),
            uuid: uuid.to_ascii_lowercase(),
            interface: Some(text("connection", "interface-name")).filter(|name| !name.is_empty()),
            users: permissions.iter().map(|permission| user_of(permission)).collect::<Result<_, _>>()?,
            service,
            data: texts(of("vpn", "data")),
            secrets: secrets.collect(),
            split: truth("ipv4", "never-default"),
            networks: networks(of("ipv4", "routes"), of("ipv6", "routes")),
            ignores_dns: truth("ipv4", "ignore-auto-dns"),
        })
    }
}

/// The user of `user:NAME:…` (`connection.permissions`).
fn user_of(permission: &str) -> Result<String, Failure> {
    let mut parts = permission.split(':');
    match (parts.next(), parts.next().filter(|name| !name.is_empty())) {
        (Some("user"), Some(name)) => Ok(name.to_owned()),
        // What it means is not known, so what it keeps whom from is not either.
        _ => Err(bad("connection.permissions says something else than user:NAME")),
    }
}

fn bad(text: &str) -> Failure {
    Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text)
}

fn read<T: TryFrom<OwnedVariant>>(value: &OwnedVariant) -> Option<T> {
    T::try_from(value.try_clone().ok()?).ok()
}

fn text(value: &OwnedVariant) -> Option<String> {
    value.downcast_ref::<&str>().ok().map(str::to_owned)
}

fn texts(value: Option<&OwnedVariant>) -> BTreeMap<String, String> {
    value.and_then(read).unwrap_or_default()
}

fn networks(v4: Option<&OwnedVariant>, v6: Option<&OwnedVariant>) -> Vec<String> {
    let v4: Vec<Vec<u32>> = v4.and_then(read).unwrap_or_default();
    let v6: Vec<Route6> = v6.and_then(read).unwrap_or_default();
    let v4 = v4.iter().filter_map(|route| match route.as_slice() {
        // The address is in network order as it lies in memory.
        [address, length, ..] => {
            Some(format!("{}/{length}", std::net::Ipv4Addr::from(address.to_ne_bytes())))
        }
        _ => None,
    });
    let v6 = v6.iter().filter_map(|(address, length, ..)| {
        let address: [u8; 16] = address.as_slice().try_into().ok()?;
        Some(format!("{}/{length}", std::net::Ipv6Addr::from(address)))
    });
    v4.chain(v6).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use zbus::Variant;

    use super::*;

    /// A connection with this `vpn.data` and these `vpn.secrets`.
    pub(crate) fn dictionary(
        service: &str,
        data: &[(&str, &str)],
        secrets: &[(&str, &str)],
        more: &[(&str, &str, Variant<'_>)],
    ) -> Dictionary {
        let own = |value: Variant<'_>| value.try_to_owned().unwrap();
        let map = |of: &[(&str, &str)]| {
            let map: HashMap<String, String> = of.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            own(Variant::from(map))
        };
        let mut all = Dictionary::new();
        let mut put = |setting: &str, key: &str, value: OwnedVariant| {
            all.entry(setting.into()).or_default().insert(key.into(), value);
        };
        put("connection", "id", own("Corp, at work".into()));
        put("connection", "uuid", own("0F1E2D3C-4b5a-6978-8796-a5b4c3d2e1f0".into()));
        put("vpn", "service-type", own(service.into()));
        put("vpn", "data", map(data));
        put("vpn", "secrets", map(secrets));
        for (setting, key, value) in more {
            put(setting, key, own(value.try_clone().unwrap()));
        }
        all
    }

    #[test]
    fn what_counts_is_read() {
        let route = vec![u32::from_ne_bytes([10, 1, 0, 0]), 16, 0, 0];
        let route6 =
            (vec![0xfd_u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8_u32, vec![0_u8; 16], 0_u32);
        let more = [
            ("connection", "permissions", Variant::from(vec!["user:alice:"])),
            ("ipv4", "never-default", true.into()),
            ("ipv4", "routes", vec![route].into()),
            ("ipv6", "routes", vec![route6].into()),
        ];
        let all = dictionary("org.example", &[("server", "vpn")], &[("password", "x")], &more);
        let settings = Settings::read(&all).unwrap();
        assert_eq!(settings.uuid, "0f1e2d3c4b5a69788796a5b4c3d2e1f0");
        assert_eq!((settings.users, settings.split), (vec!["alice".to_owned()], true));
        assert_eq!(settings.networks, ["10.1.0.0/16", "fd00::/8"]);
        assert_eq!(settings.data["server"], "vpn");
        assert_eq!(*settings.secrets["password"], "x");
    }

    #[test]
    fn whose_it_is_has_to_be_understood() {
        let permissions = ("connection", "permissions", Variant::from(vec!["seat:0:"]));
        assert!(Settings::read(&dictionary("org.example", &[], &[], &[permissions])).is_err());
        assert!(Settings::read(&Dictionary::new()).is_err());
    }
}
