//! UDP 500 and 4500, both families, and which of them a path belongs to.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use adit_core::{Path, Transmit};
use adit_xfrm_kernel::ike_socket::{Family, IkeSocket};
use tracing::{debug, trace, warn};

use super::kept::Kept;

/// Four zero bytes before an IKE message on port 4500 (RFC 3948 §2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// A NAT keepalive: the one payload on port 4500 that has no Non-ESP marker (RFC 3948 §2.3).
const KEEPALIVE: &[u8] = &[0xff];
/// IKE messages are at most this long; UDP allows no more.
pub(super) const MAX_DATAGRAM: usize = 65_535;

/// Which ports to bind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// 500, or 0 for any.
    pub ike: u16,
    /// 4500, or 0 for any.
    pub nat: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { ike: 500, nat: 4500 }
    }
}

/// The endpoint's sockets. A family that this host does not have is left out.
pub struct IkeSockets {
    sockets: Vec<IkeSocket>,
    ports: Ports,
    /// Which socket is looked at first.
    turn: AtomicUsize,
}

/// What was taken from a socket.
#[derive(Debug)]
pub enum Taken {
    /// An IKE message, without its Non-ESP marker.
    Message(Path, Vec<u8>),
    /// Something that is none: a keepalive, or too short. It counts like a message.
    Other,
}

impl IkeSockets {
    /// Binds both ports in both families. Where they are taken (another IKE daemon), a client can do with any
    /// others: `exact` says that it must be these.
    ///
    /// # Errors
    /// Whatever the kernel said for IPv4's socket; IPv6 may be missing.
    pub fn bind(ports: Ports, exact: bool, mark: u32) -> io::Result<Self> {
        Self::go_on(ports, exact, mark, &mut Kept::default())
    }

