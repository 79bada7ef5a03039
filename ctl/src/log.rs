use adit_dbus_api::{LogEntry, ManagerProxy, names, signals};
use futures_util::StreamExt;

use crate::args::{BusChoice, Log};
use crate::ended::Ended;
use crate::json::{self, LogEntryJson, LogLine, SCHEMA};
use crate::output::Output;
use crate::render;
use crate::session;

/// `ctl log`: what happened to a connection lately, and with `--follow` what happens then.
pub(crate) async fn log(args: &Log, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let name = args.name.as_str();
    let connection = session::open(bus).await?;
    let call = |e: &zbus::Error| Ended::call(name, e);
    // Before the first look: nothing that happens after it is missed.
    let mut stream = signals(&connection).await.map_err(|e| call(&e))?;
    let manager = ManagerProxy::new(&connection).await.map_err(|e| call(&e))?;
    let all = manager.log(name, 0).await.map_err(|e| call(&e))?;
    if all.is_empty() {
        let snapshot = session::snapshot(&connection).await?;
        if snapshot.profile_named(name).is_none() && snapshot.one_named(name)?.is_none() {
            return Err(snapshot.no_profile(name));
        }
        if !args.follow && !output.json {
            output.remark(&render::says::nothing_happened(name));
            return Ok(());
        }
    }
    let skipped = all.len().saturating_sub(args.lines);
    let shown: Vec<&LogEntry> = all.iter().skip(skipped).collect();
    if !args.follow && output.json {
        let shown: Vec<_> = shown.into_iter().map(LogEntryJson::from).collect();
        return output.line(&json::document("log", &shown));
    }
    shown.into_iter().try_for_each(|entry| tell(entry, output))?;
    if !args.follow {
        return Ok(());
    }
    let mut last = all.last().map_or(0, |entry| entry.sequence);
    while let Some(message) = stream.next().await {
        let Ok(message) = message else { continue };
        let header = message.header();
        let of_connection = header.path().is_some_and(|path| path.as_str().starts_with(names::CONNECTIONS));
        let appeared = header.member().is_some_and(|member| member.as_str() == "InterfacesAdded");
        if !of_connection && !appeared {
            continue;
        }
        for entry in manager.log(name, last).await.map_err(|e| call(&e))? {
            tell(&entry, output)?;
            last = entry.sequence;
        }
    }
    Err(Ended::gone(name))
}

fn tell(entry: &LogEntry, output: Output) -> Result<(), Ended> {
    if output.json {
        let line = LogLine { schema: SCHEMA, entry: LogEntryJson::from(entry) };
        return output.line(&serde_json::to_string(&line).unwrap_or_default());
    }
    output.say(&render::log_entry(entry, output.out, output.width))
}
