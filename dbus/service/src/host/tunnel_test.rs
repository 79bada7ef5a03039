//! Two hosts, a tunnel between them made of this crate's own pieces, and packets through it. Needs a kernel with ESP
//! and xfrm interfaces; on others it proves that they say so.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test enters a namespace by running itself"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Prefix, Secret, TrafficSelector};
use adit_xfrm_kernel::{
    Algorithm, ChildSa, EspKeys, Feature, KernelXfrm, Lifetimes, Mark, Mode, PolicyPlan, XfrmDoor,
};

use super::tests::{changes, in_namespace, prefix, show, state_of_the_host};
use super::*;

const IF_ID: u32 = 0x4100_0001;
const TEST: &str = "host::tunnel_test::a_full_tunnel_carries_everything_and_leaks_nothing";

/// One end: its outer address, its inner addresses, its inbound SPI.
struct End {
    outer: &'static str,
    inner: [&'static str; 2],
    spi: u32,
}

const CLIENT: End = End { outer: "192.0.2.1", inner: ["10.9.0.2", "fd00:9::2"], spi: 0xC000_0001 };
const SERVER: End = End { outer: "192.0.2.2", inner: ["10.9.0.1", "fd00:9::1"], spi: 0xC000_0002 };

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn child(us: &End, them: &End, local: &[&str], remote: &[&str]) -> ChildSa {
    let keys = || EspKeys {
        algorithm: Algorithm::AesGcm16 { bits: 128 },
        encryption: Secret::new(vec![0x33; 20]),
        integrity: Secret::new(vec![]),
    };
    let plan = PolicyPlan {
        local: address(us.outer),
        remote: address(them.outer),
        mode: Mode::Tunnel,
        reqid: IF_ID,
        if_id: Some(IF_ID),
        mark: None,
        priority: PolicyPlan::DEFAULT_PRIORITY,
    };
    let selectors = |all: &[&str]| all.iter().map(|p| TrafficSelector::from(prefix(p))).collect::<Vec<_>>();
    ChildSa {
        local: plan.local,
        remote: plan.remote,
        encap: None,
        mode: Mode::Tunnel,
        spi_in: us.spi,
        spi_out: them.spi,
        keys_in: Some(keys()),
        keys_out: Some(keys()),
        esn: true,
        replay_window: ChildSa::DEFAULT_REPLAY_WINDOW,
        if_id: Some(IF_ID),
        reqid: IF_ID,
        mark: None,
        output_mark: Some(Mark { value: MARK, mask: MARK_MASK }),
        input_mark: None,
        lifetimes: Lifetimes::default(),
        clear_df: false,
        policies: plan.policies(&selectors(local), &selectors(remote)).unwrap(),
    }
}

async fn raise(host: &Arc<dyn Host>, folder: &Path, us: &End, destinations: &[Prefix]) -> Changes {
    let changes = changes(host, folder, "corp");
    changes.make(&Change::XfrmLink { name: "adit0".into(), if_id: IF_ID, mtu: 1400 }).await.unwrap();
    for inner in us.inner {
        let address = Prefix::host(address(inner));
        changes.make(&Change::Address { link: "adit0".into(), address }).await.unwrap();
    }
    let sources = us.inner.map(address);
    changes.make_all(&tunnel_routes("adit0", IF_ID, &sources, destinations), &mut Vec::new()).await.unwrap();
    changes
}

fn udp(at: &str) -> UdpSocket {
    let socket = UdpSocket::bind((address(at), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// The other host: a process in a namespace of its own that echoes until its standard input ends.
fn start_server() -> Child {
    let mut server = Command::new("unshare")
        .args(["-n", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env("ADIT_TEST_ROLE", "server")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&mut server, "server-in-its-namespace");
    show(&format!("ip link set v1 netns {}", server.id()));
    server.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    wait_for(&mut server, "server-up");
    server
}

fn wait_for(server: &mut Child, word: &str) {
    let mut byte_by_byte = BufReader::with_capacity(1, server.stdout.as_mut().unwrap());
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert_ne!(byte_by_byte.read_line(&mut line).unwrap(), 0, "the server ended before {word}");
    }
}

fn serve() {
    println!("\nserver-in-its-namespace");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    for command in ["ip link set lo up", "ip address add 192.0.2.2/24 dev v1", "ip link set v1 up"] {
        show(command);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let host: Arc<dyn Host> = Arc::new(KernelHost::open().unwrap());
        let clients = CLIENT.inner.map(|a| Prefix::host(address(a)));
        let _stands = raise(&host, folder.path(), &SERVER, &clients).await;
        let everywhere = ["0.0.0.0/0", "::/0"];
        KernelXfrm::new().install(child(&SERVER, &CLIENT, &everywhere, &CLIENT.inner)).unwrap();
    });
    for inner in SERVER.inner {
        let socket = UdpSocket::bind((address(inner), 7)).unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((n, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..n], from);
            }
        });
    }
    println!("\nserver-up");
    line.clear();
    std::io::stdin().read_line(&mut line).unwrap();
}

