use core::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use crate::forwarded::{Origin, Progress, read};

/// As a connection is read: never more octets than were asked for.
fn through(stream: &[u8]) -> Result<(Origin, &[u8]), &'static str> {
    let mut at = 0;
    loop {
        match read(stream.get(..at).unwrap_or_default()).map_err(|error| error.why)? {
            Progress::Done(origin) => return Ok((origin, &stream[at..])),
            Progress::More(0) => return Err("asks for nothing"),
            Progress::More(_) if at == stream.len() => return Err("ends"),
            Progress::More(more) => at = (at + more).min(stream.len()),
        }
    }
}

fn version_2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, body].concat()
}

#[test]
fn a_line_of_version_1_is_read_to_its_end_and_no_further() {
    let client =
        |from: &str, to: &str| Origin::Client { from: from.parse().unwrap(), to: to.parse().unwrap() };
    for (line, origin) in [
        ("PROXY TCP4 198.51.100.7 203.0.113.1 5555 443\r\n", client("198.51.100.7:5555", "203.0.113.1:443")),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n", client("[2001:db8::7]:1", "[2001:db8::1]:65535")),
        ("PROXY UNKNOWN\r\n", Origin::Unknown),
        ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Origin::Unknown),
    ] {
        let stream = [line.as_bytes(), b"\x16\x03\x01"].concat();
        assert_eq!(through(&stream), Ok((origin, &b"\x16\x03\x01"[..])), "{line}");
    }
}

#[test]
fn a_header_of_version_2_is_read_with_what_follows_the_addresses() {
    let v4 =
        [&[198, 51, 100, 7, 203, 0, 113, 1][..], &[0x15, 0xb3, 1, 0xbb], &[3, 0, 4, 1, 2, 3, 4]].concat();
    let from: SocketAddr = "198.51.100.7:5555".parse().unwrap();
    let to: SocketAddr = "203.0.113.1:443".parse().unwrap();
    let stream = [&version_2(0x21, 0x11, &v4)[..], b"hello"].concat();
    assert_eq!(through(&stream), Ok((Origin::Client { from, to }, &b"hello"[..])));
    assert_eq!(through(&version_2(0x20, 0, &[])), Ok((Origin::Own, &[][..])));
    assert_eq!(through(&version_2(0x21, 0x31, &[0; 216])), Ok((Origin::Unknown, &[][..])));
    let mut v6 = vec![0; 36];
    (v6[15], v6[31], v6[33], v6[35]) = (7, 1, 9, 8);
    let Ok((Origin::Client { from, to }, _)) = through(&version_2(0x21, 0x21, &v6)) else { panic!() };
    assert_eq!((from.to_string(), to.to_string()), ("[::7]:9".into(), "[::1]:8".into()));
}

#[test]
fn what_is_no_header_is_none() {
    for (stream, why) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00"[..], "no header"),
        (b"GET / HTTP/1.1\r\n\r\n", "no header"),
        (b"PROXY TCP4 198.51.100.7 203.0.113.1 5555\r\n", "without two addresses and two ports"),
        (b"PROXY TCP4 2001:db8::7 2001:db8::1 1 1\r\n", "no addresses"),
        (b"PROXY TCP4 198.51.100.7 203.0.113.1 +5555 443\r\n", "no addresses"),
        (b"PROXY TCP4 198.51.100.7 203.0.113.1 5555 443\n", "no line"),
        (&[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat(), "without an end"),
        (&version_2(0x31, 0x11, &[0; 12]), "another version"),
        (&version_2(0x21, 0x11, &[0; 11]), "without its addresses"),
        (&version_2(0x21, 0x11, &[0; 5000]), "too long"),
    ] {
        let said = through(stream).unwrap_err();
        assert!(said.contains(why), "{why}: {said}");
    }
}

proptest! {
    #[test]
    fn addresses_round_trip(from in any::<SocketAddr>(), to in any::<SocketAddr>()) {
        // A scope, or a flow, is nothing that a load balancer passes on.
        let [from, to] = [from, to].map(|a| SocketAddr::new(a.ip(), a.port()));
        if from.is_ipv4() == to.is_ipv4() {
            let kind = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {kind} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
            prop_assert_eq!(through(line.as_bytes()).unwrap().0, Origin::Client { from, to });
        }
    }

    #[test]
    fn nothing_panics_or_asks_for_ever(stream in vec(any::<u8>(), 0..300), version in any::<bool>()) {
        let begin: &[u8] = if version { b"\r\n\r\n\0\r\nQUIT\n!" } else { b"PROXY TCP4 " };
        prop_assert!(through(&[begin, &stream].concat()).is_ok() || through(&stream).is_err() || stream.is_empty());
    }
}
