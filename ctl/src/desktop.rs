//! The proxy that a person's desktop names, where a profile leaves it to the host: asked of the XDG Desktop Portal, which GNOME's
//! and KDE's settings answer by.

use std::path::Path;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::ProfileSummary;
use zbus::fdo::DBusProxy;
use zbus::{Connection, proxy};

use crate::session;

/// A desktop that is slower is none: the daemon's environment says it then.
const PATIENCE: Duration = Duration::from_secs(5);

#[proxy(
    interface = "org.freedesktop.portal.ProxyResolver",
    default_service = "org.freedesktop.portal.Desktop",
    default_path = "/org/freedesktop/portal/desktop"
)]
trait ProxyResolver {
    /// The best one first: `direct://`, `http://HOST:PORT`, `socks5://HOST:PORT` and others.
    fn lookup(&self, uri: &str) -> zbus::Result<Vec<String>>;
}

/// The server of the daemon's profile of that name, where that leaves its proxy to the host; `None` where there is no desktop to ask.
pub(crate) async fn server_by_host(daemon: &Connection, name: &str) -> Option<String> {
    if !has_session() {
        return None;
    }
    let profiles = session::snapshot(daemon).await.ok()?.profiles;
    let by_host = |p: &ProfileSummary| {
        p.name == name && p.settings.iter().any(|s| s.key == "proxy" && s.value == "\"system\"")
    };
    profiles.into_iter().find(by_host).map(|profile| profile.server)
}

/// The option `proxy` of `Up` for that server; `None` where no desktop says anything.
///
/// # Errors
/// It names one that no SSTP goes by.
pub(crate) async fn proxy_for(server: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(server) = server.filter(|_| has_session()) else { return Ok(None) };
    let asked = async {
        let session = Connection::session().await?;
        ProxyResolverProxy::new(&session).await?.lookup(&format!("https://{server}/")).await
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(found)) => chosen(&found),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

/// What an agent calls itself on its session's bus.
const AGENT: &str = "org.adit1.Agent";

/// Says on the session's bus that an agent is there. A second one is one, too: the first that answers is heard.
pub(crate) async fn be_agent(session: &Connection) {
    let _ = session.request_name(AGENT).await;
}

/// Whether the person's agent is there, who answers what a connection of theirs asks for.
pub(crate) async fn has_agent() -> bool {
    if !has_session() {
        return false;
    }
    let asked = async {
        let session = Connection::session().await?;
        Ok::<_, zbus::Error>(DBusProxy::new(&session).await?.name_has_owner(AGENT.try_into()?).await?)
    };
    tokio::time::timeout(PATIENCE, asked).await.is_ok_and(|has| has.unwrap_or(false))
}

/// Whether there is a session bus, without which nothing is asked.
pub(crate) fn has_session() -> bool {
    let said = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    said("DBUS_SESSION_BUS_ADDRESS").is_some()
        || said("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).join("bus").exists())
}

fn chosen(found: &[String]) -> Result<Option<String>, Failure> {
    // A name and password may stand before the host: who is asked for them is told of by the proxy itself.
    let option = |uri: &String| match uri.split_once("://") {
        Some(("direct", _)) => Some("direct".to_owned()),
        Some(("http", rest)) => {
            let rest = rest.trim_end_matches('/');
            Some(rest.rsplit_once('@').map_or(rest, |(_, host)| host).to_owned())
        }
        _ => None,
    };
    let Some(first) = found.first() else { return Ok(None) };
    match found.iter().find_map(option) {
        Some(option) => Ok(Some(option)),
        None => {
            let kind = first.split_once("://").map_or("something else", |(kind, _)| kind);
            let text = format!("the desktop's settings name a proxy of the kind {}", kind.escape_debug());
            Err(Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text)
                .hint("SSTP goes by HTTP proxies: name one in the desktop's settings, or in the profile:  proxy = \"proxy.example.com:3128\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_that_sstp_can_go_by_is_taken() {
        let of = |found: &[&str]| chosen(&found.iter().map(|&one| one.to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&["direct://"]).unwrap().as_deref(), Some("direct"));
        assert_eq!(of(&["http://proxy:3128"]).unwrap().as_deref(), Some("proxy:3128"));
        assert_eq!(
            of(&["socks5://s:1080", "http://u:p@proxy:3128/"]).unwrap().as_deref(),
            Some("proxy:3128")
        );
        assert!(of(&["socks5://s:1080"]).unwrap_err().text.contains("socks5"));
    }
}
