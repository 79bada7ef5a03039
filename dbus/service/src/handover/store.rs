//! The service manager's file-descriptor store (sd_notify(3), sd_listen_fds(3)).

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use adit_xfrm_kernel::inherited;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::start::environment;

/// Nothing more is kept: whoever is told does not listen, or there is no memory for it.
static DEAF: AtomicBool = AtomicBool::new(false);

/// What waits until the manager has read what it was told before. Whoever is the first here has it told.
static WAITING: Mutex<VecDeque<(String, OwnedFd)>> = Mutex::new(VecDeque::new());

/// Whether there is a manager that may keep something. Whether its unit lets it, it does not tell before version 254.
pub(crate) fn is_there() -> bool {
    static LISTENS: OnceLock<bool> = OnceLock::new();
    let listens = || {
        let none = environment("FDSTORE").is_some_and(|most| most == "0");
        environment("NOTIFY_SOCKET").is_some() && !none
    };
    *LISTENS.get_or_init(listens) && !DEAF.load(Ordering::Relaxed)
}

/// There is no use in asking it again.
pub(super) fn give_up() {
    DEAF.store(true, Ordering::Relaxed);
}

/// What it has kept, by name.
pub(super) fn take() -> Vec<(String, OwnedFd)> {
    let listed = match sd_notify::listen_fds_with_names() {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(%error, "what the service manager has kept cannot be told apart");
            return Vec::new();
        }
    };
    let (numbers, names): (Vec<_>, Vec<_>) = listed.unzip();
    names.into_iter().zip(inherited(numbers)).collect()
}

/// Has it keep one more, of which nothing need be heard: a memfd, a socket.
///
/// # Errors
/// The system call's. That the manager is behind with its reading is none: it is told as soon as it listens.
pub(crate) fn put(name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut waiting = waiting();
    if waiting.is_empty() {
        match send(&unconnected()?, Some(&manager()?), &kept(name), &[fd.as_raw_fd()]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        runtime.spawn(async {
            if let Err(error) = tell_waiting().await {
                tracing::warn!(%error, "what could go on after a restart is not kept");
                self::waiting().clear();
            }
        });
    }
    waiting.push_back((name.to_owned(), fd.try_clone_to_owned()?));
    Ok(())
}

/// It is to keep those of that name no more.
pub(crate) fn remove(name: &str) {
    waiting().retain(|(other, _)| other != name);
    let text = format!("FDSTOREREMOVE=1\nFDNAME={name}");
    let told = unconnected().and_then(|socket| send(&socket, Some(&manager()?), &text, &[]));
    if let Err(error) = told {
        // A record is empty before it is removed.
        tracing::debug!(%error, name, "the service manager keeps what is of no use any more");
    }
}

fn waiting() -> MutexGuard<'static, VecDeque<(String, OwnedFd)>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kept(name: &str) -> String {
    format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0")
}

/// A thousand clients that come in at once are more than the manager's socket takes: the rest follows when it has read.
async fn tell_waiting() -> io::Result<()> {
    let socket = unconnected()?;
    connect(socket.as_raw_fd(), &manager()?)?;
    let socket = UnixDatagram::from_std(socket.into())?;
    loop {
        socket.writable().await?;
        let mut waiting = waiting();
        let Some((name, fd)) = waiting.front() else { return Ok(()) };
        let told = socket.try_io(Interest::WRITABLE, || send(&socket, None, &kept(name), &[fd.as_raw_fd()]));
        match told {
            Ok(()) => drop(waiting.pop_front()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if waiting.is_empty() {
            return Ok(());
        }
    }
}

fn manager() -> io::Result<UnixAddr> {
    let path = environment("NOTIFY_SOCKET").ok_or(io::ErrorKind::NotFound)?;
    Ok(match path.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes())?,
        None => UnixAddr::new(path.as_str())?,
    })
}

fn unconnected() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Unix, SockType::Datagram, flags, None)?)
}

/// Never waits: a socket that nobody reads must not hold anything up.
fn send(socket: &impl AsRawFd, to: Option<&UnixAddr>, text: &str, fds: &[RawFd]) -> io::Result<()> {
    let rights: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &[ControlMessage::ScmRights(fds)] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(text.as_bytes())], rights, flags, to)?;
    Ok(())
}
