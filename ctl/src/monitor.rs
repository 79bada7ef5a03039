use std::collections::BTreeMap;

use adit_dbus_api::{Introduced, Seen, names, seen, signals};
use futures_util::StreamExt;
use zbus::{Message, OwnedObjectPath};

use crate::args::BusChoice;
use crate::ended::Ended;
use crate::json::{EventLine, SCHEMA};
use crate::output::{Output, now};
use crate::render::{self, Event};
use crate::session;

/// `ctl monitor`: what is connected now, then what happens, until Ctrl-C, or until the daemon goes.
pub(crate) async fn monitor(bus: BusChoice, output: Output) -> Result<(), Ended> {
    let connection = session::open(bus).await?;
    let mut stream = signals(&connection).await.map_err(|e| Ended::call("", &e))?;
    let snapshot = session::snapshot(&connection).await?;
    for c in &snapshot.connections {
        let present = Event::State { old: String::new(), new: c.state.clone(), reason: String::new() };
        tell(&c.path(), &c.profile, &present, output)?;
    }
    let profiles = snapshot.profiles.into_iter().map(|p| (p.path, p.name));
    let mut known: BTreeMap<String, String> =
        snapshot.connections.into_iter().map(|c| (c.path(), c.profile)).chain(profiles).collect();
    while let Some(message) = stream.next().await {
        let Ok(message) = message else { continue };
        if let Some((path, event)) = event_of(&message, &mut known) {
            let name = known.get(&path).cloned().unwrap_or_default();
            tell(&path, &name, &event, output)?;
            if matches!(event, Event::Removed { .. }) {
                known.remove(&path);
            }
        }
    }
    Err(Ended::gone(""))
}

fn tell(path: &str, name: &str, event: &Event, output: Output) -> Result<(), Ended> {
    if !output.json {
        return output.line(&render::event(now(), name, event, output.out));
    }
    let line = EventLine { schema: SCHEMA, at: now(), path, name, event };
    output.line(&serde_json::to_string(&line).unwrap_or_default())
}

fn event_of(message: &Message, known: &mut BTreeMap<String, String>) -> Option<(String, Event)> {
    let header = message.header();
    let body = message.body();
    match header.member()?.as_str() {
        "InterfacesAdded" => {
            let (path, interfaces) = body.deserialize::<(OwnedObjectPath, Introduced)>().ok()?;
            let (what, properties) = interfaces.iter().find_map(|(i, p)| Some((kind(i.as_str())?, p)))?;
            let key = if what == "profile" { "Name" } else { "Profile" };
            let name = properties.get(key).and_then(|v| String::try_from(v.try_clone().ok()?).ok());
            // What came between the subscription and the first look has been told of already.
            let news = known.insert(path.as_str().to_owned(), name.unwrap_or_default()).is_none();
            news.then(|| (path.as_str().to_owned(), Event::Added { what }))
        }
        "InterfacesRemoved" => {
            let (path, interfaces) = body.deserialize::<(OwnedObjectPath, Vec<String>)>().ok()?;
            let what = interfaces.iter().find_map(|i| kind(i))?;
            Some((path.as_str().to_owned(), Event::Removed { what }))
        }
        _ => {
            let path = header.path()?.as_str();
            let event = match seen(message, path)? {
                Seen::Progress { step, text } => Event::Progress { step, text },
                Seen::State { old, new, reason } => {
                    Event::State { old, new: new.as_str().to_owned(), reason }
                }
                Seen::Removed | Seen::Wanted(_) => return None,
            };
            Some((path.to_owned(), event))
        }
    }
}

fn kind(interface: &str) -> Option<&'static str> {
    match interface {
        names::PROFILE => Some("profile"),
        names::CONNECTION => Some("connection"),
        _ => None,
    }
}