    /// The same, with those that a process before has left.
    ///
    /// # Errors
    /// As [`IkeSockets::bind`].
    pub fn go_on(ports: Ports, exact: bool, mark: u32, kept: &mut Kept) -> io::Result<Self> {
        match Self::bind_exactly(ports, mark, kept) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && !exact => {
                warn!(ike = ports.ike, nat = ports.nat, "ports are taken by another program; using others");
                Self::bind_exactly(Ports { ike: 0, nat: 0 }, mark, kept)
            }
            other => other,
        }
    }

    fn bind_exactly(ports: Ports, mark: u32, kept: &mut Kept) -> io::Result<Self> {
        let ike = kept.bind(Family::V4, ports.ike, false, mark)?;
        let nat = kept.bind(Family::V4, ports.nat, true, mark)?;
        let ports = Ports { ike: ike.port(), nat: nat.port() };
        let mut sockets = vec![ike, nat];
        for (port, encapsulate) in [(ports.ike, false), (ports.nat, true)] {
            match kept.bind(Family::V6, port, encapsulate, mark) {
                Ok(socket) => sockets.push(socket),
                Err(e) if e.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32) => {
                    debug!("this host has no IPv6");
                }
                Err(e) => return Err(e),
            }
        }
        Ok(Self { sockets, ports, turn: AtomicUsize::new(0) })
    }

    /// The next process gets them.
    pub fn outlive(&self, kept: Kept) {
        kept.keep(&self.sockets);
    }

    /// The ports that were bound.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Waits until a socket has a datagram; says which. They take turns: one that is flooded does not silence the
    /// others.
    pub async fn readable(&self) -> usize {
        let count = self.sockets.len().max(1);
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let (before, after) = self.sockets.split_at(first.min(self.sockets.len()));
        let waits = after.iter().chain(before).map(|s| Box::pin(s.readable()));
        let nth = futures_util::future::select_all(waits).await.1;
        (first + nth) % count
    }

    /// Takes a datagram from socket `index`, if it has one. `buffer` has room for the longest.
    pub fn receive(&self, index: usize, buffer: &mut [u8]) -> Option<Taken> {
        let socket = self.sockets.get(index)?;
        let received = match socket.receive(buffer) {
            Ok(received) => received?,
            Err(e) => {
                // An ICMP error of an earlier datagram surfaces here; retransmission deals with it.
                trace!(error = %e, "receive");
                return None;
            }
        };
        let bytes = buffer.get(..received.length)?;
        // [7296:2-2]
        let message = if socket.encapsulates() { bytes.strip_prefix(&NON_ESP_MARKER) } else { Some(bytes) };
        Some(match message {
            Some(message) => {
                Taken::Message(Path { local: received.local, remote: received.remote }, message.to_vec())
            }
            None => Taken::Other,
        })
    }

    /// Sends a datagram from the socket that its path names.
    pub fn send(&self, transmit: &Transmit) {
        let Some(socket) = self.socket_for(transmit.path.local) else {
            warn!(local = %transmit.path.local, "no socket for this address");
            return;
        };
        // [7296:2-2]
        let marker: &[u8] = match socket.encapsulates() && transmit.payload != KEEPALIVE {
            true => &NON_ESP_MARKER,
            false => &[],
        };
        if let Err(e) = socket.send(&transmit.path, &[marker, &transmit.payload]) {
            // As if it had been lost on the way: the request is sent again.
            debug!(path = ?transmit.path, error = %e, "send");
        }
    }

    fn socket_for(&self, local: SocketAddr) -> Option<&IkeSocket> {
        self.sockets.iter().find(|s| s.port() == local.port() && s.is_v4() == local.is_ipv4())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound() -> IkeSockets {
        IkeSockets::bind(Ports { ike: 0, nat: 0 }, true, 0).unwrap()
    }

    fn send(port: u16, bytes: &[u8]) {
        let from = IkeSocket::bind(Family::V4, 0, false, 0).unwrap();
        let here = |port| SocketAddr::new("127.0.0.1".parse().unwrap(), port);
        from.send(&Path { local: here(from.port()), remote: here(port) }, &[bytes]).unwrap();
    }

    #[tokio::test]
    async fn a_flooded_socket_does_not_silence_another() {
        let sockets = bound();
        for port in [sockets.ports().ike, sockets.ports().nat] {
            send(port, &[0; 32]);
        }
        // Nothing is read, so that both stay readable.
        let mut seen = [false; 2];
        for _ in 0..20 {
            if let Some(turn) = seen.get_mut(sockets.readable().await) {
                *turn = true;
            }
        }
        assert_eq!(seen, [true; 2]);
    }

    // [7296:2-2]
    #[tokio::test]
    async fn what_is_no_message_is_one_datagram_like_any() {
        let sockets = bound();
        send(sockets.ports().nat, &[1, 2, 3, 4, 5]);
        send(sockets.ports().nat, b"\0\0\0\0ike");
        let socket = sockets.readable().await;
        let mut buffer = vec![0; MAX_DATAGRAM];
        assert!(matches!(sockets.receive(socket, &mut buffer), Some(Taken::Other)));
        let Some(Taken::Message(_, message)) = sockets.receive(socket, &mut buffer) else {
            panic!("no message");
        };
        assert_eq!(message, b"ike");
        assert!(sockets.receive(socket, &mut buffer).is_none());
    }

    // [7296:2-2]
    #[tokio::test]
    async fn a_message_between_nat_ports_stands_behind_a_marker_and_a_keepalive_is_bare() {
        let sockets = bound();
        let peer = IkeSocket::bind(Family::V4, 0, false, 0).unwrap();
        let here = |port| SocketAddr::new("127.0.0.1".parse().unwrap(), port);
        let Ports { ike, nat } = sockets.ports();
        for (port, payload, expected) in [
            (nat, b"ike".as_slice(), b"\0\0\0\0ike".as_slice()),
            (nat, KEEPALIVE, KEEPALIVE),
            (ike, b"ike", b"ike"),
        ] {
            let path = Path { local: here(port), remote: here(peer.port()) };
            sockets.send(&Transmit { path, payload: payload.to_vec() });
            let mut buffer = [0; 16];
            peer.readable().await;
            let length = peer.receive(&mut buffer).unwrap().unwrap().length;
            assert_eq!(&buffer[..length], expected);
        }
    }
}
