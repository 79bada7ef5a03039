use std::borrow::Cow;

use adit_dbus_api::{
    ChildParts, ConnectionRow, ConnectionState, ConnectionStatus, Role, Traffic, TriedParts,
};

use super::human::{ago, count, date, size};
use super::{Palette, clean, columns, wrap};

/// A line each. The columns are for scripts, too: they do not change, and no cell has a space.
pub(crate) fn table(connections: &[ConnectionRow], now: u64, palette: Palette) -> String {
    let header = ["NAME", "ROLE", "STATE", "SINCE", "INTERFACE", "ADDRESS", "PEER"];
    // Borrowed where that can be: a server has 20,000 of them.
    let rows: Vec<[Cow<'_, str>; 7]> = connections
        .iter()
        .map(|c| {
            let address = match c.addresses.as_slice() {
                [one] => word(bare(one)),
                all => all.iter().map(|a| word(bare(a))).collect::<Vec<_>>().join(",").into(),
            };
            let since = if c.since == 0 { String::new() } else { ago(now.saturating_sub(c.since)) };
            [
                word(&c.profile),
                word(&c.role),
                word(&c.state),
                since.into(),
                word(&c.interface),
                address,
                word(&c.remote_endpoint),
            ]
        })
        .collect();
    columns(header, &rows, 2, palette)
}

/// A cell without spaces.
fn word(text: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_graphic();
    if text.bytes().all(plain) { text.into() } else { clean(text).replace(' ', "_").into() }
}

/// The line that ends a successful `ctl up`.
pub(crate) fn up_line(c: &ConnectionStatus, palette: Palette) -> String {
    let addresses = c.addresses.iter().map(|a| bare(a)).collect::<Vec<_>>().join(", ");
    let mut parts = vec![c.interface.clone(), addresses];
    if !c.remote_endpoint.is_empty() {
        parts.push(format!("to {}", path_of(&c.remote_endpoint, c)));
    }
    parts.retain(|p| !p.is_empty());
    let (name, up) = (palette.bold(clean(&c.profile)), palette.green("up"));
    format!("{name} is {up}: {}", clean(&parts.join(", ")))
}

/// Everything about a connection.
pub(crate) fn block(
    c: &ConnectionStatus,
    traffic: Option<Traffic>,
    now: u64,
    palette: Palette,
    width: usize,
) -> String {
    let since = match c.since {
        0 => String::new(),
        t => format!(" since {} ({})", date(t), ago(now.saturating_sub(t))),
    };
    let state = palette.state(c.state.as_str(), c.state.as_str());
    let mut out = format!("{}: {state}{since}\n", palette.bold(clean(&c.profile)));
    for (label, text) in facts(c, traffic, now) {
        if !text.is_empty() {
            let text = wrap(&clean(&text), 14, 14, width);
            out.push_str(&format!("  {}{text}\n", palette.dim(format!("{label:<12}"))));
        }
    }
    out
}

fn facts(c: &ConnectionStatus, traffic: Option<Traffic>, now: u64) -> Vec<(&'static str, String)> {
    let (server, client) = (c.server.as_str(), c.role == Role::Client);
    let proven = match (client, server == c.remote_identity, c.remote_identity.as_str()) {
        (_, _, "") => server.to_owned(),
        (true, true, _) => format!("{server} (proven)"),
        (true, false, id) => format!("{server}, which has proven to be {id}"),
        (false, _, id) => id.to_owned(),
    };
    let path = match (c.local_endpoint.as_str(), c.remote_endpoint.as_str()) {
        ("", "") => String::new(),
        (local, remote) => format!("{local} to {}", path_of(remote, c)),
    };
    let path = match (c.state == ConnectionState::Dormant, c.uplink.as_str(), path.as_str()) {
        (_, _, "") => path,
        (true, ..) => format!("none; the last was {path}"),
        (false, "", _) => path,
        (false, uplink, _) => format!("{path}, over {uplink}"),
    };
    let tried = c.tried.iter().map(|tried| ("tried", tried_of(tried)));
    let mut out = vec![
        (if client { "server" } else { "client" }, proven),
        ("gateway", if c.gateway == server { String::new() } else { c.gateway.clone() }),
        ("we are", c.local_identity.clone()),
    ];
    out.extend(tried);
    out.extend([
        ("path", path),
        ("interface", c.interface.clone()),
        ("addresses", c.addresses.join(", ")),
        ("DNS", dns(c)),
        ("routes", c.routes.join(", ")),
    ]);
    if let Some(t) = traffic {
        let way = |bytes, packets| format!("{} ({} packets)", size(bytes), count(packets));
        out.push(("received", way(t.bytes_in, t.packets_in)));
        out.push(("sent", way(t.bytes_out, t.packets_out)));
    }
    let resumed = if c.resumed { ", its session resumed" } else { "" };
    match ppp(c) {
        Some(_) => out.extend([("log-in", c.ike_suite.clone()), ("encryption", c.esp_suite.clone())]),
        None => {
            out.extend([("IKE", format!("{}{resumed}", c.ike_suite)), ("ESP", c.esp_suite.clone())]);
        }
    }
    if !c.legacy.is_empty() {
        let wanted = if ppp(c).is_some() { "" } else { " (legacy = true)" };
        out.push(("legacy", format!("{}: can be broken{wanted}", c.legacy.join(", "))));
    }
    // The one and only says no more than what stands above.
    let several = c.children.iter().filter(|_| c.children.len() > 1);
    out.extend(several.map(|child| ("child", child_of(child))));
    out.push(("rekeys", rekeys(c, now)));
    out.push(("moves", moves(c, now)));
    // Who is on the way from one network to another has done all of them.
    if !matches!(c.state, ConnectionState::Connected | ConnectionState::Waiting | ConnectionState::Dormant) {
        out.push(("step", c.step.clone()));
    }
    if let Some(failure) = &c.last_error {
        out.push(("last error", format!("{} ({})", failure.text, failure.code)));
        out.push(("peer", failure.peer.clone().unwrap_or_default()));
        out.push(("next", failure.hint.clone().unwrap_or_default()));
    }
    out
}

/// `10.0.0.53, for corp.example.com`.
fn dns(c: &ConnectionStatus) -> String {
    let server = |server: &String| match c.dns_silent.contains(server) {
        true => format!("{server} (does not answer)"),
        false => server.clone(),
    };
    let servers = c.dns.iter().map(server).collect::<Vec<_>>().join(", ");
    if c.dns_domains.is_empty() { servers } else { format!("{servers}, for {}", c.dns_domains.join(", ")) }
}

/// The newest first: `2, to wlan0 (192.168.1.7) 40 s ago, to wwan0 (10.20.0.4) 3 min ago`.
fn moves(c: &ConnectionStatus, now: u64) -> String {
    let one = |(at, link, local, _): &adit_dbus_api::MoveParts| {
        let host = local.rsplit_once(':').map_or(local.as_str(), |(host, _)| host);
        format!("to {link} ({host}) {} ago", ago(now.saturating_sub(*at)))
    };
    let newest: Vec<String> = c.moves.iter().rev().take(SHOWN_MOVES).map(one).collect();
    match newest.is_empty() {
        true => String::new(),
        false => format!("{}: {}", count(c.moves.len() as u64), newest.join(", ")),
    }
}

/// So many moves are told.
const SHOWN_MOVES: usize = 3;

fn child_of((name, mode, esp, local, remote): &ChildParts) -> String {
    let name = if name.is_empty() { "first" } else { name };
    format!("{name}: {} to {} ({mode}, {esp})", local.join(", "), remote.join(", "))
}

fn rekeys(c: &ConnectionStatus, now: u64) -> String {
    match (c.rekeys, c.next_rekey) {
        (0, 0) => String::new(),
        (n, 0) => count(n),
        (n, next) => format!("{}, next within {}", count(n), ago(next.saturating_sub(now))),
    }
}

fn path_of(remote: &str, c: &ConnectionStatus) -> String {
    let by = match ppp(c) {
        Some(carriage) => carriage,
        None if c.encapsulated => "ESP in UDP",
        None => "ESP",
    };
    format!("{remote}, {by}")
}

/// `IKEv2 to 203.0.113.1: no answer in 8 s (server-unreachable)`.
fn tried_of((tunnel, to, code, text): &TriedParts) -> String {
    let name = match tunnel.as_str() {
        "ikev2" => "IKEv2",
        other => carriage(other).unwrap_or(other),
    };
    format!("{name} to {to}: {text} ({code})")
}

/// What carries a PPP link. `None`: PPP is not what is carried.
fn ppp(c: &ConnectionStatus) -> Option<&'static str> {
    carriage(&c.tunnel)
}

