//! What a load balancer says before the first octet of a connection that it passes on: the PROXY protocol, versions 1 and 2
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>). Only who is known to be one is asked for it: it proves
//! nothing.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use adit_core::DecodeError;

/// Of version 2 (§2.2).
const SIGNATURE: [u8; 12] = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
/// The signature, version and command, family, length.
const HEAD: usize = 16;
/// Of version 1 (§2.1).
const WORD: &[u8] = b"PROXY ";
/// A line of version 1, its end included, has no more octets.
const LONGEST_LINE: usize = 107;
/// Addresses and TLVs of version 2: more than anybody sends, with a client's certificate in them.
const LONGEST: usize = 4096;

/// Where a connection comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// From this client, to this address.
    Client {
        /// The client.
        from: SocketAddr,
        /// Where it has dialled.
        to: SocketAddr,
    },
    /// It is the load balancer's own, which looks whether we are there.
    Own,
    /// It does not know, or not by an address of IP.
    Unknown,
}

/// What has been read so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// So many octets more may be read, and no others: what follows is the connection's. Never 0.
    More(usize),
    /// All of it.
    Done(Origin),
}

/// Reads what has come of a header.
///
/// # Errors
/// It is none.
pub fn read(octets: &[u8]) -> Result<Progress, DecodeError> {
    let common = SIGNATURE.iter().zip(octets).all(|(a, b)| a == b);
    let word = WORD.iter().zip(octets).all(|(a, b)| a == b);
    match (common, word) {
        // Both begin with no fewer.
        _ if octets.is_empty() => Ok(Progress::More(SIGNATURE.len())),
        (true, _) => version_2(octets),
        (_, true) => version_1(octets),
        (false, false) => Err(wrong(0, "no header of the PROXY protocol")),
    }
}

fn wrong(at: usize, why: &'static str) -> DecodeError {
    DecodeError { at, why }
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n`.
fn version_1(octets: &[u8]) -> Result<Progress, DecodeError> {
    if octets.len() < SIGNATURE.len() {
        return Ok(Progress::More(SIGNATURE.len() - octets.len()));
    }
    if !octets.ends_with(b"\n") {
        return match octets.len() < LONGEST_LINE {
            true => Ok(Progress::More(1)),
            false => Err(wrong(octets.len(), "a line of the PROXY protocol without an end")),
        };
    }
    let line = octets.strip_suffix(b"\r\n").and_then(|line| core::str::from_utf8(line).ok());
    let line = line.ok_or(wrong(0, "no line of the PROXY protocol"))?;
    let mut words = line.split(' ').skip(1);
    let kind = words.next();
    if kind == Some("UNKNOWN") {
        return Ok(Progress::Done(Origin::Unknown));
    }
    let words: Vec<&str> = words.collect();
    let [from, to, from_port, to_port] = *words else {
        return Err(wrong(0, "a line of the PROXY protocol without two addresses and two ports"));
    };
    let one = |address: &str, port: &str| {
        let address: IpAddr = address.parse().ok()?;
        let plain = port.bytes().all(|b| b.is_ascii_digit());
        let of_kind = kind == Some(if address.is_ipv4() { "TCP4" } else { "TCP6" });
        Some(SocketAddr::new(address, port.parse().ok()?)).filter(|_| plain && of_kind)
    };
    let client = one(from, from_port).zip(one(to, to_port));
    let (from, to) = client.ok_or(wrong(0, "no addresses in a line of the PROXY protocol"))?;
    Ok(Progress::Done(Origin::Client { from, to }))
}

fn version_2(octets: &[u8]) -> Result<Progress, DecodeError> {
    let Some((head, body)) = octets.split_first_chunk::<HEAD>() else {
        return Ok(Progress::More(HEAD.saturating_sub(octets.len())));
    };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return Err(wrong(HEAD - 2, "a header of the PROXY protocol that is too long"));
    }
    if body.len() < length {
        return Ok(Progress::More(length - body.len()));
    }
    let origin = match command {
        0x20 => Origin::Own,
        0x21 => addresses(family, body)?,
        _ => return Err(wrong(SIGNATURE.len(), "another version of the PROXY protocol")),
    };
    Ok(Progress::Done(origin))
}

/// §2.2: the addresses, then the ports.
fn addresses(family: u8, body: &[u8]) -> Result<Origin, DecodeError> {
    let short = wrong(HEAD, "a header of the PROXY protocol without its addresses");
    let ends = |from: IpAddr, to: IpAddr, ports: &[u8; 4]| {
        let [f0, f1, t0, t1] = *ports;
        let from = SocketAddr::new(from, u16::from_be_bytes([f0, f1]));
        Origin::Client { from, to: SocketAddr::new(to, u16::from_be_bytes([t0, t1])) }
    };
    match family {
        // TCP over IPv4.
        0x11 => {
            let (from, rest) = body.split_first_chunk::<4>().ok_or(short)?;
            let (to, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
            let ports = rest.first_chunk::<4>().ok_or(short)?;
            Ok(ends(Ipv4Addr::from(*from).into(), Ipv4Addr::from(*to).into(), ports))
        }
        // TCP over IPv6.
        0x21 => {
            let (from, rest) = body.split_first_chunk::<16>().ok_or(short)?;
            let (to, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
            let ports = rest.first_chunk::<4>().ok_or(short)?;
            Ok(ends(Ipv6Addr::from(*from).into(), Ipv6Addr::from(*to).into(), ports))
        }
        // Unspecified, datagrams, sockets of one host.
        _ => Ok(Origin::Unknown),
    }
}
