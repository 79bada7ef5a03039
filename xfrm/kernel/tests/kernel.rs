//! Against the running kernel, in a network namespace of its own (a user namespace makes us root in it). What needs
//! ESP is asked of kernels that have it; the rest holds on all.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test enters a namespace by running itself"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail so"
)]

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use adit_core::{Path, Prefix, Secret, TrafficSelector};
use adit_xfrm_kernel::ike_socket::{Family, IkeSocket};
use adit_xfrm_kernel::{
    Action, Algorithm, AllocateSpi, ChildSa, Direction, EspKeys, Feature, KernelXfrm, Lifetimes, Mark, Mode,
    Operation, Plugged, Policy, PolicyId, PolicyPlan, PortMatch, Relocation, Selector, StateId, UdpEncap,
    XfrmDoor, XfrmError, XfrmEvent,
};

const IF_ID: u32 = 0x4100_0007;
const REQID: u32 = 0x4100_0009;

/// Runs `body` as root of a fresh network namespace, in a process of its own.
fn in_namespace(test: &str, body: fn(&KernelXfrm)) {
    if std::env::var_os("ADIT_TEST_NAMESPACE").is_some() {
        return body(&KernelXfrm::new());
    }
    let me = std::env::current_exe().unwrap();
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let out = Command::new("unshare")
        .args([if root { "-n" } else { "-rn" }, "--"])
        .arg(me)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("ADIT_TEST_NAMESPACE", "1")
        .output()
        .expect("unshare (util-linux) makes the namespace that this test runs in");
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && stdout.contains("1 passed"), "{stdout}{stderr}");
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn keys(algorithm: Algorithm) -> EspKeys {
    EspKeys {
        algorithm,
        encryption: Secret::new(vec![0x5A; algorithm.encryption_length()]),
        integrity: Secret::new(vec![0xA5; algorithm.integrity_length()]),
    }
}

fn child(algorithm: Algorithm, spi_in: u32, spi_out: u32) -> ChildSa {
    let (local, remote) = (address("192.0.2.1"), address("198.51.100.1"));
    let plan = PolicyPlan {
        local,
        remote,
        mode: Mode::Tunnel,
        reqid: REQID,
        if_id: Some(IF_ID),
        mark: None,
        priority: PolicyPlan::DEFAULT_PRIORITY,
    };
    let ts = |p: &str| TrafficSelector::from(p.parse::<Prefix>().unwrap());
    ChildSa {
        local,
        remote,
        encap: Some(UdpEncap { local_port: 4500, remote_port: 61000 }),
        mode: Mode::Tunnel,
        spi_in,
        spi_out,
        keys_in: Some(keys(algorithm)),
        keys_out: Some(keys(algorithm)),
        esn: true,
        replay_window: ChildSa::DEFAULT_REPLAY_WINDOW,
        if_id: Some(IF_ID),
        reqid: REQID,
        mark: None,
        output_mark: Some(Mark { value: 0x10, mask: 0xFF }),
        input_mark: None,
        lifetimes: Lifetimes { soft_seconds: Some(3000), hard_seconds: Some(3600), ..Lifetimes::default() },
        clear_df: true,
        policies: plan.policies(&[ts("10.0.0.1"), ts("fd00::1")], &[ts("0.0.0.0/0"), ts("::/0")]).unwrap(),
    }
}

fn allocate(door: &KernelXfrm) -> u32 {
    let request = AllocateSpi::tunnel(address("192.0.2.1"), address("198.51.100.1"), REQID, Some(IF_ID));
    door.allocate_spi(&request).unwrap()
}

#[test]
fn spis_are_distinct_and_leave_larval_states_of_ours() {
    in_namespace("spis_are_distinct_and_leave_larval_states_of_ours", |door| {
        let spis: Vec<u32> = (0..100).map(|_| allocate(door)).collect();
        let mut distinct = spis.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 100);
        assert!(distinct.iter().all(|s| (0xC000_0000..=0xCFFF_FFFF).contains(s)));
        let states = door.states().unwrap();
        assert_eq!(states.len(), 100);
        assert!(
            states
                .iter()
                .all(|s| s.reqid == REQID && s.if_id == Some(IF_ID) && s.source == address("198.51.100.1"))
        );
        let ids: Vec<_> = states.iter().map(|s| s.id).collect();
        assert!(door.remove_states(&ids).is_empty());
        assert!(door.remove_states(&ids).is_empty(), "what is gone is no error");
        assert_eq!(door.states().unwrap(), []);
    });
}