fn echoes(from: &str, to: &str) -> std::io::Result<bool> {
    let socket = udp(from);
    socket.send_to(b"hello", SocketAddr::new(address(to), 7))?;
    let mut buffer = [0; 16];
    let n = socket.recv(&mut buffer)?;
    Ok(&buffer[..n] == b"hello")
}

#[test]
fn a_full_tunnel_carries_everything_and_leaks_nothing() {
    if std::env::var_os("ADIT_TEST_ROLE").is_some() {
        return serve();
    }
    in_namespace(TEST.trim_start_matches("host::"), async |host: Arc<dyn Host>| {
        let door = KernelXfrm::new();
        let able = door.capabilities().unwrap();
        let needed =
            [Feature::EspV4, Feature::XfrmInterface, Feature::Algorithm(Algorithm::AesGcm16 { bits: 128 })];
        if !needed.iter().all(|f| able.has(*f)) {
            assert!(needed.iter().any(|f| able.missing().any(|(m, why)| m == *f && !why.is_empty())));
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut server = start_server();
        let before = state_of_the_host();

        let block = changes(&host, folder.path(), "block");
        block.make(&Block::of("adit0", vec![], false).change(&[])).await.unwrap();
        let changes = raise(&host, folder.path(), &CLIENT, &[Prefix::ANY_V4]).await;
        let installed = child(&CLIENT, &SERVER, &CLIENT.inner, &["0.0.0.0/0", "::/0"]);
        let (inbound, outbound) = (installed.inbound(), installed.outbound());
        let policies: Vec<_> = installed.policies.iter().map(|p| p.id).collect();
        door.install(installed).unwrap();

        for (from, to) in CLIENT.inner.into_iter().zip(SERVER.inner) {
            assert!(echoes(from, to).unwrap(), "{from} to {to}");
        }
        for state in [&inbound, &outbound] {
            let counters = door.query(state).unwrap().unwrap();
            assert_eq!(counters.packets, 2, "one of each family, and nothing of the kernel's own making");
            assert!(counters.last_used.is_some());
        }
        // A socket that insists on the uplink, and one of the tunnel's own without its mark.
        let stubborn = udp("192.0.2.1");
        nix::sys::socket::setsockopt(&stubborn, nix::sys::socket::sockopt::BindToDevice, &"v0".into())
            .unwrap();
        assert!(stubborn.send_to(b"clear", "192.0.2.2:7").is_err(), "in clear");

        // The states go first: what still wants into the tunnel is dropped, and not sent otherwise.
        assert!(
            door.remove_policies(&policies).is_empty() && door.remove_states(&[inbound, outbound]).is_empty()
        );
        let lost = udp(CLIENT.inner[0]);
        lost.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let _dropped_or_refused = lost.send_to(b"hello", "10.9.0.1:7");
        assert!(lost.recv(&mut [0; 16]).is_err());
        assert!(changes.undo_all().await.is_empty() && block.undo_all().await.is_empty());
        assert_eq!(state_of_the_host(), before);
        drop(server.stdin.take());
        assert!(server.wait().unwrap().success());
    });
}
