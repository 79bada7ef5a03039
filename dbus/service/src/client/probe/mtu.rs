//! How long a packet to the server may be: ICMP echoes that nobody may fragment.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_core::Entropy;
use adit_crypto::OsEntropy;
use adit_dbus_api::DoctorCheck;
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, Timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto};

use crate::daemon::Daemon;
use crate::doctor;
use crate::host::MARK;

/// How long an answer may take, and how often is asked.
const PATIENCE: Duration = Duration::from_millis(800);
const TRIES: u8 = 2;
/// Searched to this many octets.
const STEP: usize = 4;
/// Every IPv4 host takes 576 octets, every IPv6 link 1280 (RFC 791 §3.2, RFC 8200 §5).
const LEAST: (usize, usize) = (576, 1280);
/// What IP, UDP, ESP with its padding and tag, and PPP take at most.
const AROUND: usize = 100;

/// The check of the path to a server. `wanted`: the profile's `mtu`.
pub(super) async fn check(daemon: &Arc<Daemon>, remote: IpAddr, wanted: Option<u16>) -> DoctorCheck {
    let known = |text: String| doctor::check("mtu", "ok", text, "");
    let Ok(path) = daemon.host().path_to(remote).await else {
        return known(format!("MTU: no way leads to {remote}"));
    };
    let longest = usize::try_from(path.mtu).unwrap_or(1500).min(9000);
    let asked = tokio::task::spawn_blocking(move || search(remote, longest)).await;
    let Ok(Ok(Some((found, told)))) = asked else {
        return known(format!(
            "MTU: {longest} octets by this host's link; {remote} answers no pings, so what gets through is not known"
        ));
    };
    if found >= longest.saturating_sub(STEP) || told {
        let by_router = if told { ", and a router says so of longer ones" } else { "" };
        return known(format!("MTU: packets of {found} octets get to {remote} and back{by_router}"));
    }
    let fits = found.saturating_sub(AROUND);
    if wanted.is_some_and(|mtu| usize::from(mtu) <= fits) {
        return known(format!(
            "MTU: a black hole on the way to {remote} takes packets of more than {found} octets; the profile's mtu is below"
        ));
    }
    let text = format!(
        "MTU: a black hole on the way to {remote}: packets of {found} octets get through, those of {longest} vanish and no router says so; connections through the tunnel will hang"
    );
    doctor::check("mtu", "fail", text, format!("mtu = {fits}  in the profile"))
}

/// The longest packet that is answered, and whether somebody has said of a longer one that it is too long; `None`: not even a
/// short one is answered.
fn search(remote: IpAddr, longest: usize) -> io::Result<Option<(usize, bool)>> {
    let mut echo = Echo::open(remote)?;
    let least = if remote.is_ipv4() { LEAST.0 } else { LEAST.1 };
    if !echo.comes_back(least)? {
        return Ok(None);
    }
    if longest <= least || echo.comes_back(longest)? {
        return Ok(Some((longest.max(least), false)));
    }
    let (mut fits, mut fails) = (least, longest);
    while fails.saturating_sub(fits) > STEP {
        let middle = fits.midpoint(fails);
        match echo.comes_back(middle)? {
            true => fits = middle,
            false => fails = middle,
        }
    }
    Ok(Some((fits, echo.told)))
}

struct Echo {
    socket: std::os::fd::OwnedFd,
    remote: IpAddr,
    id: u16,
    sequence: u16,
    /// ICMP has said of one that it is too long (RFC 1191 §4, RFC 4443 §3.2).
    told: bool,
}

impl Echo {
    fn open(remote: IpAddr) -> io::Result<Self> {
        let v4 = remote.is_ipv4();
        let (family, protocol) =
            if v4 { (AddressFamily::INET, ipproto::ICMP) } else { (AddressFamily::INET6, ipproto::ICMPV6) };
        let socket = rustix::net::socket(family, SocketType::RAW, Some(protocol))?;
        setsockopt(&socket, sockopt::Mark, &MARK)?;
        // As long as it is said, whatever is known of the path.
        match v4 {
            true => rustix::net::sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?,
            false => rustix::net::sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?,
        }
        rustix::net::sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        rustix::net::connect(&socket, &SocketAddr::new(remote, 0))?;
        // Another check of the same server hears these answers too.
        let mut id = [0; 2];
        OsEntropy::new().public(&mut id);
        Ok(Self { socket, remote, id: u16::from_be_bytes(id), sequence: 0, told: false })
    }

    /// Whether a packet of so many octets, IP's header among them, is answered.
    fn comes_back(&mut self, octets: usize) -> io::Result<bool> {
        for _ in 0..TRIES {
            self.sequence = self.sequence.wrapping_add(1);
            let header = if self.remote.is_ipv4() { 20 } else { 40 };
            let packet = self.request(octets.saturating_sub(header));
            match rustix::net::send(&self.socket, &packet, SendFlags::empty()) {
                Ok(_) => {}
                // The link says so, or a router has said so of one before.
                Err(rustix::io::Errno::MSGSIZE) => {
                    self.told = true;
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            }
            if self.hear()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// RFC 792, RFC 4443 §4.1; the kernel has ICMPv6's checksum.
    fn request(&self, length: usize) -> Vec<u8> {
        let kind = if self.remote.is_ipv4() { 8 } else { 128 };
        let mut packet = vec![kind, 0, 0, 0];
        packet.extend(self.id.to_be_bytes());
        packet.extend(self.sequence.to_be_bytes());
        packet.resize(length.max(8), 0);
        if self.remote.is_ipv4() {
            let sum = checksum(&packet).to_be_bytes();
            packet.splice(2..4, sum);
        }
        packet
    }

    /// Whether the answer to the last request comes.
    fn hear(&mut self) -> io::Result<bool> {
        let until = Instant::now() + PATIENCE;
        let mut buffer = [MaybeUninit::uninit(); 9216];
        while Instant::now() < until {
            let heard = match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok(((heard, _), _)) => heard,
                Err(rustix::io::Errno::MSGSIZE) => {
                    self.told = true;
                    return Ok(false);
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::HOSTUNREACH) => return Ok(false),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if self.is_answer(heard) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_answer(&self, packet: &[u8]) -> bool {
        let (kind, message) = match self.remote {
            IpAddr::V4(_) => {
                let header = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
                (0, packet.get(header..).unwrap_or_default())
            }
            IpAddr::V6(_) => (129, packet),
        };
        let (id, sequence) = (self.id.to_be_bytes(), self.sequence.to_be_bytes());
        matches!(message, [k, 0, _, _, a, b, c, d, ..] if *k == kind && [*a, *b] == id && [*c, *d] == sequence)
    }
}

/// RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|two| match two {
        [a, b] => u32::from(u16::from_be_bytes([*a, *b])),
        [a] => u32::from(*a) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_rfc_1071s() {
        // The example of §3: 0001 f203 f4f5 f6f7 sums up to ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff, 0xff, 0x01]), !0x0100);
    }
}
