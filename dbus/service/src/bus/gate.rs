//! Who may do what. Root and members of the group `adit` may everything; of anybody else on the system bus polkit is asked,
//! at each call. Properties and signals are kept from them by the bus' own policy (`packaging/dbus`): they see what is theirs
//! to see on a D-Bus connection of their own, which `Open` hands over.

use std::ffi::CString;
use std::ops::Deref;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::ApiError;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use zbus::message::{Flags, Header};
use zbus::names::{OwnedUniqueName, UniqueName};

use super::places::{Place, Places};
use super::polkit::{self, Action};
use crate::registry::{Facts, Owner, Role};
use crate::rights::GROUP;

/// A caller, as the kernel or the bus vouches for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Caller {
    /// Its user.
    pub uid: u32,
    /// Its groups, the primary one among them.
    pub gids: Vec<u32>,
}

impl Caller {
    /// Root and members of the group `adit`.
    pub(crate) fn may_everything(&self) -> bool {
        self.uid == 0 || adit_gid().is_some_and(|gid| self.gids.contains(&gid))
    }

    /// Whose a connection is of content that this caller hands over.
    pub(crate) fn as_owner(&self) -> Owner {
        if self.may_everything() { Owner::Administrator } else { Owner::Person(self.uid) }
    }

    /// Whether a connection is one that this caller may know of, if it may connect at all.
    fn sees(&self, facts: &Facts) -> bool {
        match (facts.role, facts.owner) {
            (Role::Client, Owner::Host) => true,
            (Role::Client, Owner::Person(uid)) => uid == self.uid,
            (Role::Client, Owner::Administrator) | (Role::Server, _) => false,
        }
    }
}

/// How many octets of calls one caller may have under way: from when they come until they are answered.
const MOST_UNDER_WAY: usize = 1 << 20;
/// What the smallest call counts for: it costs a task.
const LEAST: usize = 1 << 12;

/// A caller that was let in. Its call is under way until this is dropped.
pub(crate) struct Admitted {
    caller: Caller,
    _under_way: Place<String>,
}

impl Deref for Admitted {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

/// Who comes in on a D-Bus connection.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    callers: Callers,
    under_way: Places<String>,
}

impl From<Callers> for Gate {
    fn from(callers: Callers) -> Self {
        Self { callers, under_way: Places::new(MOST_UNDER_WAY) }
    }
}

/// Where a connection's callers are known from.
#[derive(Clone, Debug)]
pub(crate) enum Callers {
    /// The bus knows each sender.
    Bus,
    /// The socket's one peer.
    Peer(Caller),
    /// Whoever has that name on the bus, where this connection was handed over.
    Opened {
        /// Who that is.
        caller: Caller,
        /// The bus.
        bus: zbus::Connection,
        /// The name, which goes with its owner and is never used again.
        name: OwnedUniqueName,
    },
}

impl Gate {
    /// Lets root and members of the group `adit` pass, and whom polkit allows `action`. `profile`: the one it is about.
    pub(crate) async fn admit(
        &self,
        connection: &zbus::Connection,
        header: &Header<'_>,
        action: Action,
        profile: Option<&str>,
    ) -> Result<Admitted, ApiError> {
        let caller = self.caller(connection, header).await?;
        if caller.may_everything() {
            return Ok(caller);
        }
        let may_ask = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
        let allowed = match self.at_polkit(connection, header) {
            Some((bus, who)) => polkit::allows(bus, &who, action, profile, may_ask).await,
            None => Ok(false),
        };
        match allowed {
            Ok(true) => Ok(caller),
            Ok(false) => Err(refused(&caller, action).into()),
            Err(why) => {
                tracing::info!(
                    user = caller.uid,
                    action = action.id(),
                    "polkit is not there to allow it: {why}"
                );
                Err(refused(&caller, action).into())
            }
        }
    }

