use adit_dbus_api::{ConnectionState, Properties, WantedParts, names};
use zbus::Message;

/// What a signal says of one object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// A step.
    Progress { step: String, text: String },
    /// Its state changed.
    State { old: String, new: ConnectionState, reason: String },
    /// A secret is asked for, or not any more.
    Wanted(Option<WantedParts>),
    /// It is gone.
    Removed,
}

/// What `message` says of the connection at `path`, if it is about it.
pub(crate) fn seen(message: &Message, path: &str) -> Option<Seen> {
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
    if (interface, member) == ("org.freedesktop.DBus.Properties", "PropertiesChanged") {
        let (_, changed, _) = body.deserialize::<(&str, Properties, Vec<&str>)>().ok()?;
        let wanted: WantedParts = changed.get("WantedSecret")?.try_clone().ok()?.try_into().ok()?;
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