fn carriage(tunnel: &str) -> Option<&'static str> {
    match tunnel {
        "pptp" => Some("PPTP"),
        "sstp" => Some("SSTP"),
        "l2tp" => Some("L2TP"),
        _ => None,
    }
}

/// An address without the length of a host's prefix.
pub(crate) fn bare(address: &str) -> &str {
    address.strip_suffix("/32").or_else(|| address.strip_suffix("/128")).unwrap_or(address)
}

#[cfg(test)]
pub(crate) mod tests {
    use adit_core::{Failure, FailureCode, Step};

    use super::*;

    pub(crate) fn connected() -> ConnectionStatus {
        ConnectionStatus {
            path: "/org/adit1/connection/7".into(),
            profile: "corp".into(),
            role: Role::Client,
            state: ConnectionState::Connected,
            step: "established".into(),
            since: 1_795_174_807,
            server: "vpn.example.com".into(),
            local_endpoint: "192.0.2.7:4500".into(),
            remote_endpoint: "198.51.100.1:4500".into(),
            encapsulated: true,
            interface: "adit0".into(),
            addresses: vec!["172.23.91.1/32".into(), "fd00:9::7/128".into()],
            dns: vec!["10.0.0.53".into()],
            dns_domains: vec![],
            dns_silent: vec![],
            routes: vec!["0.0.0.0/0".into(), "::/0".into()],
            remote_identity: "vpn.example.com".into(),
            local_identity: "alice@example.com".into(),
            tunnel: "ikev2".into(),
            tried: vec![],
            ike_suite: "aes256gcm16-prfsha256-x25519".into(),
            esp_suite: "aes256gcm16".into(),
            resumed: false,
            gateway: "vpn.example.com".into(),
            children: vec![(
                String::new(),
                "tunnel".into(),
                "aes256gcm16".into(),
                vec!["172.23.91.1/32".into()],
                vec!["0.0.0.0/0".into()],
            )],
            legacy: vec![],
            rekeys: 2,
            next_rekey: 1_795_178_407,
            uplink: String::new(),
            moves: Vec::new(),
            wanted_secret: None,
            last_error: None,
        }
    }