#[test]
fn policies_stand_until_removed_and_collide_by_name() {
    in_namespace("policies_stand_until_removed_and_collide_by_name", |door| {
        let policies = child(Algorithm::ChaCha20Poly1305, 256, 257).policies;
        door.update_policies(&policies).unwrap();
        door.update_policies(&policies).unwrap();
        let mut standing = door.policies().unwrap();
        let mut ids: Vec<_> = policies.iter().map(|p| p.id).collect();
        standing.sort_unstable();
        ids.sort_unstable();
        assert_eq!(standing, ids);
        assert!(door.remove_policies(&ids).is_empty());
        assert!(door.remove_policies(&ids).is_empty(), "what is gone is no error");
        assert_eq!(door.policies().unwrap(), []);
    });
}

#[test]
fn a_thousand_policies_go_through_one_call() {
    in_namespace("a_thousand_policies_go_through_one_call", |door| {
        let one = child(Algorithm::ChaCha20Poly1305, 256, 257).policies;
        let many: Vec<_> = (0..500_u32)
            .flat_map(|n| {
                one.iter().map(move |p| {
                    let mut p = *p;
                    p.id.if_id = Some(IF_ID + n);
                    p
                })
            })
            .collect();
        door.update_policies(&many).unwrap();
        assert_eq!(door.policies().unwrap().len(), many.len());
        let ids: Vec<_> = many.iter().map(|p| p.id).collect();
        assert!(door.remove_policies(&ids).is_empty());
        assert_eq!(door.policies().unwrap(), []);
    });
}

#[test]
fn an_installation_is_whole_or_not_at_all() {
    in_namespace("an_installation_is_whole_or_not_at_all", |door| {
        let able = door.capabilities().unwrap();
        assert!(able.has(Feature::Xfrm));
        let algorithm = Algorithm::AesGcm16 { bits: 256 };
        let esp = able.has(Feature::EspV4) && able.has(Feature::Algorithm(algorithm));
        println!("missing here: {:?}", able.missing().collect::<Vec<_>>());

        let spi = allocate(door);
        match door.install(child(algorithm, spi, 0xC0FF_EE01)) {
            Ok(()) => assert!(esp),
            Err(e) => {
                assert!(!esp, "{e}");
                assert!(e.failure().hint.is_some(), "{e}");
                assert_eq!((door.states().unwrap(), door.policies().unwrap()), (vec![], vec![]));
                return;
            }
        }
        both_stand(door, spi);
        // The policies exist: refused, and only what this installation did is undone.
        let second = allocate(door);
        let Err(XfrmError::Refused { operation: Operation::AddPolicy(_), .. }) =
            door.install(child(algorithm, second, 0xC0FF_EE02))
        else {
            panic!("two policies of one selector");
        };
        both_stand(door, spi);
        // A rekey brings no policies; its larval state may be gone.
        let third = allocate(door);
        let ids: Vec<_> = door.states().unwrap().iter().map(|s| s.id).filter(|id| id.spi == third).collect();
        assert!(door.remove_states(&ids).is_empty());
        door.install(ChildSa { policies: vec![], ..child(algorithm, third, 0xC0FF_EE03) }).unwrap();
        assert_eq!(door.states().unwrap().len(), 4);
    });
}

fn both_stand(door: &KernelXfrm, spi: u32) {
    let states = door.states().unwrap();
    assert_eq!((states.len(), door.policies().unwrap().len()), (2, 6));
    assert!(states.iter().any(|s| s.id.spi == spi));
    for state in states {
        let counters = door.query(&state.id).unwrap().unwrap();
        assert_eq!((counters.bytes, counters.packets, counters.first_used), (0, 0, None));
        assert!(counters.added.is_some());
    }
}

#[test]
fn every_algorithm_that_is_reported_installs() {
    in_namespace("every_algorithm_that_is_reported_installs", |door| {
        let able = door.capabilities().unwrap();
        assert_eq!(
            (door.states().unwrap(), door.policies().unwrap()),
            (vec![], vec![]),
            "the probe leaves nothing"
        );
        for (n, algorithm) in (0..).zip(Algorithm::PROBED) {
            let child = ChildSa { policies: vec![], ..child(algorithm, 0xC000_1000 + n, 0xC000_2000 + n) };
            let expected = able.has(Feature::EspV4) && able.has(Feature::Algorithm(algorithm));
            assert_eq!(door.install(child).is_ok(), expected, "{algorithm}");
        }
    });
}

