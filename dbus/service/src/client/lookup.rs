//! Looking up a gateway's name while nothing else may leave: by questions that have our mark, and so get out. The host's own
//! resolver has none: what it asks is dropped with everybody's.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use adit_core::Entropy;
use adit_crypto::OsEntropy;
use adit_plan::query::{Answer, LONGEST_ANSWER, PORT, Query, Records};
use adit_plan::services::Service;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::host::MARK;

/// Where this host's name servers stand: in the first of these that names some which are not on this host itself.
const RESOLVERS: [&str; 3] =
    [RESOLV_CONF, "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];
const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// As many name servers are asked as resolv.conf(5) has.
const MOST_SERVERS: usize = 3;
/// How long one of them gets, and how often all are asked.
const PATIENCE: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 2;

/// The addresses of a name, IPv6 first, of those that can be reached.
///
/// # Errors
/// There are none: why, for a person.
pub(super) async fn lookup(name: &str) -> Result<Vec<IpAddr>, String> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let mut found = of_hosts(&read(HOSTS), &name);
    if found.is_empty() {
        found = ask(&name, &name_servers()).await?;
    }
    let mut reachable = Vec::new();
    for address in found {
        if marked(address).await.is_ok() {
            reachable.push(address);
        }
    }
    reachable.sort_by_key(IpAddr::is_ipv4);
    match reachable.is_empty() {
        true => Err("it has no address that can be reached from here".into()),
        false => Ok(reachable),
    }
}

/// The servers that SRV records name (RFC 2782), in no order; as many as one datagram holds. `blocked`: nobody's questions leave but
/// those with our mark, and so none that the host's own resolver asks for us.
///
/// # Errors
/// No server answers: why, for a person.
pub(super) async fn services(name: &str, blocked: bool) -> Result<Vec<Service>, String> {
    let servers = match blocked {
        true => name_servers(),
        false => of_resolv_conf(&read(RESOLV_CONF)),
    };
    let mut why = "this host knows no name server".to_owned();
    for server in core::iter::repeat_n(&servers, ROUNDS).flatten() {
        match services_of(name, *server, blocked).await {
            Ok(found) => return Ok(found),
            Err(error) => why = format!("{server}: {error}"),
        }
    }
    Err(why)
}

async fn services_of(name: &str, server: IpAddr, blocked: bool) -> io::Result<Vec<Service>> {
    let socket = if blocked { marked(server).await? } else { unmarked(server, None).await? };
    let mut id = [0; 2];
    OsEntropy::new().public(&mut id);
    let query = Query { id: u16::from_be_bytes(id), name: name.to_owned(), records: Records::Services };
    let octets = query.emit().ok_or_else(|| io::Error::other("no server knows such a name"))?;
    socket.send(&octets).await?;
    let (until, mut buffer) = (Instant::now() + PATIENCE, [0; LONGEST_ANSWER]);
    while let Ok(count) = tokio::time::timeout_at(until, socket.recv(&mut buffer)).await {
        match query.answer(buffer.get(..count?).unwrap_or_default()) {
            Ok(Answer::Services(services)) => return Ok(services),
            Ok(Answer::Failed(code)) => return Err(io::Error::other(format!("it answers with code {code}"))),
            // Nobody's answer.
            Ok(Answer::Addresses(_)) | Err(_) => {}
        }
    }
    Err(io::Error::other("no answer"))
}

/// What `/etc/hosts` says (hosts(5)).
fn of_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    text.lines().filter_map(address).collect()
}

fn name_servers() -> Vec<IpAddr> {
    let beyond = |file: &str| {
        let mut servers = of_resolv_conf(&read(file));
        servers.retain(|server| !server.is_loopback());
        servers
    };
    RESOLVERS.into_iter().map(beyond).find(|servers| !servers.is_empty()).unwrap_or_default()
}

/// The lines `nameserver` (resolv.conf(5)).
fn of_resolv_conf(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok())?
    };
    text.lines().filter_map(server).take(MOST_SERVERS).collect()
}

/// A few lines at most; what can't be read says nothing.
fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(file)).unwrap_or_default()
}

async fn ask(name: &str, servers: &[IpAddr]) -> Result<Vec<IpAddr>, String> {
    let mut why = "this host knows no name server beyond itself".to_owned();
    for server in core::iter::repeat_n(servers, ROUNDS).flatten() {
        match ask_one(name, *server).await {
            Ok(found) if found.is_empty() => return Err(format!("{server} knows no address of it")),
            Ok(found) => return Ok(found),
            Err(error) => why = format!("{server}: {error}"),
        }
    }
    Err(why)
}

