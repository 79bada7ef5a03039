//! What NetworkManager says of links (`org.freedesktop.NetworkManager.Device`): which of them cost by volume, and which lead
//! nowhere or to a portal as far as it has found. The kernel tells neither.

use std::collections::{BTreeMap, HashMap};

use futures_util::StreamExt;
use tracing::debug;
use zbus::fdo::DBusProxy;
use zbus::message::{Message, Type};
use zbus::names::BusName;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant, Variant};

use crate::uplinks::{Uplinks, Word};

const SERVICE: &str = "org.freedesktop.NetworkManager";
const PATH: &str = "/org/freedesktop/NetworkManager";
const DEVICE: &str = "org.freedesktop.NetworkManager.Device";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// Of a device, what is read.
const READ: [&str; 5] = ["Interface", "IpInterface", "Metered", "Ip4Connectivity", "Ip6Connectivity"];
/// Devices that are asked for.
const MOST_DEVICES: usize = 256;

/// Follows NetworkManager, whenever there is one on this bus.
pub(super) async fn follow(bus: Connection, uplinks: Uplinks) {
    if let Err(error) = watch(&bus, &uplinks).await {
        debug!(%error, "NetworkManager cannot be followed: what it finds out about links is not known");
    }
}

async fn watch(bus: &Connection, uplinks: &Uplinks) -> zbus::Result<()> {
    let changed = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(SERVICE)
        .interface(PROPERTIES)
        .member("PropertiesChanged")
        .path_namespace(PATH)
        .build()?;
    let mut changed = MessageStream::for_match_rule(changed, bus, None).await?;
    let names = DBusProxy::new(bus).await?;
    let mut owners = names.receive_name_owner_changed_with_args(&[(0, SERVICE)]).await?;
    loop {
        let mut again = false;
        let said = words(bus, &names);
        tokio::pin!(said);
        // Who reads no signals gets no answers either.
        loop {
            tokio::select! {
                said = &mut said => {
                    uplinks.told(said);
                    break;
                }
                Some(Ok(news)) = changed.next() => again |= concerns_links(&news),
                Some(_) = owners.next() => again = true,
            }
        }
        while !again {
            tokio::select! {
                news = changed.next() => match news {
                    Some(Ok(news)) => again = concerns_links(&news),
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
                Some(_) = owners.next() => again = true,
            }
        }
    }
}

/// Whether a change is one of those that [`words`] reads.
fn concerns_links(news: &Message) -> bool {
    let body = news.body();
    let Ok((interface, changed, _)) = body.deserialize::<(&str, HashMap<&str, Variant<'_>>, Vec<&str>)>()
    else {
        return false;
    };
    match interface {
        DEVICE => READ.iter().any(|name| changed.contains_key(name)),
        SERVICE => changed.contains_key("Devices"),
        _ => false,
    }
}

/// What it says now, by the links' names; nothing, where it does not run or does not tell.
async fn words(bus: &Connection, names: &DBusProxy<'_>) -> BTreeMap<String, Word> {
    let runs = match BusName::try_from(SERVICE) {
        Ok(name) => names.name_has_owner(name).await.unwrap_or(false),
        Err(_) => false,
    };
    let mut out = BTreeMap::new();
    if !runs {
        return out;
    }
    for device in devices(bus).await.unwrap_or_default().iter().take(MOST_DEVICES) {
        match properties(bus, device).await {
            Ok(properties) => out.extend(word(&properties)),
            // It may be gone by now.
            Err(error) => {
                debug!(%error, device = device.as_str(), "NetworkManager does not tell of a device")
            }
        }
    }
    out
}

async fn devices(bus: &Connection) -> zbus::Result<Vec<OwnedObjectPath>> {
    let answer = bus.call_method(Some(SERVICE), PATH, Some(PROPERTIES), "Get", &(SERVICE, "Devices")).await?;
    let value: OwnedVariant = answer.body().deserialize()?;
    value.try_into()
}

async fn properties(
    bus: &Connection,
    device: &OwnedObjectPath,
) -> zbus::Result<HashMap<String, OwnedVariant>> {
    let answer = bus.call_method(Some(SERVICE), device, Some(PROPERTIES), "GetAll", &(DEVICE,)).await?;
    answer.body().deserialize()
}

fn word(properties: &HashMap<String, OwnedVariant>) -> Option<(String, Word)> {
    let text = |name: &str| {
        let text = properties.get(name)?.downcast_ref::<&str>().ok()?;
        Some(text.to_owned()).filter(|text| !text.is_empty())
    };
    let number = |name: &str| properties.get(name).and_then(|v| v.downcast_ref::<u32>().ok()).unwrap_or(0);
    // A modem's packets go over another interface than its commands.
    let name = text("IpInterface").or_else(|| text("Interface"))?;
    Some((name, Word::new(number("Metered"), [number("Ip4Connectivity"), number("Ip6Connectivity")])))
}

impl Word {
    /// From NMMetered and NMConnectivityState, IPv4's and IPv6's.
    fn new(metered: u32, connectivity: [u32; 2]) -> Self {
        let metered = match metered {
            // Yes, and a guess of it.
            1 | 3 => Some(true),
            2 | 4 => Some(false),
            _ => None,
        };
        // None, portal, limited: but a link may do without one of the families.
        let limited = connectivity.iter().any(|c| (1..=3).contains(c)) && !connectivity.contains(&4);
        Self { metered, limited }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(of: &[(&str, Variant<'_>)]) -> HashMap<String, OwnedVariant> {
        of.iter().map(|(name, v)| ((*name).to_owned(), v.try_to_owned().unwrap())).collect()
    }

    #[test]
    fn a_portal_is_a_limit_and_a_family_that_is_not_there_is_none() {
        let limited = |connectivity| Word::new(0, connectivity).limited;
        assert!(limited([2, 0]) && limited([3, 1]) && limited([1, 1]));
        assert!(!limited([4, 1]) && !limited([1, 4]) && !limited([0, 0]) && !limited([9, 9]));
    }

    #[test]
    fn a_modem_is_known_by_the_link_that_its_packets_take() {
        let modem = device(&[
            ("Interface", "cdc-wdm0".into()),
            ("IpInterface", "wwan0".into()),
            ("Metered", 3_u32.into()),
            ("Ip4Connectivity", 4_u32.into()),
        ]);
        let expected = Word { metered: Some(true), limited: false };
        assert_eq!(word(&modem), Some(("wwan0".to_owned(), expected)));
        let card =
            device(&[("Interface", "eth0".into()), ("IpInterface", "".into()), ("Metered", 4_u32.into())]);
        assert_eq!(word(&card), Some(("eth0".to_owned(), Word { metered: Some(false), limited: false })));
        // Of another type than it should be.
        assert_eq!(word(&device(&[("Interface", 7_u32.into())])), None);
        let odd = device(&[("Interface", "eth0".into()), ("Metered", "yes".into())]);
        assert_eq!(word(&odd), Some(("eth0".to_owned(), Word::default())));
    }
}
