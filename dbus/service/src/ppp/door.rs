//! Where a server's clients come in: TCP, and a socket of this host for whoever ends TLS in its place.

use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use adit_core::{Failure, FailureCode, Step};
use adit_profile::PppServer as Config;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::Carriage;
use crate::host::MARK;
use crate::wire::Wire;

/// Connections that wait to be taken.
const BACKLOG: u32 = 512;
/// Who may write into a socket: its owner, and the group of it, which is the directory's where that is set-group-ID.
const SOCKET_MODE: u32 = 0o660;

/// One of them.
pub(super) enum Door {
    /// TCP.
    Tcp(TcpListener),
    /// AF_UNIX. Its file goes with it.
    Unix(UnixListener, File),
}

/// A socket's file.
pub(super) struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// All of a server's.
///
/// # Errors
/// A port is taken, or a socket cannot be made.
pub(super) fn open(config: &Config, carriage: Carriage) -> Result<Vec<Door>, Failure> {
    let front = config.front.socket.as_ref();
    // Who has no certificate leaves TLS to others.
    let by_tcp = front.is_none() || !config.eap.keys.is_empty();
    let mut doors = if by_tcp { tcp(config, carriage)? } else { Vec::new() };
    if let Some(socket) = front {
        doors.push(unix(&socket.path)?);
    }
    Ok(doors)
}

fn tcp(config: &Config, carriage: Carriage) -> Result<Vec<Door>, Failure> {
    let named = !config.addresses.is_empty();
    let mut addresses = if named { config.addresses.clone() } else { carriage.any() };
    let (name, port) = (carriage.name(), config.port);
    let open = |address: &IpAddr| -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if address.is_ipv6() {
            // Whatever this host's default is: any address is one of IPv4 too, and one that is named is itself.
            setsockopt(&socket, sockopt::Ipv6V6Only, &named)?;
        }
        socket.set_reuseaddr(true)?;
        setsockopt(&socket, sockopt::Mark, &MARK)?;
        socket.bind(SocketAddr::new(*address, port))?;
        socket.listen(BACKLOG)
    };
    let one = |address: &IpAddr| {
        open(address).map(Door::Tcp).map_err(|e| {
            let text = format!("TCP port {port} of {address} cannot be bound: {e}");
            Failure::new(FailureCode::KernelRefused, Step::Kernel, text).hint(format!(
                "another server may have it:  ss -ltnp 'sport = {port}'; [{}] can name another port",
                name.to_lowercase()
            ))
        })
    };
    if !named && TcpSocket::new_v6().is_err() {
        // A kernel without IPv6.
        addresses = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    }
    addresses.iter().map(one).collect()
}

fn unix(path: &Path) -> Result<Door, Failure> {
    let open = || -> io::Result<UnixListener> {
        // One that a daemon has left behind that died; nothing else.
        if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
        Ok(listener)
    };
    let listener = open().map_err(|e| {
        let text = format!("[sstp] `socket`: {} cannot be made: {e}", path.display());
        let parent = path.parent().unwrap_or(path).display();
        Failure::new(FailureCode::KernelRefused, Step::Kernel, text).hint(format!(
            "the daemon's user needs a directory that it may write in, and its service to be let there:  install -d -o adit -g \
             haproxy -m 2750 {parent}"
        ))
    })?;
    Ok(Door::Unix(listener, File(path.to_owned())))
}

impl Door {
    /// Where it is, for people.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok().map(|a| format!("{} TCP {}", a.ip(), a.port())),
            Self::Unix(_, File(path)) => Some(path.display().to_string()),
        }
    }

    /// The next connection, and its ends: ours, and where it comes from. Of a socket of this host both are unspecified.
    pub(super) async fn accept(&self) -> io::Result<(Wire, SocketAddr, SocketAddr)> {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        match self {
            Self::Tcp(tcp) => {
                let (tcp, from) = tcp.accept().await?;
                let _ = tcp.set_nodelay(true);
                let local = tcp.local_addr().map_or(nowhere, plain);
                Ok((Wire::Tcp(tcp), local, plain(from)))
            }
            Self::Unix(unix, _) => {
                let (unix, _) = unix.accept().await?;
                Ok((Wire::Unix(unix), nowhere, nowhere))
            }
        }
    }
}

/// An address of IPv4 as it is, and not as a socket of both families has it (`::ffff:192.0.2.1`).
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
