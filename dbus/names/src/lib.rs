//! A tunnel's name servers on hosts without systemd-resolved and without NetworkManager: a request that a daemon without rights
//! sends to a helper that has them, and the helper's work, [`serve`]. It writes `/etc/resolv.conf`, or has resolvconf do it
//! where that writes the file already, and takes exactly that back.
//!
//! A connection is for one request and its reply. There is nothing secret in either.

mod file;
mod request;
mod resolvconf;

use std::io::{BufRead, Write};
use std::path::PathBuf;

pub use request::{Names, Reply, Request, RequestError, Way};

/// Where the helper listens.
pub const SOCKET: &str = "/run/adit-names";

/// What the helper works on.
#[derive(Clone, Debug)]
pub struct Place {
    /// `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// Where it keeps what was there before: `/var/lib/adit-names`.
    pub state: PathBuf,
    /// The program resolvconf, where it may be.
    pub resolvconf: Vec<PathBuf>,
}

/// Carries out the one request that comes, and says what became of it.
pub fn serve(request: impl BufRead, reply: &mut impl Write, place: &Place) {
    let done = match Request::read(request) {
        Ok(request) => carry_out(request, place),
        Err(why) => Reply::Failed(why.to_string()),
    };
    // Whoever is gone wants to know nothing more.
    let _ = reply.write_all(done.emit().as_bytes()).and_then(|()| reply.flush());
}

fn carry_out(request: Request, place: &Place) -> Reply {
    let done = match request {
        Request::Which => return Reply::Done(way(place)),
        Request::Set(Way::File, names) => file::set(place, names).map(|()| Way::File),
        Request::Set(Way::Resolvconf, names) => resolvconf::set(place, &names).map(|()| Way::Resolvconf),
        Request::Clear(Way::File, link) => file::clear(place, &link).map(|()| Way::File),
        Request::Clear(Way::Resolvconf, link) => resolvconf::clear(place, &link).map(|()| Way::Resolvconf),
    };
    done.map_or_else(|why| Reply::Failed(why.to_string()), Reply::Done)
}

fn way(place: &Place) -> Way {
    if resolvconf::writes(place) { Way::Resolvconf } else { Way::File }
}
