use std::collections::HashMap;

use zbus::fdo::PropertiesProxy;
use zbus::names::InterfaceName;
use zbus::{Connection, Message};

use crate::names;
use crate::status::{ConnectionState, ConnectionStatus, Properties, WantedParts};

/// What a signal says of one object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// A step.
    Progress {
        /// Its word.
        step: String,
        /// As a person reads it.
        text: String,
    },
    /// Its state changed.
    State {
        /// The word of the former one.
        old: String,
        /// The state now.
        new: ConnectionState,
        /// A failure's code, or another word; empty where there is none.
        reason: String,
    },
    /// A secret is asked for, or not any more.
    Wanted(Option<WantedParts>),
    /// It is gone.
    Removed,
}

/// What signals have told of one connection since it came: nobody has to be asked then.
#[derive(Debug)]
pub struct Told {
    path: String,
    properties: Option<Properties>,
}

impl Told {
    /// Nothing yet, of the connection at `path`.
    #[must_use]
    pub fn of(path: &str) -> Self {
        Self { path: path.to_owned(), properties: None }
    }

    /// Takes note of a signal, if it is about it. To be given every one, in order.
    pub fn hear(&mut self, message: &Message) {
        if let Some((added, properties)) = added(message)
            && added == self.path
        {
            self.properties = Some(properties);
        } else if let (Some(known), Some(changed)) = (&mut self.properties, changed(message, &self.path)) {
            known.extend(changed);
        }
    }

    /// All that is known; `None` where it was there before the first signal.
    #[must_use]
    pub fn status(&self) -> Option<ConnectionStatus> {
        self.properties.as_ref().map(|properties| ConnectionStatus::from_properties(&self.path, properties))
    }
}

/// The path of a connection that has come, and its properties.
fn added(message: &Message) -> Option<(String, Properties)> {
    let header = message.header();
    let of = (header.interface()?.as_str(), header.member()?.as_str());
    let body = message.body();
    if of != ("org.freedesktop.DBus.ObjectManager", "InterfacesAdded") {
        return None;
    }
    let (path, mut interfaces) =
        body.deserialize::<(zbus::ObjectPath<'_>, HashMap<String, Properties>)>().ok()?;
    Some((path.as_str().to_owned(), interfaces.remove(names::CONNECTION)?))
}

/// The properties that have changed of the connection at `path`.
fn changed(message: &Message, path: &str) -> Option<Properties> {
    let header = message.header();
    let of = (header.path()?.as_str(), header.interface()?.as_str(), header.member()?.as_str());
    let body = message.body();
    if of != (path, "org.freedesktop.DBus.Properties", "PropertiesChanged") {
        return None;
    }
    let (interface, changed, _) = body.deserialize::<(&str, Properties, Vec<&str>)>().ok()?;
    (interface == names::CONNECTION).then_some(changed)
}

/// The properties of one connection.
///
/// # Errors
/// There is no such connection, or the way to the daemon is gone.
pub async fn status_of(connection: &Connection, path: &str) -> zbus::Result<ConnectionStatus> {
    let proxy = PropertiesProxy::builder(connection).destination(names::BUS).path(path).build().await?;
    let properties = proxy.get_all(InterfaceName::try_from(names::CONNECTION)?).await?;
    Ok(ConnectionStatus::from_properties(path, &properties))
}

/// What `message` says of the connection at `path`, if it is about it.
#[must_use]
pub fn seen(message: &Message, path: &str) -> Option<Seen> {
    let header = message.header();
    let (interface, member) = (header.interface()?.as_str(), header.member()?.as_str());
    let body = message.body();
    if (interface, member) == ("org.freedesktop.DBus.ObjectManager", "InterfacesRemoved") {
        let (gone, interfaces) = body.deserialize::<(zbus::ObjectPath<'_>, Vec<&str>)>().ok()?;
        return (gone.as_str() == path && interfaces.contains(&names::CONNECTION)).then_some(Seen::Removed);
    }
    if header.path()?.as_str() != path {
        return None;
    }
    if let Some(mut changed) = changed(message, path) {
        let wanted: WantedParts = changed.remove("WantedSecret")?.try_into().ok()?;
        return Some(Seen::Wanted((!wanted.0.is_empty()).then_some(wanted)));
    }
    if interface != names::CONNECTION {
        return None;
    }
    match member {
        "Progress" => {
            let (step, text) = body.deserialize::<(String, String)>().ok()?;
            Some(Seen::Progress { step, text })
        }
        "StateChanged" => {
            let (old, new, reason) = body.deserialize::<(String, &str, String)>().ok()?;
            Some(Seen::State { old, new: ConnectionState::from_word(new)?, reason })
        }
        _ => None,
    }
}
