//! Sockets that outlive this process: the kernel goes on taking ESP in UDP off them, and IKE messages wait in them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use adit_xfrm_kernel::ike_socket::{Family, IkeSocket};
use tracing::{debug, info};

use crate::handover::{SOCKETS, is_there, put, remove};

/// Those that a process before has left.
#[derive(Default)]
pub struct Kept {
    by_name: BTreeMap<String, OwnedFd>,
    /// Names of those that are used again.
    used: BTreeSet<String>,
}

fn name_of(v4: bool, port: u16, encapsulates: bool) -> String {
    let family = if v4 { "ipv4" } else { "ipv6" };
    let kind = if encapsulates { "nat" } else { "ike" };
    format!("{SOCKETS}{family}-{kind}-{port}")
}

impl Kept {
    /// What the service manager has kept.
    #[must_use]
    pub fn of(kept: Vec<(String, OwnedFd)>) -> Self {
        Self { by_name: kept.into_iter().collect(), used: BTreeSet::new() }
    }

    /// The one that was left, if it is what would be made; else a new one.
    pub(super) fn bind(
        &mut self,
        family: Family,
        port: u16,
        encapsulates: bool,
        mark: u32,
    ) -> io::Result<IkeSocket> {
        let name = name_of(family == Family::V4, port, encapsulates);
        let Some(fd) = self.by_name.remove(&name) else {
            return IkeSocket::bind(family, port, encapsulates, mark);
        };
        match IkeSocket::adopt(fd, family, port, encapsulates, mark) {
            Ok(socket) => {
                self.used.insert(name);
                Ok(socket)
            }
            Err(error) => {
                info!(name, %error, "the socket that was handed over is not used");
                remove(&name);
                IkeSocket::bind(family, port, encapsulates, mark)
            }
        }
    }

    /// These are for the next process; of the others none is left.
    pub(super) fn keep(self, sockets: &[IkeSocket]) {
        let mut gone: BTreeSet<String> = self.by_name.into_keys().chain(self.used.iter().cloned()).collect();
        for socket in sockets {
            let name = name_of(socket.is_v4(), socket.port(), socket.encapsulates());
            gone.remove(&name);
            if is_there()
                && !self.used.contains(&name)
                && let Err(error) = put(&name, socket.as_fd())
            {
                debug!(%error, name, "the socket does not outlive this process");
            }
        }
        gone.iter().for_each(|name| remove(name));
    }
}