    pub(crate) fn failed() -> ConnectionStatus {
        let failure =
            Failure::new(FailureCode::ServerUnreachable, Step::IkeInit, "the server does not answer")
                .hint("ctl doctor");
        ConnectionStatus {
            profile: "home-office".into(),
            state: ConnectionState::Failed,
            step: "ike-sa-init".into(),
            server: "192.0.2.99".into(),
            local_endpoint: String::new(),
            remote_endpoint: String::new(),
            interface: String::new(),
            addresses: vec![],
            dns: vec![],
            dns_domains: vec![],
            dns_silent: vec![],
            routes: vec![],
            remote_identity: String::new(),
            tunnel: "ikev2".into(),
            tried: vec![],
            ike_suite: String::new(),
            esp_suite: String::new(),
            gateway: String::new(),
            children: vec![],
            rekeys: 0,
            next_rekey: 0,
            uplink: String::new(),
            moves: Vec::new(),
            wanted_secret: None,
            last_error: Some(failure),
            ..connected()
        }
    }

    pub(crate) fn row(c: ConnectionStatus) -> ConnectionRow {
        ConnectionRow {
            number: 7,
            profile: c.profile,
            role: c.role.as_str().into(),
            state: c.state.as_str().into(),
            since: c.since,
            interface: c.interface,
            addresses: c.addresses,
            remote_endpoint: c.remote_endpoint,
            remote_identity: c.remote_identity,
        }
    }

    const PLAIN: Palette = Palette { colour: false };
    const NOW: u64 = 1_795_174_807 + 192;

    #[test]
    fn the_table_has_stable_columns() {
        let rows = [connected(), failed()].map(row);
        assert_eq!(
            table(&rows, NOW, PLAIN),
            "\
NAME         ROLE    STATE      SINCE  INTERFACE  ADDRESS                PEER
corp         client  connected  3m12s  adit0      172.23.91.1,fd00:9::7  198.51.100.1:4500
home-office  client  failed     3m12s  -          -                      -
"
        );
        let coloured = table(&rows, NOW, Palette { colour: true });
        assert!(
            coloured.contains("\x1b[32mconnected  \x1b[0m3m12s")
                && coloured.contains("\x1b[31mfailed     \x1b[0m")
        );
        for line in table(&rows, NOW, PLAIN).lines() {
            assert_eq!(line.split_whitespace().count(), 7);
        }
    }

