//! Who may do what. Until there is polkit: root and the group `adit` may everything. Others are refused every method
//! here; properties are kept from them by the bus' own policy (`packaging/dbus`) and by the private socket's mode.

use std::ffi::CString;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::ApiError;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use zbus::message::Header;

use crate::rights::GROUP;

/// A caller, as the kernel or the bus vouches for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Caller {
    /// Its user.
    pub uid: u32,
    /// Its groups, the primary one among them.
    pub gids: Vec<u32>,
}

/// Where a connection's callers are known from.
#[derive(Clone, Debug)]
pub(crate) enum Gate {
    /// The bus knows each sender.
    Bus,
    /// The socket's one peer.
    Peer(Caller),
}

impl Gate {
    /// Lets root and members of the group `adit` pass.
    pub(crate) async fn admit(
        &self,
        connection: &zbus::Connection,
        header: &Header<'_>,
    ) -> Result<Caller, ApiError> {
        let caller = match self {
            Self::Peer(caller) => caller.clone(),
            Self::Bus => ask_bus(connection, header).await.map_err(|e| {
                let text = format!("the bus does not say who is calling: {e}");
                Failure::new(FailureCode::NotAuthorized, Step::Profile, text)
            })?,
        };
        if caller.uid == 0 || adit_gid().is_some_and(|gid| caller.gids.contains(&gid)) {
            return Ok(caller);
        }
        let who = User::from_uid(Uid::from_raw(caller.uid)).ok().flatten();
        let name = who.map_or_else(|| caller.uid.to_string(), |u| u.name);
        let text = format!("user {name} may not do this: only root and the group {GROUP} may");
        Err(Failure::new(FailureCode::NotAuthorized, Step::Profile, text)
            .hint(format!("use sudo, or have root run  usermod -aG {GROUP} {name}  and log in again"))
            .into())
    }
}

async fn ask_bus(connection: &zbus::Connection, header: &Header<'_>) -> zbus::Result<Caller> {
    let sender = header.sender().ok_or(zbus::Error::MissingField)?;
    let bus = zbus::fdo::DBusProxy::new(connection).await?;
    let credentials = bus.get_connection_credentials(sender.clone().into()).await?;
    let uid = credentials.unix_user_id().ok_or(zbus::Error::MissingField)?;
    Ok(match credentials.unix_group_ids() {
        Some(gids) => Caller { uid, gids: gids.clone() },
        None => Caller { uid, gids: groups_of(uid) },
    })
}

/// The groups that the user database gives a user: for a bus, or a socket, that does not tell a process's own.
pub(crate) fn groups_of(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return Vec::new() };
    let Ok(name) = CString::new(user.name) else { return Vec::new() };
    getgrouplist(&name, user.gid).unwrap_or_default().into_iter().map(Gid::as_raw).collect()
}

fn adit_gid() -> Option<u32> {
    Group::from_name(GROUP).ok().flatten().map(|g| g.gid.as_raw())
}
