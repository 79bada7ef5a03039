//! The service manager's file-descriptor store (sd_notify(3), sd_listen_fds(3)).

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use adit_xfrm_kernel::inherited;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket,
};

use crate::start::environment;

/// Nothing more is kept: whoever is told does not listen, or there is no memory for it.
static DEAF: AtomicBool = AtomicBool::new(false);

/// Whether there is a manager that may keep something. Whether its unit lets it, it does not tell before version 254.
pub(super) fn is_there() -> bool {
    let none = environment("FDSTORE").is_some_and(|most| most == "0");
    environment("NOTIFY_SOCKET").is_some() && !none && !DEAF.load(Ordering::Relaxed)
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

/// Has it keep one more.
pub(super) fn put(name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    // Nothing is heard of a memfd: it need not be watched.
    send(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), &[fd.as_raw_fd()])
}

/// It is to keep that one no more.
pub(super) fn remove(name: &str) {
    if let Err(error) = send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[]) {
        tracing::debug!(%error, name, "the service manager keeps what is of no use any more");
    }
}

/// Never waits: a socket that nobody reads must not hold anything up.
fn send(text: &str, fds: &[RawFd]) -> io::Result<()> {
    let Some(path) = environment("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes())?,
        None => UnixAddr::new(path.as_str())?,
    };
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let rights: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &[ControlMessage::ScmRights(fds)] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(text.as_bytes())], rights, flags, Some(&address))?;
    Ok(())
}
