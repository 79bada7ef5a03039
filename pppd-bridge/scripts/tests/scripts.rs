//! Records become scripts that run, with pppd's arguments and environment.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use adit_ppp_scripts::{Down, Record, Scripts, Up, next, serve};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

fn up() -> Up {
    Up {
        interface: "adit0".into(),
        device: "pptp".into(),
        local: IpAddr::from([10, 9, 0, 2]),
        remote: IpAddr::from([10, 9, 0, 1]),
        parameter: "corp".into(),
        link: "corp".into(),
        peer: String::new(),
        use_peer_dns: true,
        dns: vec![IpAddr::from([10, 1, 0, 53])],
        wins: vec![Ipv4Addr::new(10, 1, 0, 137)],
    }
}

fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What the scripts wrote into `log`.
fn run(folder: &Path, records: &[Record], limit: u64) -> String {
    let octets: Vec<u8> = records.iter().flat_map(Record::emit).collect();
    serve(&*octets, &Scripts { folder: folder.to_owned(), limit: Duration::from_secs(limit) });
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// A folder, and the right to write scripts: a test that starts one meanwhile would hold it open for a moment, and Linux runs no
/// program that somebody may write.
fn folder() -> (tempfile::TempDir, MutexGuard<'static, ()>) {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    (folder, one)
}

#[test]
fn they_are_told_what_pppd_tells_them() {
    let (folder, _one) = folder();
    let log = folder.path().join("log");
    let tell = format!("echo \"${{0##*/}} $*\" >> {0}; /usr/bin/env | /usr/bin/sort >> {0}", log.display());
    for name in ["ip-up.d/tell", "ip-down.d/tell"] {
        script(&folder.path().join(name), &tell);
    }
    let down = Down { seconds: 7, sent: 1000, received: 2000 };
    let told = run(folder.path(), &[Record::Up(Box::new(up())), Record::Down(down)], 20);
    let (first, second) = told.split_at(told.rfind("tell adit0").unwrap());
    assert!(first.starts_with("tell adit0 pptp 0 10.9.0.2 10.9.0.1 corp\n"), "{told}");
    for line in [
        "IFNAME=adit0",
        "DEVICE=pptp",
        "SPEED=0",
        "IPLOCAL=10.9.0.2",
        "IPREMOTE=10.9.0.1",
        "LINKNAME=corp",
        "USEPEERDNS=1",
        "DNS1=10.1.0.53",
        "WINS1=10.1.0.137",
        "PPP_IFACE=adit0",
        "PPP_LOCAL=10.9.0.2",
        "PPP_REMOTE=10.9.0.1",
        "PPP_IPPARAM=corp",
    ] {
        assert!(first.lines().any(|l| l == line) && second.lines().any(|l| l == line), "{line}: {told}");
    }
    for line in ["CONNECT_TIME=7", "BYTES_SENT=1000", "BYTES_RCVD=2000"] {
        assert!(!first.contains(line) && second.lines().any(|l| l == line), "{line}: {told}");
    }
    // Nothing of the helper's own environment.
    assert!(!told.contains("CARGO") && !told.contains("PEERNAME"), "{told}");
}

#[test]
fn debians_own_script_does_it_all_where_it_is() {
    let (folder, _one) = folder();
    let log = folder.path().join("log");
    script(&folder.path().join("ip-up"), &format!("echo whole $6 >> {}", log.display()));
    script(&folder.path().join("ip-up.d/part"), &format!("echo part >> {}", log.display()));
    assert_eq!(run(folder.path(), &[Record::Up(Box::new(up()))], 20), "whole corp\n");
}

/// Each family has its own; a daemon that dies takes its links with it.
#[test]
fn what_is_up_goes_down_when_nobody_says_anything_more() {
    let (folder, _one) = folder();
    let log = folder.path().join("log");
    for name in ["ip-up", "ip-down", "ipv6-up", "ipv6-down"] {
        script(
            &folder.path().join(format!("{name}.d/tell")),
            &format!("echo {name} $4 $LLREMOTE >> {}", log.display()),
        );
    }
    let v6 =
        Up { local: "fe80::2".parse().unwrap(), remote: "fe80::1".parse().unwrap(), dns: Vec::new(), ..up() };
    let told = run(folder.path(), &[Record::Up(Box::new(up())), Record::Up(Box::new(v6))], 20);
    let wanted = "ip-up 10.9.0.2\nipv6-up fe80::2 fe80::1\nipv6-down fe80::2 fe80::1\nip-down 10.9.0.2\n";
    assert_eq!(told, wanted);
}

#[test]
fn one_that_fails_or_hangs_keeps_no_other_from_its_work() {
    let (folder, _one) = folder();
    let log = folder.path().join("log");
    script(&folder.path().join("ip-up.d/1-fails"), "exit 3");
    // It ends when it is told to, and what it has started does not: it holds a pipe until it is dead.
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let deaf = format!("trap '' TERM; exec 3>{}; while :; do /bin/sleep 1000; done", pipe.display());
    script(&folder.path().join("deaf"), &deaf);
    script(&folder.path().join("ip-up.d/2-hangs"), &format!("{}/deaf & wait", folder.path().display()));
    let (dead, is_dead) = mpsc::channel();
    std::thread::spawn(move || dead.send(fs::read(pipe)));
    script(&folder.path().join("ip-down.d/tells"), &format!("echo down >> {}", log.display()));
    assert_eq!(run(folder.path(), &[Record::Up(Box::new(up()))], 1), "down\n");
    assert!(is_dead.recv_timeout(Duration::from_secs(300)).is_ok(), "what it has started still runs");
}

#[test]
fn what_others_may_write_is_not_run() {
    let (folder, _one) = folder();
    let log = folder.path().join("log");
    let path = folder.path().join("ip-up.d/tells");
    script(&path, &format!("echo up >> {}", log.display()));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o775)).unwrap();
    assert_eq!(run(folder.path(), &[Record::Up(Box::new(up()))], 20), "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(run(folder.path(), &[Record::Up(Box::new(up()))], 20), "");
    fs::set_permissions(path.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    // Nor what run-parts passes over.
    for name in ["tells.bak", "tells.dpkg-new"] {
        script(&folder.path().join("ip-up.d").join(name), &format!("echo backup >> {}", log.display()));
    }
    assert_eq!(run(folder.path(), &[Record::Up(Box::new(up()))], 20), "up\n");
}

#[test]
fn nonsense_is_no_record() {
    for text in [
        "sideways adit0\n\n",
        "up ../../x\nlocal 10.0.0.1\nremote 10.0.0.2\n\n",
        "up adit0\nlocal 10.0.0.1\nremote fe80::1\n\n",
        "up adit0\nlocal 10.0.0.1\n\n",
        "down 1 2\n\n",
        "down 1 2 3\nup adit0\n\n",
        "up adit0\nlocal 10.0.0.1\nremote 10.0.0.2\npeer a\tb\n\n",
        "up adit0\nlocal 10.0.0.1\nremote 10.0.0.2\n",
    ] {
        assert!(next(&mut text.as_bytes()).is_err(), "{text:?}");
    }
    assert!(matches!(next(&mut &b""[..]), Ok(None)));
    let endless = vec![b'a'; 30_000];
    assert!(next(&mut &*endless).is_err());
}

proptest! {
    #[test]
    fn records_round_trip(texts in vec("[a-zA-Z0-9@ .$();'\"]{0,40}", 3), v4 in any::<(u32, u32)>(),
        dns in vec(any::<u32>(), 0..4), use_peer_dns in any::<bool>(), numbers in any::<(u64, u64, u64)>())
    {
        let [parameter, link, peer] = <[String; 3]>::try_from(texts).unwrap();
        let address = |bits| IpAddr::V4(Ipv4Addr::from_bits(bits));
        let up = Record::Up(Box::new(Up {
            local: address(v4.0), remote: address(v4.1), parameter, link, peer, use_peer_dns,
            dns: dns.into_iter().map(address).collect(), ..up()
        }));
        let down = Record::Down(Down { seconds: numbers.0, sent: numbers.1, received: numbers.2 });
        let octets = [up.emit(), down.emit()].concat();
        let mut from = &*octets;
        prop_assert_eq!(next(&mut from).unwrap(), Some(up));
        prop_assert_eq!(next(&mut from).unwrap(), Some(down));
        prop_assert!(next(&mut from).unwrap().is_none());
    }

    #[test]
    fn whatever_a_name_is_it_stays_one_value(peer in "\\PC{0,700}|[\\n\\r\\t a]{0,40}") {
        let record = Record::Up(Box::new(Up { peer, ..up() }));
        let Ok(Some(Record::Up(read))) = next(&mut &*record.emit()) else { panic!("{record:?}") };
        prop_assert_eq!((read.interface, read.link), ("adit0".to_owned(), "corp".to_owned()));
        prop_assert!(read.peer.len() <= 512);
    }

    #[test]
    fn nothing_panics(octets in vec(any::<u8>(), 0..200)) {
        let _ = next(&mut &*octets);
    }
}