    #[test]
    fn a_ppp_link_has_neither_ike_nor_esp() {
        let [tunnel, ike_suite, esp_suite] = ["pptp", "MS-CHAPv2", "MPPE-128 stateless"].map(str::to_owned);
        let legacy = vec!["PPTP".to_owned()];
        let link =
            ConnectionStatus { tunnel, ike_suite, esp_suite, legacy, encapsulated: false, ..connected() };
        let shown = block(&link, None, NOW, PLAIN, 100) + &up_line(&link, PLAIN);
        assert!(!["ESP", "IKE", "legacy = true"].iter().any(|word| shown.contains(word)), "{shown}");
        assert!(shown.contains("encryption") && shown.contains(", PPTP"), "{shown}");
    }

    #[test]
    fn without_a_way_out_the_last_path_is_no_path() {
        let dormant = ConnectionStatus { state: ConnectionState::Dormant, ..connected() };
        let shown = block(&dormant, None, NOW, PLAIN, 100);
        let line = "  path        none; the last was 192.0.2.7:4500 to 198.51.100.1:4500, ESP in UDP\n";
        assert!(shown.contains(line) && !shown.contains("  step "), "{shown}");
        let over =
            ConnectionStatus { state: ConnectionState::Waiting, uplink: "wwan0".into(), ..connected() };
        assert!(block(&over, None, NOW, PLAIN, 100).contains("ESP in UDP, over wwan0\n"));
    }

    #[test]
    fn what_ppp_carries_is_not_called_esp() {
        let sstp = ConnectionStatus {
            tunnel: "sstp".into(),
            ike_suite: "MS-CHAPv2".into(),
            esp_suite: "TLS 1.3, AES-256-GCM; packets by a TUN".into(),
            encapsulated: false,
            remote_endpoint: "198.51.100.1:443".into(),
            ..connected()
        };
        let shown = block(&sstp, None, NOW, PLAIN, 100);
        for line in [
            "to 198.51.100.1:443, SSTP\n",
            "  log-in      MS-CHAPv2\n",
            "  encryption  TLS 1.3, AES-256-GCM; packets",
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
        assert!(!shown.contains("ESP") && !shown.contains("IKE"), "{shown}");
    }

    #[test]
    fn the_block_says_everything() {
        let traffic =
            Traffic { bytes_in: 1_258_291, bytes_out: 348_160, packets_in: 1_034, packets_out: 512 };
        assert_eq!(
            block(&connected(), Some(traffic), NOW, PLAIN, 80),
            "\
corp: connected since 2026-11-20 11:40:07 UTC (3m12s)
  server      vpn.example.com (proven)
  we are      alice@example.com
  path        192.0.2.7:4500 to 198.51.100.1:4500, ESP in UDP
  interface   adit0
  addresses   172.23.91.1/32, fd00:9::7/128
  DNS         10.0.0.53
  routes      0.0.0.0/0, ::/0
  received    1.19 MiB (1,034 packets)
  sent        340 KiB (512 packets)
  IKE         aes256gcm16-prfsha256-x25519
  ESP         aes256gcm16
  rekeys      2, next within 56m48s
"
        );
        let child = |name: &str| {
            let (_, mode, esp, local, remote) = connected().children.remove(0);
            (name.to_owned(), mode, esp, local, remote)
        };
        let old = ConnectionStatus {
            gateway: "198.51.100.1".into(),
            legacy: vec!["3des".into(), "modp1024".into()],
            children: vec![child(""), child("voice")],
            ..connected()
        };
        let shown = block(&old, None, NOW, PLAIN, 100);
        for line in [
            "  gateway     198.51.100.1\n",
            "  legacy      3des, modp1024: can be broken (legacy = true)\n",
            "  child       voice: 172.23.91.1/32 to 0.0.0.0/0 (tunnel, aes256gcm16)\n",
        ] {
            assert!(shown.contains(line), "{shown}");
        }
        assert_eq!(
            block(&failed(), None, NOW, PLAIN, 80),
            "\
home-office: failed since 2026-11-20 11:40:07 UTC (3m12s)
  server      192.0.2.99
  we are      alice@example.com
  step        ike-sa-init
  last error  the server does not answer (server-unreachable)
  next        ctl doctor
"
        );
    }

    #[test]
    fn the_last_line_of_up() {
        assert_eq!(
            up_line(&connected(), PLAIN),
            "corp is up: adit0, 172.23.91.1, fd00:9::7, to 198.51.100.1:4500, ESP in UDP"
        );
        assert!(
            up_line(&connected(), Palette { colour: true })
                .starts_with("\x1b[1mcorp\x1b[0m is \x1b[32mup\x1b[0m: ")
        );
    }
}
