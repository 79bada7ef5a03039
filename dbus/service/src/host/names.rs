//! Who sees to this host's names where there is no systemd-resolved: NetworkManager, or a helper that has the rights for it
//! (`adit-names`). It is found anew each time.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use adit_names::{Names, Reply, Request, SOCKET, Way};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::{Connection, OwnedVariant, Variant};

use super::{HostError, LinkNames, NamesWay};

/// How long each of them gets.
const PATIENCE: Duration = Duration::from_secs(10);
/// No reply is longer, in octets.
const LONGEST_REPLY: u64 = 1024;

const SERVICE: &str = "org.freedesktop.NetworkManager";
const PATH: &str = "/org/freedesktop/NetworkManager";
const DNS: &str = "org.freedesktop.NetworkManager.DnsManager";
const DNS_PATH: &str = "/org/freedesktop/NetworkManager/DnsManager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// What goes before every connection's own servers.
const GLOBAL: &str = "GlobalDnsConfiguration";

type Dictionary = HashMap<String, OwnedVariant>;

/// Who that is now.
///
/// # Errors
/// Nobody: why, for a person.
pub(crate) async fn way(bus: Option<&Connection>) -> Result<NamesWay, String> {
    if let Some(bus) = bus
        && matches!(tokio::time::timeout(PATIENCE, writes(bus)).await, Ok(Ok(true)))
    {
        return Ok(NamesWay::NetworkManager);
    }
    match helper(&Request::Which).await {
        Ok(Way::Resolvconf) => Ok(NamesWay::Resolvconf),
        Ok(Way::File) => Ok(NamesWay::File),
        Err(error) => Err(format!("{error} (systemctl enable --now adit-names.socket)")),
    }
}

/// Has a link's servers asked.
pub(super) async fn set(names: &LinkNames) -> Result<(), HostError> {
    let LinkNames { way, link, servers, search, only } = names.clone();
    match helpers(way) {
        Some(way) => helper(&Request::Set(way, Names { link, servers, search, only })).await.map(drop),
        None => manager(set_global(names)).await,
    }
}

/// Has whoever was asked before asked again.
pub(super) async fn clear(way: NamesWay, link: &str, servers: &[IpAddr]) -> Result<(), HostError> {
    match helpers(way) {
        Some(way) => helper(&Request::Clear(way, link.to_owned())).await.map(drop),
        None => manager(clear_global(servers)).await,
    }
}

const fn helpers(way: NamesWay) -> Option<Way> {
    match way {
        NamesWay::NetworkManager => None,
        NamesWay::Resolvconf => Some(Way::Resolvconf),
        NamesWay::File => Some(Way::File),
    }
}

async fn helper(request: &Request) -> Result<Way, HostError> {
    let said = |said: String| HostError::Names { who: SOCKET.into(), said };
    let talk = async {
        let mut socket = UnixStream::connect(SOCKET).await?;
        socket.write_all(request.emit().as_bytes()).await?;
        let mut text = String::new();
        socket.take(LONGEST_REPLY).read_to_string(&mut text).await?;
        Reply::read(&text).ok_or_else(|| io::Error::other("it says nothing"))
    };
    match tokio::time::timeout(PATIENCE, talk).await {
        Ok(Ok(Reply::Done(way))) => Ok(way),
        Ok(Ok(Reply::Failed(why))) => Err(said(why)),
        Ok(Err(error)) => Err(said(error.to_string())),
        Err(_) => Err(said(format!("no answer in {} s", PATIENCE.as_secs()))),
    }
}

async fn manager(work: impl Future<Output = zbus::Result<()>>) -> Result<(), HostError> {
    let said = |said: String| HostError::Names { who: "NetworkManager".into(), said };
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(|error| said(error.to_string())),
        Err(_) => Err(said(format!("no answer in {} s", PATIENCE.as_secs()))),
    }
}

/// Whether NetworkManager runs, writes this host's file, and nobody has told it for all connections whom to ask.
async fn writes(bus: &Connection) -> zbus::Result<bool> {
    let name = BusName::try_from(SERVICE)?;
    if !DBusProxy::new(bus).await?.name_has_owner(name).await? {
        return Ok(false);
    }
    let text = |value: OwnedVariant| value.downcast_ref::<&str>().map(str::to_owned).unwrap_or_default();
    let mode = text(get(bus, DNS_PATH, DNS, "Mode").await?);
    let writer = text(get(bus, DNS_PATH, DNS, "RcManager").await?);
    let told: Dictionary = get(bus, PATH, SERVICE, GLOBAL).await?.try_into()?;
    Ok(mode != "none" && writer != "unmanaged" && told.is_empty())
}

/// What holds for all connections goes before what each of them brings: of a split tunnel those come after its own.
async fn set_global(names: &LinkNames) -> zbus::Result<()> {
    let bus = Connection::system().await?;
    let mut servers: Vec<String> = names.servers.iter().map(ToString::to_string).collect();
    if !names.only {
        servers.extend(
            others(&bus)
                .await?
                .into_iter()
                .filter(|other| !names.servers.iter().any(|s| s.to_string() == *other)),
        );
    }
    let every = HashMap::from([("servers", Variant::from(servers))]);
    let told = HashMap::from([
        ("searches", Variant::from(names.search.clone())),
        ("domains", Variant::from(HashMap::from([("*", Variant::from(every))]))),
    ]);
    tell(&bus, told).await
}

/// Where it has been told something else meanwhile, that stays.
async fn clear_global(servers: &[IpAddr]) -> zbus::Result<()> {
    let bus = Connection::system().await?;
    let told: Dictionary = get(&bus, PATH, SERVICE, GLOBAL).await?.try_into()?;
    let ours: Vec<String> = servers.iter().map(ToString::to_string).collect();
    if servers_of(&told).is_some_and(|told| told.starts_with(&ours)) {
        tell(&bus, HashMap::new()).await?;
    }
    Ok(())
}

/// Those of the entry for every name.
fn servers_of(told: &Dictionary) -> Option<Vec<String>> {
    let domains: Dictionary = told.get("domains")?.try_clone().ok()?.try_into().ok()?;
    let every: Dictionary = domains.get("*")?.try_clone().ok()?.try_into().ok()?;
    every.get("servers")?.try_clone().ok()?.try_into().ok()
}

/// Whom NetworkManager has asked until now.
async fn others(bus: &Connection) -> zbus::Result<Vec<String>> {
    let now: Vec<Dictionary> = get(bus, DNS_PATH, DNS, "Configuration").await?.try_into()?;
    let servers = |entry: &Dictionary| -> Option<Vec<String>> {
        entry.get("nameservers")?.try_clone().ok()?.try_into().ok()
    };
    Ok(now.iter().filter_map(servers).flatten().collect())
}

async fn tell(bus: &Connection, told: HashMap<&str, Variant<'_>>) -> zbus::Result<()> {
    let value = Variant::from(told);
    bus.call_method(Some(SERVICE), PATH, Some(PROPERTIES), "Set", &(SERVICE, GLOBAL, value)).await.map(drop)
}

async fn get(bus: &Connection, path: &str, interface: &str, property: &str) -> zbus::Result<OwnedVariant> {
    let answer =
        bus.call_method(Some(SERVICE), path, Some(PROPERTIES), "Get", &(interface, property)).await?;
    answer.body().deserialize()
}
