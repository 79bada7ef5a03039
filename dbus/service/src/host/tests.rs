//! Against the running kernel, in a network namespace of its own. The test runs itself there: as root in a plain
//! one, else as root of a user namespace.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test enters a namespace by running itself"
)]

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use adit_core::Prefix;
use adit_xfrm_kernel::{KernelXfrm, XfrmDoor};

use super::*;

/// Runs `body` in a fresh network namespace with a veth pair `v0` (192.0.2.1/24, 2001:db8::1/64) and `v1`.
pub(super) fn in_namespace<F: Future<Output = ()>>(test: &str, body: impl FnOnce(Arc<dyn Host>) -> F) {
    if std::env::var_os("ADIT_TEST_NAMESPACE").is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(async {
            for command in [
                "ip link set lo up",
                "ip link add v0 type veth peer name v1",
                "ip address add 192.0.2.1/24 dev v0",
                "ip address add 2001:db8::1/64 dev v0 nodad",
                "ip link set v0 up",
                "ip link set v1 up",
                "ip route add default via 192.0.2.254",
            ] {
                show(command);
            }
            // Without DAD, too, the kernel makes an address its own by a worker of its own: what is noted down before is another host.
            let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while !show("ip -6 route show table local").contains("local 2001:db8::1 dev v0") {
                assert!(std::time::Instant::now() < until, "the address is not its own");
                tokio::task::yield_now().await;
            }
            body(Arc::new(KernelHost::open().unwrap())).await;
        });
    }
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let path = if test.contains("::") { format!("host::{test}") } else { format!("host::tests::{test}") };
    let out = Command::new("unshare")
        .args([if root { "-n" } else { "-rn" }, "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &path, "--nocapture", "--test-threads=1"])
        .env("ADIT_TEST_NAMESPACE", "1")
        .output()
        .expect("unshare (util-linux) makes the namespace that this test runs in");
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
}

pub(super) fn show(command: &str) -> String {
    let mut words = command.split_whitespace();
    let out = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Everything that a change can touch, except what the veth pair does by itself while it comes up.
pub(super) fn state_of_the_host() -> String {
    let commands = [
        "ip -o link",
        "ip -o address",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule",
        "ip -6 rule",
        "ip neighbour show proxy",
        "ip -6 neighbour show proxy",
        "sysctl -a --pattern ^net\\.(ipv4\\.ip_forward|.*\\.(forwarding|rp_filter|accept_ra|proxy_ndp))$",
    ];
    let text = commands.map(show).concat();
    let comes_up = ["NO-CARRIER,", ",LOWER_UP", " state LOWERLAYERDOWN", " state UP", " linkdown"];
    let still = comes_up.iter().fold(text, |text, word| text.replace(word, ""));
    still
        .lines()
        .filter(|l| !l.contains("fe80::") && !l.contains("ff00::"))
        .fold(String::new(), |all, l| all + l + "\n")
}

pub(super) fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub(super) fn changes(host: &Arc<dyn Host>, folder: &Path, name: &str) -> Changes {
    Changes::new(Arc::clone(host), Journal::open(folder, name).unwrap())
}

#[test]
fn many_ask_for_links_at_once() {
    in_namespace("many_ask_for_links_at_once", async |host| {
        let asked = futures_util::future::join_all((0..16).map(|_| host.links())).await;
        assert!(asked.iter().all(|links| links.as_ref().is_ok_and(|l| l.len() == 3)), "{asked:?}");
    });
}

#[test]
fn a_tunnels_changes_come_and_go() {
    in_namespace("a_tunnels_changes_come_and_go", async |host: Arc<dyn Host>| {
        let folder = tempfile::tempdir().unwrap();
        let before = state_of_the_host();
        let changes = changes(&host, folder.path(), "corp");
        for address in ["10.9.0.2/32", "fd00:9::2/128"] {
            let link = "v0".into();
            changes.make(&Change::Address { link, address: prefix(address) }).await.unwrap();
        }
        let sources = ["10.9.0.2".parse().unwrap()];
        changes
            .make_all(&tunnel_routes("v0", 0x4100_0001, &sources, &[Prefix::ANY_V4]), &mut Vec::new())
            .await
            .unwrap();

        let v4 = show("ip route show table 1090519041");
        assert!(v4.contains("default dev v0 proto 98 scope link src 10.9.0.2 metric 50"), "{v4}");
        assert!(v4.contains("unreachable default proto 98 metric 4294967294"), "{v4}");
        let v6 = show("ip -6 route show table 1090519041");
        assert!(
            v6.contains("unreachable default") && !v6.contains("v0"),
            "a family without an address is refused: {v6}"
        );
        assert!(
            show("ip rule").contains("not from all fwmark 0xad000000/0xff000000 lookup 1090519041 proto 98")
        );
        assert!(show("ip -6 rule").contains("lookup 1090519041"));
        assert!(show("ip route get 198.51.100.7").contains("src 10.9.0.2"), "packets go into the tunnel");
        assert!(
            show("ip route get 198.51.100.7 mark 0xad000000").contains("via 192.0.2.254"),
            "and its own do not"
        );

        let path = host.path_to("198.51.100.7".parse().unwrap()).await.unwrap();
        assert_eq!((path.link.as_str(), path.mtu), ("v0", 1500));
        assert_eq!((path.source, path.gateway), ("192.0.2.1".parse().unwrap(), "192.0.2.254".parse().ok()));
        let v6_peer = host.path_to("2001:db8::9".parse().unwrap()).await.unwrap();
        assert_eq!((v6_peer.source, v6_peer.gateway), ("2001:db8::1".parse().unwrap(), None));

        assert_eq!(changes.undo_all().await.len(), 0);
        assert_eq!(state_of_the_host(), before);
        assert!(leftovers(folder.path()).unwrap().is_empty());
    });
}

/// As where NetworkManager has raised a full tunnel: its default route stands in `main`.
#[test]
fn gre_does_not_go_into_its_own_tunnel() {
    in_namespace("gre_does_not_go_into_its_own_tunnel", async |host: Arc<dyn Host>| {
        let folder = tempfile::tempdir().unwrap();
        show("ip route del default");
        show("ip route add default via 192.0.2.254 metric 100");
        let before = state_of_the_host();
        let changes = changes(&host, folder.path(), "corp");
        let server: IpAddr = "203.0.113.1".parse().unwrap();
        let uplink = host.path_to(server).await.unwrap();
        let target = Target::Gateway { link: "v0".into(), gateway: "192.0.2.254".parse().unwrap() };
        let table = UPLINK_TABLES + uplink.link_index;
        let route = Route { table, destination: Prefix::ANY_V4, target, source: None, metric: 100 };
        changes.make(&Change::Route(route)).await.unwrap();
        changes.make_all(&gre_rules(server, &uplink), &mut Vec::new()).await.unwrap();
        // (`ip route get` asks for no GRE: the scenario `nm-up-pptp` shows the way that it takes.)
        let rules = show("ip rule show to 203.0.113.1");
        let tables: Vec<&str> =
            rules.lines().filter_map(|line| line.trim().split("lookup ").nth(1)).collect();
        assert_eq!(tables, [format!("{table} proto 98"), "main proto 98".to_owned()], "{rules}");
        // By its number where /etc/protocols has no name for it.
        let of_gre = |line: &str| line.contains("ipproto gre") || line.contains("ipproto 47");
        assert!(rules.lines().all(of_gre), "{rules}");
        assert_eq!(changes.undo_all().await.len(), 0);
        assert_eq!(state_of_the_host(), before);
    });
}

#[test]
fn no_route_is_said_so() {
    in_namespace("no_route_is_said_so", async |host: Arc<dyn Host>| {
        show("ip route del default");
        let error = host.path_to("198.51.100.7".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.failure().code, adit_core::FailureCode::ServerUnreachable, "{error}");
    });
}

#[test]
fn a_dead_daemons_changes_are_undone_at_the_next_start() {
    in_namespace("a_dead_daemons_changes_are_undone_at_the_next_start", async |host: Arc<dyn Host>| {
        let folder = tempfile::tempdir().unwrap();
        let before = state_of_the_host();
        let dead = changes(&host, folder.path(), "corp");
        dead.make(&Change::Address { link: "v0".into(), address: prefix("10.9.0.2/32") }).await.unwrap();
        dead.make_all(&tunnel_routes("v0", 0x4100_0001, &[], &[prefix("10.0.0.0/8")]), &mut Vec::new())
            .await
            .unwrap();
        drop(dead);
        assert_ne!(state_of_the_host(), before, "while no daemon lives, what stands stays");

        // It died in the middle of writing, before that step's change.
        use std::io::Write;
        let mut file =
            std::fs::OpenOptions::new().append(true).open(folder.path().join("corp.journal")).unwrap();
        file.write_all(b"{\"n\":99,\"undo\":{\"Nft").unwrap();

        let xfrm: Arc<dyn XfrmDoor> = Arc::new(KernelXfrm::new());
        let fresh: Arc<dyn Host> = Arc::new(KernelHost::open().unwrap());
        let kept = Kept { journals: ["corp".to_owned()].into(), ..Kept::default() };
        assert!(reconcile(&fresh, &xfrm, folder.path(), &kept).await.is_empty());
        assert_ne!(state_of_the_host(), before, "what was taken over stands");
        assert!(reconcile(&fresh, &xfrm, folder.path(), &Kept::default()).await.is_empty());
        assert_eq!(state_of_the_host(), before);
        assert!(leftovers(folder.path()).unwrap().is_empty());
    });
}

#[test]
fn a_refused_change_leaves_no_step() {
    in_namespace("a_refused_change_leaves_no_step", async |host: Arc<dyn Host>| {
        let folder = tempfile::tempdir().unwrap();
        let changes = changes(&host, folder.path(), "corp");
        let address = Change::Address { link: "v0".into(), address: prefix("192.0.2.1/24") };
        assert_eq!(changes.make(&address).await.unwrap_err().errno(), Some(nix::errno::Errno::EEXIST));
        assert!(changes.is_empty(), "or its undo would remove what was not ours");
        let nowhere = Change::Address { link: "gone".into(), address: prefix("192.0.2.1/24") };
        assert!(matches!(changes.make(&nowhere).await, Err(HostError::NoLink(_))));
        assert!(changes.is_empty());
    });
}

#[test]
fn what_stands_before_a_refused_change_is_known_and_what_comes_after_is_not_made() {
    let name = "what_stands_before_a_refused_change_is_known_and_what_comes_after_is_not_made";
    in_namespace(name, async |host: Arc<dyn Host>| {
        let folder = tempfile::tempdir().unwrap();
        let before = state_of_the_host();
        let changes = changes(&host, folder.path(), "corp");
        let address = |a: &str| Change::Address { link: "v0".into(), address: prefix(a) };
        let wanted = [address("10.9.0.2/32"), address("192.0.2.1/24"), address("10.9.0.3/32")];
        let mut made = Vec::new();
        let refused = changes.make_all(&wanted, &mut made).await.unwrap_err();
        assert_eq!((refused.place, refused.why.errno()), (1, Some(nix::errno::Errno::EEXIST)));
        let now = state_of_the_host();
        assert!(now.contains("10.9.0.2") && !now.contains("10.9.0.3"), "{now}");
        let steps: Vec<u64> = leftovers(folder.path()).unwrap()[0].steps().map(|(n, _)| n).collect();
        assert_eq!(made, [Some(steps[0])], "{steps:?}");
        assert_eq!(steps.len(), 1, "the others' undos would remove what is not ours");
        assert_eq!(changes.undo_all().await.len(), 0);
        assert_eq!(state_of_the_host(), before);
    });
}

#[test]
fn settings_return_when_the_last_holder_goes() {
    in_namespace("settings_return_when_the_last_holder_goes", async |host: Arc<dyn Host>| {
        let folder = tempfile::tempdir().unwrap();
        super::sysctl::write("net/ipv4/conf/v0/rp_filter", "1").unwrap();
        super::sysctl::write("net/ipv6/conf/v0/forwarding", "1").unwrap();
        let before = state_of_the_host();
        let value = || super::sysctl::read("net/ipv4/conf/v0/rp_filter").unwrap().unwrap();
        let (a, b) = (changes(&host, folder.path(), "a"), changes(&host, folder.path(), "b"));
        a.make_all(&loosen_reverse_path(host.as_ref(), "v0").await.unwrap(), &mut Vec::new()).await.unwrap();
        b.make_all(&loosen_reverse_path(host.as_ref(), "v0").await.unwrap(), &mut Vec::new()).await.unwrap();
        assert_eq!(value(), "2");
        assert!(a.undo_all().await.is_empty());
        assert_eq!(value(), "2", "b still needs it");
        assert!(b.undo_all().await.is_empty());
        assert_eq!(value(), "1");

        let all = forwarding(host.as_ref(), true, true).await.unwrap();
        a.make_all(&all, &mut Vec::new()).await.unwrap();
        assert_eq!(super::sysctl::read("net/ipv6/conf/v1/accept_ra").unwrap().as_deref(), Some("2"));
        assert!(a.undo_all().await.is_empty());
        assert_eq!(state_of_the_host(), before, "one link's own forwarding survives");
    });
}

#[test]
fn proxies_are_per_lease() {
    in_namespace("proxies_are_per_lease", async |host: Arc<dyn Host>| {
        let folder = tempfile::tempdir().unwrap();
        let before = state_of_the_host();
        let changes = changes(&host, folder.path(), "server");
        for lease in ["192.0.2.77", "2001:db8::77"] {
            let address: IpAddr = lease.parse().unwrap();
            if address.is_ipv6() {
                let ndp = Change::Setting { key: "net/ipv6/conf/v0/proxy_ndp".into(), value: "1".into() };
                changes.make(&ndp).await.unwrap();
            }
            changes.make(&Change::ProxyNeighbour { link: "v0".into(), address }).await.unwrap();
        }
        assert!(show("ip neighbour show proxy").contains("192.0.2.77 dev v0 proxy"));
        assert!(show("ip -6 neighbour show proxy").contains("2001:db8::77 dev v0 proxy"));
        assert!(changes.undo_all().await.is_empty());
        assert_eq!(state_of_the_host(), before);
    });
}

fn has_nft() -> bool {
    ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"].iter().any(|p| Path::new(p).exists())
}

async fn says_what_is_missing(changes: &Changes) {
    let error = changes.make(&Block::of("adit0", vec![], false).change(&[])).await.unwrap_err();
    assert_eq!(error.failure().hint.as_deref(), Some("apt install nftables"));
    assert!(changes.is_empty());
}

#[test]
fn nft_takes_our_tables_and_gives_them_back() {
    in_namespace("nft_takes_our_tables_and_gives_them_back", async |host: Arc<dyn Host>| {
        let folder = tempfile::tempdir().unwrap();
        let changes = changes(&host, folder.path(), "corp");
        if !has_nft() {
            return says_what_is_missing(&changes).await;
        }
        let before = show("nft list ruleset");
        let block = Block { inside: vec!["docker0".into()], ..Block::of("adit0", vec![], false) };
        changes.make(&block.change(&[])).await.unwrap();
        changes.make(&block.change(&[])).await.unwrap();
        let nat = Nat {
            pools: vec![prefix("10.9.0.0/24").range(), prefix("fd00:9::/112").range()],
            tunnels: vec!["adit0".into()],
            uplinks: vec![],
        };
        changes.make(&nat.change()).await.unwrap();
        let rules = show("nft list ruleset");
        assert!(rules.contains("table inet adit-adit0") && rules.contains("policy drop"), "{rules}");
        assert!(rules.contains("0xad000000") && rules.contains("\"docker0\" accept"), "{rules}");
        assert_eq!(rules.matches("masquerade").count(), 2, "{rules}");
        assert!(changes.undo_all().await.is_empty());
        assert_eq!(show("nft list ruleset"), before);
    });
}

#[test]
fn a_block_lets_only_the_tunnels_own_packets_out() {
    in_namespace("a_block_lets_only_the_tunnels_own_packets_out", async |host: Arc<dyn Host>| {
        let folder = tempfile::tempdir().unwrap();
        show("ip neighbour add 192.0.2.254 lladdr 02:00:00:00:00:01 dev v0 nud permanent");
        let plain = tokio::net::UdpSocket::bind("192.0.2.1:0").await.unwrap();
        let marked = std::net::UdpSocket::bind("192.0.2.1:0").unwrap();
        nix::sys::socket::setsockopt(&marked, nix::sys::socket::sockopt::Mark, &MARK).unwrap();
        let far = "198.51.100.7:500";
        assert!(plain.send_to(b"before", far).await.is_ok());
        let changes = changes(&host, folder.path(), "corp");
        if !has_nft() {
            return says_what_is_missing(&changes).await;
        }
        changes.make(&Block::of("adit0", vec![], false).change(&[])).await.unwrap();
        let refused = plain.send_to(b"during", far).await.unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(nix::errno::Errno::EPERM as i32));
        assert!(marked.send_to(b"during", far).is_ok());
        let local = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert!(local.send_to(b"during", local.local_addr().unwrap()).await.is_ok());
        assert!(changes.undo_all().await.is_empty());
        assert!(plain.send_to(b"after", far).await.is_ok());
    });
}

/// Also where nobody has said yet that the host has gone to another network.
#[test]
fn a_block_with_local_networks_lets_out_what_stays_in_them() {
    in_namespace("a_block_with_local_networks_lets_out_what_stays_in_them", async |host: Arc<dyn Host>| {
        let folder = tempfile::tempdir().unwrap();
        let changes = changes(&host, folder.path(), "corp");
        if !has_nft() {
            return;
        }
        for command in [
            "ip address add 192.168.1.1/24 dev v0",
            "ip address add 10.0.0.1/8 dev v0",
            "ip address add fd00:1::1/64 dev v0 nodad",
            "ip neighbour add 192.168.1.20 lladdr 02:00:00:00:00:02 dev v0 nud permanent",
            "ip neighbour add 192.168.1.254 lladdr 02:00:00:00:00:03 dev v0 nud permanent",
            "ip neighbour add fd00:1::20 lladdr 02:00:00:00:00:02 dev v0 nud permanent",
            "ip neighbour add 192.0.2.20 lladdr 02:00:00:00:00:02 dev v0 nud permanent",
            "ip neighbour add 10.1.1.20 lladdr 02:00:00:00:00:02 dev v0 nud permanent",
            "ip neighbour add 192.0.2.254 lladdr 02:00:00:00:00:01 dev v0 nud permanent",
        ] {
            show(command);
        }
        let mut networks = host.local_networks().await.unwrap();
        let link_local = networks.extract_if(.., |n| n.is_of_any_link()).count();
        assert!(link_local <= 2, "one a link, as they come up");
        let found: Vec<String> = networks.iter().map(|n| format!("{} {}", n.link, n.network)).collect();
        assert_eq!(found, ["v0 192.168.1.0/24", "v0 fd00:1::/64"]);
        changes.make_all(&local_routes(&networks), &mut Vec::new()).await.unwrap();
        changes.make(&Block::of("adit0", vec![], true).change(&networks)).await.unwrap();
        let v4 = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        v4.set_broadcast(true).unwrap();
        let v6 = std::net::UdpSocket::bind("[::]:0").unwrap();
        for to in [
            "192.168.1.20:80",
            "192.168.1.255:9",
            "224.0.0.251:5353",
            "239.255.255.250:1900",
            "255.255.255.255:9",
        ] {
            assert!(v4.send_to(b"local", to).is_ok(), "{to}");
        }
        assert!(v6.send_to(b"local", "[fd00:1::20]:80").is_ok());
        let name_servers = ["192.168.1.20:53", "192.168.1.20:853"];
        for to in name_servers.into_iter().chain([
            "192.0.2.20:80",
            "198.51.100.7:80",
            "10.1.1.20:80",
            "239.1.1.1:80",
        ]) {
            assert!(v4.send_to(b"not local", to).is_err(), "{to}");
        }
        show("ip route add fd00:2::/64 via fd00:1::20");
        assert!(v6.send_to(b"not local", "[fd00:2::20]:80").is_err());
        // Elsewhere, where these numbers are nobody's here.
        show("ip rule del priority 16980");
        show("ip address del 192.168.1.1/24 dev v0");
        assert!(v4.send_to(b"by the router", "192.168.1.20:80").is_err());
        // A router of theirs is no way out either.
        show("ip address add 192.168.1.1/24 dev v0");
        show("ip route add 198.51.100.0/24 via 192.168.1.254");
        assert!(v4.send_to(b"by the router", "198.51.100.7:80").is_err());
        assert!(v4.send_to(b"local", "192.168.1.20:80").is_ok());
    });
}

#[test]
fn an_xfrm_interface_or_the_module_that_is_missing() {
    in_namespace("an_xfrm_interface_or_the_module_that_is_missing", async |host: Arc<dyn Host>| {
        let folder = tempfile::tempdir().unwrap();
        let before = state_of_the_host();
        let changes = changes(&host, folder.path(), "corp");
        let name = "adit0".to_owned();
        let made =
            changes.make(&Change::XfrmLink { name: name.clone(), if_id: 0x4100_0001, mtu: 1400 }).await;
        match made {
            Ok(_) => {
                let links = host.links().await.unwrap();
                let link = links.iter().find(|l| l.name == name).unwrap();
                assert_eq!(
                    (link.if_id, link.mtu, link.up, link.group),
                    (Some(0x4100_0001), 1400, true, LINK_GROUP)
                );
                show("ip link set adit0 name renamed");
            }
            Err(e) => assert_eq!(e.failure().code, adit_core::FailureCode::KernelUnsupported, "{e}"),
        }
        assert!(changes.undo_all().await.is_empty());
        assert_eq!(state_of_the_host(), before);
        let bad = Change::XfrmLink { name: "a\"b".into(), if_id: 1, mtu: 1400 };
        assert!(matches!(changes.make(&bad).await, Err(HostError::Invalid(_))));
    });
}

#[test]
fn a_journal_strikes_out_and_shrinks() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path(), "server").unwrap();
    let undo = |n: u32| Undo::Rule(Rule { ipv6: false, priority: n, table: n });
    let first = journal.push(vec![undo(0)]).unwrap();
    for n in 1..1000 {
        let numbers = journal.push(vec![undo(n)]).unwrap();
        journal.strike(&numbers).unwrap();
    }
    let path = folder.path().join("server.journal");
    assert!(std::fs::read_to_string(&path).unwrap().lines().count() < 600);
    let read = leftovers(folder.path()).unwrap();
    assert_eq!(read[0].steps().map(|(n, u)| (n, u.clone())).collect::<Vec<_>>(), [(first[0], undo(0))]);
    journal.strike(&first).unwrap();
    assert!(!path.exists() && journal.is_empty());
    assert!(Journal::open(folder.path(), "../server").is_err());
}