/// Whether a name server answers at all, whatever it says, by that link, or by the way that every program's questions to it
/// take.
///
/// # Errors
/// It does not, or no way leads there.
pub(crate) async fn answers(server: IpAddr, name: &str, link: Option<&str>) -> io::Result<()> {
    let socket = unmarked(server, link).await?;
    let mut id = [0; 2];
    OsEntropy::new().public(&mut id);
    let query = Query { id: u16::from_be_bytes(id), name: name.to_owned(), records: Records::V4 };
    let octets = query.emit().ok_or_else(|| io::Error::other("no server knows such a name"))?;
    let mut buffer = [0; LONGEST_ANSWER];
    for _ in 0..ROUNDS {
        socket.send(&octets).await?;
        let until = Instant::now() + PATIENCE;
        while let Ok(count) = tokio::time::timeout_at(until, socket.recv(&mut buffer)).await {
            if query.answer(buffer.get(..count?).unwrap_or_default()).is_ok() {
                return Ok(());
            }
        }
    }
    Err(io::Error::other(format!("no answer in {} s", (PATIENCE * 2).as_secs())))
}

/// Both families at once. One of them is enough where nothing is said of the other.
async fn ask_one(name: &str, server: IpAddr) -> io::Result<Vec<IpAddr>> {
    let socket = marked(server).await?;
    let mut open = Vec::new();
    for records in [Records::V6, Records::V4] {
        let mut id = [0; 2];
        OsEntropy::new().public(&mut id);
        let query = Query { id: u16::from_be_bytes(id), name: name.to_owned(), records };
        let octets = query.emit().ok_or_else(|| io::Error::other("no server knows such a name"))?;
        socket.send(&octets).await?;
        open.push(query);
    }
    let until = Instant::now() + PATIENCE;
    let (mut found, mut failed, mut buffer) = (Vec::new(), None, [0; LONGEST_ANSWER]);
    while !open.is_empty() {
        let count = match tokio::time::timeout_at(until, socket.recv(&mut buffer)).await {
            Ok(count) => count?,
            Err(_) if found.is_empty() => return Err(io::Error::other("no answer")),
            Err(_) => break,
        };
        let octets = buffer.get(..count).unwrap_or_default();
        // Whatever fits neither question is nobody's answer.
        open.retain(|query| match query.answer(octets) {
            Ok(Answer::Addresses(addresses)) => {
                found.extend(addresses);
                false
            }
            Ok(Answer::Failed(code)) => {
                failed = Some(code);
                false
            }
            Ok(Answer::Services(_)) | Err(_) => true,
        });
    }
    match failed.filter(|_| found.is_empty()) {
        Some(code) => Err(io::Error::other(format!("it answers with code {code}"))),
        None => Ok(found),
    }
}

/// A socket that hears nobody but that server, on a port that nobody can guess. There is none where no way leads there; nothing
/// is sent yet.
async fn marked(server: IpAddr) -> io::Result<UdpSocket> {
    let socket = bound(server).await?;
    setsockopt(&socket, sockopt::Mark, &MARK)?;
    socket.connect(SocketAddr::new(server, PORT)).await?;
    Ok(socket)
}

async fn unmarked(server: IpAddr, link: Option<&str>) -> io::Result<UdpSocket> {
    let socket = bound(server).await?;
    if let Some(link) = link {
        setsockopt(&socket, sockopt::BindToDevice, &link.into())?;
    }
    socket.connect(SocketAddr::new(server, PORT)).await?;
    Ok(socket)
}

async fn bound(server: IpAddr) -> io::Result<UdpSocket> {
    let any =
        if server.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind(SocketAddr::new(any, 0)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_name_servers_are_read_as_their_manuals_say() {
        let hosts = "127.0.0.1 localhost\n# 192.0.2.9 vpn.example.com\n192.0.2.1\tother VPN.example.com # x\n2001:db8::1 vpn.example.com\nnonsense vpn.example.com";
        let both: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(of_hosts(hosts, "vpn.example.com"), both);
        assert!(of_hosts(hosts, "example.com").is_empty());
        let conf = "# nameserver 192.0.2.9\nsearch x\nnameserver 192.0.2.1\nnameserver nonsense\nnameserver 2001:db8::1\noptions edns0";
        assert_eq!(of_resolv_conf(conf), both);
    }
}
