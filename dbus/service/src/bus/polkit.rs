//! What polkit says (`org.freedesktop.PolicyKit1.Authority`): which actions there are stands in `packaging/polkit`.

use std::collections::HashMap;
use std::time::Duration;

use zbus::names::UniqueName;
use zbus::{Connection, Variant, proxy};

/// How long polkit may take where nobody is asked.
const AT_ONCE: Duration = Duration::from_secs(20);
/// How long a person may take to type a password.
const PATIENCE: Duration = Duration::from_mins(5);
/// `AllowUserInteraction`.
const MAY_ASK: u32 = 1;

/// What somebody may be allowed who is neither root nor a member of the group `adit`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Raising, ending and looking at connections of this host's profiles.
    Connect,
    /// Raising connections of profiles that the caller hands over.
    OwnProfiles,
    /// Having profiles and `server.toml` read again.
    SystemProfiles,
    /// Looking at and ending the connections of the server's clients.
    Server,
}

impl Action {
    /// Its name at polkit.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Connect => "org.adit1.connect",
            Self::OwnProfiles => "org.adit1.own-profiles",
            Self::SystemProfiles => "org.adit1.system-profiles",
            Self::Server => "org.adit1.server",
        }
    }
}

/// The part of polkit's interface that is used.
#[proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Authority {
    /// Whether it is allowed, whether it would be after somebody proved themselves, and more that is not used.
    fn check_authorization(
        &self,
        subject: &(&str, HashMap<&str, Variant<'_>>),
        action: &str,
        details: &HashMap<&str, &str>,
        flags: u32,
        cancellation: &str,
    ) -> zbus::Result<(bool, bool, HashMap<String, String>)>;
}

/// Whether polkit allows `action` to whoever has that name on `bus`. `profile`, where it is about one, is for its rules to
/// look at.
///
/// # Errors
/// There is no polkit on this bus, or it does not answer in time: nothing is allowed then.
pub(crate) async fn allows(
    bus: &Connection,
    who: &UniqueName<'_>,
    action: Action,
    profile: Option<&str>,
    may_ask: bool,
) -> Result<bool, String> {
    let asked = async {
        let authority =
            AuthorityProxy::builder(bus).cache_properties(zbus::proxy::CacheProperties::No).build().await?;
        let subject = ("system-bus-name", HashMap::from([("name", Variant::from(who.as_str()))]));
        let details = profile.map(|name| ("profile", name)).into_iter().collect();
        let flags = if may_ask { MAY_ASK } else { 0 };
        authority.check_authorization(&subject, action.id(), &details, flags, "").await
    };
    match tokio::time::timeout(if may_ask { PATIENCE } else { AT_ONCE }, asked).await {
        Ok(Ok((allowed, _, _))) => Ok(allowed),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it does not answer".to_owned()),
    }
}