#[test]
fn a_missing_state_has_no_counters() {
    in_namespace("a_missing_state_has_no_counters", |door| {
        let id = child(Algorithm::ChaCha20Poly1305, 256, 257).inbound();
        assert_eq!(door.query(&id).unwrap(), None);
    });
}

/// Whether this kernel has ESP; the tests that need it hold on those that do.
fn has_esp(door: &KernelXfrm) -> bool {
    let able = door.capabilities().unwrap();
    let has = able.has(Feature::EspV4) && able.has(Feature::Algorithm(GCM));
    println!("ESP here: {has}");
    has
}

const GCM: Algorithm = Algorithm::AesGcm16 { bits: 256 };

fn outbound_counter(remote: &str) -> String {
    let out = Command::new("ip").args(["xfrm", "state", "list", "dst", remote]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let at = text.find("oseq 0x").expect(&text);
    text[at + 7..].chars().take_while(char::is_ascii_hexdigit).collect()
}

#[test]
fn the_outbound_state_joins_when_the_peer_can_read_it() {
    in_namespace("the_outbound_state_joins_when_the_peer_can_read_it", |door| {
        if !has_esp(door) {
            return;
        }
        let spi = allocate(door);
        let whole = || ChildSa { policies: vec![], ..child(GCM, spi, 0xC0FF_EE01) };
        door.install(ChildSa { keys_out: None, ..whole() }).unwrap();
        assert_eq!(door.states().unwrap().len(), 1);
        door.install(ChildSa { keys_in: None, ..whole() }).unwrap();
        assert_eq!(door.states().unwrap().len(), 2);
        // Refused, and the inbound state is not what pays for it.
        assert!(door.install(ChildSa { keys_in: None, ..whole() }).is_err());
        assert!(door.states().unwrap().iter().any(|s| s.id.spi == spi));
    });
}

#[test]
fn a_peer_that_moves_is_followed() {
    in_namespace("a_peer_that_moves_is_followed", |door| {
        if !has_esp(door) {
            return;
        }
        let whole = child(GCM, allocate(door), 0xC0FF_EE01);
        let (inbound, outbound, policies) = (whole.inbound(), whole.outbound(), whole.policies.clone());
        door.install(whole).unwrap();
        let mut to = Relocation {
            local: address("192.0.2.1"),
            remote: address("198.51.100.1"),
            encap: Some(UdpEncap { local_port: 4500, remote_port: 61001 }),
            inbound: vec![inbound],
            outbound: vec![outbound],
            policies: vec![],
            plugged: None,
        };
        door.relocate(&to).unwrap();
        assert_eq!(outbound_counter("198.51.100.1"), "0");
        let listed = Command::new("ip").args(["xfrm", "state"]).output().unwrap().stdout;
        assert_eq!(String::from_utf8(listed).unwrap().matches("61001").count(), 2);

        to.remote = address("203.0.113.9");
        to.policies = policies.into_iter().filter(|p| p.id.direction == Direction::Out).collect();
        for policy in &mut to.policies {
            policy.template.as_mut().unwrap().destination = to.remote;
        }
        door.relocate(&to).unwrap();
        let states = door.states().unwrap();
        assert_eq!((states.len(), door.policies().unwrap().len()), (2, 6));
        let new = StateId { destination: to.remote, ..outbound };
        assert!(states.iter().any(|s| s.id == new && s.if_id == Some(IF_ID) && s.reqid == REQID));
        assert_eq!(outbound_counter("203.0.113.9"), "10000");
        assert_eq!(door.query(&outbound).unwrap(), None);

        // Our own address, and no NAT any more: the outbound state keeps its key, and both inbound ones stand.
        to.outbound = vec![new];
        (to.local, to.encap) = (address("192.0.2.99"), None);
        for policy in &mut to.policies {
            policy.template.as_mut().unwrap().source = to.local;
        }
        assert_eq!(door.relocate(&to).unwrap(), [inbound]);
        assert_eq!(door.states().unwrap().len(), 3);
        assert_eq!(outbound_counter("203.0.113.9"), "20000");
        let listed = Command::new("ip").args(["xfrm", "state"]).output().unwrap().stdout;
        assert_eq!(String::from_utf8(listed).unwrap().matches("61001").count(), 1, "the one that is left");
        assert_eq!(door.remove_states(&[inbound]).len(), 0);

        // The other family.
        to.inbound = vec![StateId { destination: to.local, ..inbound }];
        (to.local, to.remote) = (address("2001:db8::1"), address("2001:db8::9"));
        for policy in &mut to.policies {
            let template = policy.template.as_mut().unwrap();
            (template.source, template.destination) = (to.local, to.remote);
        }
        assert_eq!(door.relocate(&to).unwrap().len(), 1);
        assert_eq!(outbound_counter("2001:db8::9"), "30000");
    });
}

/// Where what enters the tunnel can be held, the counter stays close behind, if the former path is still there.
#[test]
fn a_move_in_good_order_leaves_few_numbers_out() {
    in_namespace("a_move_in_good_order_leaves_few_numbers_out", |door| {
        if !has_esp(door) {
            return;
        }
        a_link();
        let link = nix::net::if_::if_nametoindex("v0").unwrap();
        door.plug(link).unwrap();
        let whole = child(GCM, allocate(door), 0xC0FF_EE01);
        let (mut inbound, outbound) = (whole.inbound(), whole.outbound());
        let policies: Vec<Policy> =
            whole.policies.iter().filter(|p| p.id.direction == Direction::Out).copied().collect();
        door.install(whole).unwrap();
        for (local, orderly, counter) in [("192.0.2.98", true, "10"), ("192.0.2.97", false, "10010")] {
            let mut to = Relocation {
                local: address(local),
                remote: address("198.51.100.1"),
                encap: None,
                inbound: vec![inbound],
                outbound: vec![outbound],
                policies: policies.clone(),
                plugged: Some(Plugged { link, orderly }),
            };
            for policy in &mut to.policies {
                policy.template.as_mut().unwrap().source = to.local;
            }
            assert_eq!(door.relocate(&to).unwrap(), [inbound]);
            assert_eq!(outbound_counter("198.51.100.1"), counter);
            inbound.destination = to.local;
        }
    });
}

#[test]
fn a_limit_tells_which_state_and_how() {
    in_namespace("a_limit_tells_which_state_and_how", |door| {
        if !has_esp(door) {
            return;
        }
        runtime().block_on(async {
            let mut events = door.subscribe().unwrap();
            let lifetimes =
                Lifetimes { soft_seconds: Some(1), hard_seconds: Some(2), ..Lifetimes::default() };
            let whole = ChildSa { lifetimes, keys_in: None, ..child(GCM, 256, 0xC0FF_EE01) };
            let id = whole.outbound();
            door.install(whole).unwrap();
            for expected in [false, true] {
                match events.next().await.unwrap() {
                    XfrmEvent::Expired { state, reqid, hard, .. } => {
                        assert_eq!((state, reqid, hard), (id, REQID, expected));
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(door.states().unwrap(), []);
        });
    });
}

#[test]
fn a_server_s_policies_are_hashed_by_the_peer_s_address() {
    in_namespace("a_server_s_policies_are_hashed_by_the_peer_s_address", |door| {
        door.hash_by_peer().unwrap();
        let out = Command::new("ip").args(["-s", "-s", "xfrm", "policy", "count"]).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(text.contains("local 0 remote 32") && text.contains("local 0 remote 128"), "{text}");
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A link for packets.
fn a_link() {
    for command in [
        "ip link add v0 type veth peer name v1",
        "ip address add 192.0.2.1/24 dev v0",
        "ip link set v0 up",
        "ip link set v1 up",
    ] {
        let mut words = command.split(' ');
        assert!(Command::new(words.next().unwrap()).args(words).status().unwrap().success(), "{command}");
    }
}

/// A policy for everything, without a state.
fn a_trap(door: &KernelXfrm) {
    let mut policy = child(Algorithm::ChaCha20Poly1305, 256, 257).policies[0];
    policy.id.selector.source = Prefix::ANY_V4;
    policy.id.selector.destination = Prefix::ANY_V4;
    policy.id.if_id = None;
    door.update_policies(&[policy]).unwrap();
}

#[test]
fn what_was_asked_for_is_forgotten_for_every_flow() {
    in_namespace("what_was_asked_for_is_forgotten_for_every_flow", |door| {
        a_link();
        // Where nobody listens, the kernel notes nothing.
        let runtime = runtime();
        let _runs = runtime.enter();
        let _listens = door.subscribe().unwrap();
        a_trap(door);
        let socket = std::net::UdpSocket::bind("192.0.2.1:0").unwrap();
        for to in ["192.0.2.9:9", "192.0.2.9:10", "192.0.2.10:9"] {
            let _held = socket.send_to(b"x", to);
        }
        assert_eq!(door.states().unwrap().len(), 1);
        let acquired = AllocateSpi::tunnel(address("198.51.100.1"), address("192.0.2.1"), REQID, None);
        assert!(door.forget_acquired(&acquired).is_empty());
        assert_eq!(door.states().unwrap(), []);
        assert!(door.forget_acquired(&acquired).is_empty());
        assert_eq!(door.states().unwrap(), []);
    });
}

#[test]
fn a_packet_without_a_state_raises_an_acquire() {
    in_namespace("a_packet_without_a_state_raises_an_acquire", |door| {
        a_link();
        runtime().block_on(async {
            let mut events = door.subscribe().unwrap();
            a_trap(door);
            let socket = tokio::net::UdpSocket::bind("192.0.2.1:0").await.unwrap();
            let _held = socket.send_to(b"x", "192.0.2.9:9").await;
            match events.next().await.unwrap() {
                XfrmEvent::Acquire { local, remote, reqid, if_id, packet_destination, protocol, .. } => {
                    assert_eq!((local, remote), (address("192.0.2.1"), address("198.51.100.1")));
                    assert_eq!((reqid, if_id, protocol), (REQID, None, 17));
                    assert_eq!(packet_destination, address("192.0.2.9"));
                }
                other => panic!("{other:?}"),
            }
        });
    });
}

#[test]
fn a_larval_state_that_nobody_completes_expires() {
    in_namespace("a_larval_state_that_nobody_completes_expires", |door| {
        // Only the real root has this; without it the kernel takes its 30 seconds.
        let _unless_root = std::fs::write("/proc/sys/net/core/xfrm_acq_expires", "1");
        runtime().block_on(async {
            let mut events = door.subscribe().unwrap();
            let spi = allocate(door);
            match events.next().await.unwrap() {
                XfrmEvent::Expired { state, hard, reqid, if_id, .. } => {
                    assert_eq!((hard, reqid, if_id), (true, REQID, Some(IF_ID)));
                    assert_eq!((state.spi, state.destination), (spi, address("192.0.2.1")));
                }
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(door.states().unwrap(), []);
    });
}

/// Policies that let nothing through, of both directions and families.
fn block_everything(door: &KernelXfrm) {
    let any = |prefix| Selector {
        source: prefix,
        destination: prefix,
        protocol: 0,
        source_port: PortMatch::ANY,
        destination_port: PortMatch::ANY,
    };
    let policy = |direction, prefix| Policy {
        id: PolicyId { direction, selector: any(prefix), if_id: None, mark: None },
        priority: 1,
        action: Action::Block,
        template: None,
    };
    let both = |prefix| [Direction::In, Direction::Out].map(|direction| policy(direction, prefix));
    door.update_policies(&[both(Prefix::ANY_V4), both(Prefix::ANY_V6)].concat()).unwrap();
}

#[test]
fn no_policy_touches_what_ike_s_own_sockets_say_and_hear() {
    in_namespace("no_policy_touches_what_ike_s_own_sockets_say_and_hear", |door| {
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        for setting in ["disable_xfrm", "disable_policy"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/lo/{setting}"), "0").unwrap();
        }
        block_everything(door);
        runtime().block_on(async {
            for (family, here) in [(Family::V4, address("127.0.0.1")), (Family::V6, address("::1"))] {
                let [ours, other, stranger] =
                    [1, 1, 0].map(|mark| IkeSocket::bind(family, 0, false, mark).unwrap());
                let path = |from: &IkeSocket, to: &IkeSocket| {
                    let at = |socket: &IkeSocket| SocketAddr::new(here, socket.port());
                    Path { local: at(from), remote: at(to) }
                };
                let refused = stranger.send(&path(&stranger, &ours), &[b"x"]);
                assert!(refused.is_err(), "{family:?}: a socket that has no right to pass by");
                ours.send(&path(&ours, &stranger), &[b"unheard"]).unwrap();
                ours.send(&path(&ours, &other), &[b"heard"]).unwrap();
                other.readable().await;
                let mut buffer = [0; 100];
                assert_eq!(other.receive(&mut buffer).unwrap().map(|r| r.length), Some(5), "{family:?}");
                assert!(stranger.receive(&mut buffer).unwrap().is_none(), "{family:?}");
            }
        });
        // They show as sockets' policies, which are nobody's tunnels.
        assert_eq!(door.policies().unwrap(), []);
    });
}
