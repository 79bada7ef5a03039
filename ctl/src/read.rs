use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{ConnectionRow, ProfileSummary};
use zbus::Connection;

use crate::args::BusChoice;
use crate::ended::Ended;
use crate::json::{self, ConnectionJson, ProfileJson};
use crate::output::{Output, now};
use crate::render;
use crate::session::{self, Snapshot};

/// `ctl status`.
pub(crate) async fn status(name: Option<&str>, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let connection = session::open(bus).await?;
    if let Some(name) = name {
        return output.say(&of_name(&connection, name, output).await?);
    }
    let snapshot = session::snapshot(&connection).await?;
    if output.json {
        let mut all = Vec::new();
        for c in &snapshot.connections {
            let Some(c) = session::details(&connection, c).await else { continue };
            let traffic = session::traffic_of(&connection, &c).await;
            all.push((c, traffic));
        }
        let all: Vec<_> = all.iter().map(|(c, traffic)| ConnectionJson::new(c, *traffic)).collect();
        return output.line(&json::document("connections", &all));
    }
    if snapshot.connections.is_empty() {
        output.remark(render::says::NOTHING_CONNECTED);
        return Ok(());
    }
    output.say(&render::table(&snapshot.connections, now(), output.out))
}

/// Everything about one connection, or the profile that has none, as it is printed.
pub(crate) async fn of_name(connection: &Connection, name: &str, output: Output) -> Result<String, Ended> {
    let snapshot = session::snapshot(connection).await?;
    let Some(found) = snapshot.one_named(name)? else {
        let Some(profile) = snapshot.profile_named(name) else { return Err(snapshot.no_profile(name)) };
        if output.json {
            return Ok(format!("{}\n", json::document("connection", &None::<()>)));
        }
        let state = state_of(profile, &snapshot);
        return Ok(render::profile(profile, &state, output.out, output.width));
    };
    let Some(found) = session::details(connection, found).await else {
        return Err(snapshot.no_profile(name));
    };
    let traffic = session::traffic_of(connection, &found).await;
    if output.json {
        let document = json::document("connection", &ConnectionJson::new(&found, traffic));
        return Ok(format!("{document}\n"));
    }
    Ok(render::block(&found, traffic, now(), output.out, output.width))
}

/// `ctl list`.
pub(crate) async fn list(bus: BusChoice, output: Output) -> Result<(), Ended> {
    let connection = session::open(bus).await?;
    let snapshot = session::snapshot(&connection).await?;
    if output.json {
        let states: Vec<String> = snapshot.profiles.iter().map(|p| state_of(p, &snapshot)).collect();
        let all: Vec<_> =
            snapshot.profiles.iter().zip(&states).map(|(p, s)| ProfileJson::new(p, s)).collect();
        return output.line(&json::document("profiles", &all));
    }
    if snapshot.profiles.is_empty() {
        output.remark(render::says::NO_PROFILES);
        return Ok(());
    }
    output.say(&render::profiles(&snapshot.profiles, |p| state_of(p, &snapshot), output.out, output.width))
}

/// `ctl show`.
pub(crate) async fn show(name: &str, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let connection = session::open(bus).await?;
    let snapshot = session::snapshot(&connection).await?;
    let Some(profile) = snapshot.profile_named(name) else {
        if snapshot.one_named(name)?.is_some() {
            let failure = Failure::new(
                FailureCode::NotFound,
                Step::Profile,
                "it is connected, but has no profile here",
            );
            return Err(Ended::failed(name, failure.hint(format!("ctl status {name}"))));
        }
        return Err(snapshot.no_profile(name));
    };
    let state = state_of(profile, &snapshot);
    if output.json {
        return output.line(&json::document("profile", &ProfileJson::new(profile, &state)));
    }
    output.say(&render::profile(profile, &state, output.out, output.width))
}

/// A profile's state: its connection's, or `down`, or `invalid`.
fn state_of(profile: &ProfileSummary, snapshot: &Snapshot) -> String {
    if !profile.problems.is_empty() {
        return "invalid".to_owned();
    }
    let number = profile.connection.as_deref().and_then(ConnectionRow::number_of);
    let connection = snapshot.connections.iter().find(|c| Some(c.number) == number);
    connection.map_or("down", |c| c.state.as_str()).to_owned()
}
