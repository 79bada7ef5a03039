//! Tells the helper that runs pppd's scripts (`adit-ppp-scripts`, as root) of a link. Nothing waits for it, and nothing comes
//! back from a script.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use adit_dbus_api::Traffic;
use adit_ppp::{Ipv6Network, Network};
use adit_ppp_scripts::{Down, Record, SOCKET, Up};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, getpeername, send, shutdown, socket,
};
use tokio::time::Instant;

use super::Unit;
use crate::clock;

/// What scripts are told beside addresses.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// What carries the link.
    pub(crate) device: &'static str,
    /// pppd's `ipparam`.
    pub(crate) parameter: String,
    /// pppd's `linkname`; empty: none.
    pub(crate) link: String,
    /// Who the peer has proven to be; empty: nobody.
    pub(crate) peer: String,
    /// Whether the peer's DNS servers may be used.
    pub(crate) use_peer_dns: bool,
}

/// The scripts of one link. When this is dropped, those run that end what is up: also where this daemon dies, unless its helper is
/// kept for the next one.
#[derive(Debug)]
pub(crate) struct Scripts {
    about: About,
    helper: Option<OwnedFd>,
    since: Instant,
}

impl Scripts {
    /// Finds the helper. Where there is none the log says so, and no script runs.
    pub(crate) fn begin(about: About) -> Self {
        let helper = match open() {
            Ok(helper) => Some(helper),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "pppd's scripts are not run: {SOCKET} does not answer (systemctl enable --now adit-ppp-scripts.socket)"
                );
                None
            }
        };
        Self { about, helper, since: Instant::now() }
    }

    /// Those of a link that a process before has left, with their helper, if it had one. It came up then, in seconds since 1970.
    pub(crate) fn again(about: About, helper: Option<OwnedFd>, since: u64) -> Self {
        let stood = Duration::from_secs(clock::wall().0.saturating_sub(since));
        let begun = Instant::now();
        let helper = helper.filter(|helper| {
            let peer = getpeername::<UnixAddr>(helper.as_raw_fd());
            peer.is_ok_and(|peer| peer.path() == Some(Path::new(SOCKET)))
        });
        Self { about, helper, since: begun.checked_sub(stood).unwrap_or(begun) }
    }

    /// The helper's connection, once more, for whoever keeps it for the next process.
    pub(crate) fn helper(&self) -> Option<OwnedFd> {
        self.helper.as_ref().and_then(|helper| helper.try_clone().ok())
    }

    /// A family is up on this unit.
    pub(crate) fn up(&self, unit: &Unit, network: &Network) {
        let About { device, parameter, link, peer, use_peer_dns } = self.about.clone();
        let (local, remote, dns, wins) = match network {
            Network::V4(v4) => {
                let dns = v4.dns.iter().copied().map(IpAddr::V4).collect();
                let peer = v4.peer.unwrap_or(Ipv4Addr::UNSPECIFIED);
                (IpAddr::V4(v4.local), IpAddr::V4(peer), dns, v4.wins.clone())
            }
            Network::V6(v6) => {
                let [local, remote] = [v6.local, v6.peer].map(|id| IpAddr::V6(Ipv6Network::link_local(id)));
                (local, remote, Vec::new(), Vec::new())
            }
        };
        let interface = unit.name().to_owned();
        let device = device.to_owned();
        let up = Up { interface, device, local, remote, parameter, link, peer, use_peer_dns, dns, wins };
        self.tell(&Record::Up(Box::new(up)));
    }

    /// The link is over, and has carried this.
    pub(crate) fn down(self, carried: &Traffic) {
        let seconds = self.since.elapsed().as_secs();
        self.tell(&Record::Down(Down { seconds, sent: carried.bytes_out, received: carried.bytes_in }));
    }

    fn tell(&self, record: &Record) {
        let Some(helper) = &self.helper else { return };
        let octets = record.emit();
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        match send(helper.as_raw_fd(), &octets, flags) {
            Ok(sent) if sent == octets.len() => {}
            // Half a record is none: whatever is up goes down.
            sent => {
                tracing::warn!(?sent, "pppd's scripts are not run any more: their helper does not listen");
                let _ = shutdown(helper.as_raw_fd(), nix::sys::socket::Shutdown::Both);
            }
        }
    }
}

/// Never waits: a helper that has too much to do is none.
fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(SOCKET)?)?;
    Ok(fd)
}
