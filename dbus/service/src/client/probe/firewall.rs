//! Whether this host itself lets out what a tunnel begins with. The kernel tells a sender of its own drop, and of no other.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use adit_dbus_api::DoctorCheck;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::UdpSocket;

use crate::doctor;
use crate::host::MARK;

/// A failed check, or none: what gets out tells nothing of what comes after this host.
pub(super) async fn check(remote: SocketAddr, nat: bool) -> Option<DoctorCheck> {
    let sent = send(remote, nat).await;
    let error = sent.err().filter(|error| error.kind() == ErrorKind::PermissionDenied)?;
    let text = format!(
        "this host's own firewall does not let UDP {} to {} out ({error})",
        remote.port(),
        remote.ip()
    );
    Some(doctor::check("firewall", "fail", text, "find the rule:  nft list ruleset  and let it pass"))
}

async fn send(remote: SocketAddr, nat: bool) -> std::io::Result<usize> {
    let any = match remote {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    setsockopt(&socket, sockopt::Mark, &MARK)?;
    socket.connect(remote).await?;
    // A NAT keepalive (RFC 3948 §2.3), or nothing: no server answers either.
    socket.send(if nat { &[0xff] } else { &[] }).await
}