    /// Lets pass who may do something to that connection: it is theirs, or it is this host's and they may connect, or it is
    /// of the server and they may do that.
    pub(crate) async fn admit_to(
        &self,
        connection: &zbus::Connection,
        header: &Header<'_>,
        facts: Option<Facts>,
    ) -> Result<Admitted, ApiError> {
        // Whether there is such a connection is for those to know who may connect.
        let Some(facts) = facts else { return self.admit(connection, header, Action::Connect, None).await };
        match (facts.role, facts.owner) {
            (Role::Server, _) => self.admit(connection, header, Action::Server, Some(&facts.profile)).await,
            (Role::Client, Owner::Host) => {
                self.admit(connection, header, Action::Connect, Some(&facts.profile)).await
            }
            (Role::Client, Owner::Administrator | Owner::Person(_)) => {
                let caller = self.caller(connection, header).await?;
                match caller.may_everything() || caller.sees(&facts) {
                    true => Ok(caller),
                    false => Err(not_theirs(&caller).into()),
                }
            }
        }
    }

    /// Whether that connection is shown to whoever is behind this gate.
    pub(crate) fn shows(&self, facts: &Facts) -> bool {
        match &self.callers {
            // One D-Bus connection for all of them; who gets its signals says the bus' policy.
            Callers::Bus => true,
            Callers::Peer(caller) | Callers::Opened { caller, .. } => {
                caller.may_everything() || caller.sees(facts)
            }
        }
    }

    /// The same, of a caller that was admitted.
    pub(crate) fn shows_to(caller: &Caller, facts: &Facts, server: bool) -> bool {
        caller.may_everything() || caller.sees(facts) || (server && facts.role == Role::Server)
    }

    /// Whether it is the bus that knows them.
    pub(crate) const fn is_bus(&self) -> bool {
        matches!(self.callers, Callers::Bus)
    }

    /// Who calls, if that one has not too much under way.
    async fn caller(&self, connection: &zbus::Connection, header: &Header<'_>) -> Result<Admitted, Failure> {
        let size = usize::try_from(header.primary().body_len()).unwrap_or(usize::MAX).max(LEAST);
        let sender = header.sender().map(ToString::to_string).unwrap_or_default();
        let under_way = self.under_way.take(sender, size).ok_or_else(too_much)?;
        let caller = match &self.callers {
            Callers::Peer(caller) | Callers::Opened { caller, .. } => caller.clone(),
            Callers::Bus => ask_bus(connection, header).await.map_err(|e| {
                let text = format!("the bus does not say who is calling: {e}");
                Failure::new(FailureCode::NotAuthorized, Step::Profile, text)
            })?,
        };
        Ok(Admitted { caller, _under_way: under_way })
    }

    /// By what polkit knows them. Nobody but members may open the private socket, and no bus vouches for who did.
    fn at_polkit<'g>(
        &'g self,
        connection: &'g zbus::Connection,
        header: &'g Header<'_>,
    ) -> Option<(&'g zbus::Connection, UniqueName<'g>)> {
        match &self.callers {
            Callers::Bus => Some((connection, header.sender()?.clone())),
            Callers::Opened { bus, name, .. } => Some((bus, name.inner().clone())),
            Callers::Peer(_) => None,
        }
    }
}

fn too_much() -> Failure {
    let text = format!(
        "the caller has calls under way that nobody has answered yet: more than {} of them, or {} KiB",
        MOST_UNDER_WAY / LEAST,
        MOST_UNDER_WAY / 1024
    );
    Failure::new(FailureCode::PeerBusy, Step::Profile, text).hint("wait for an answer before the next call")
}

fn refused(caller: &Caller, action: Action) -> Failure {
    let (name, id) = (caller.name(), action.id());
    let text = format!(
        "user {name} may not do this: only root and the group {GROUP} may, and whom polkit allows {id}"
    );
    Failure::new(FailureCode::NotAuthorized, Step::Profile, text)
        .hint(format!("use sudo, or have root run  usermod -aG {GROUP} {name}  and log in again"))
}

fn not_theirs(caller: &Caller) -> Failure {
    let text = format!("the connection is another person's: user {} may not touch it", caller.name());
    Failure::new(FailureCode::NotAuthorized, Step::Profile, text)
        .hint(format!("whoever raised it may, and root, and the group {GROUP}"))
}

impl Caller {
    /// The user's name, or number.
    pub(crate) fn name(&self) -> String {
        let who = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
        who.map_or_else(|| self.uid.to_string(), |u| u.name)
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
