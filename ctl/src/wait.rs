use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{ConnectionRow, ConnectionState, Seen, seen, signals, status_of};
use futures_util::StreamExt;
use zbus::{Connection, MessageStream};

use crate::args::{BusChoice, Until, Wait};
use crate::ended::Ended;
use crate::output::Output;
use crate::render::says::Became;
use crate::session;

/// `ctl wait`: until it is up or has failed, or until it is down. Raises nothing and takes nothing down.
pub(crate) async fn wait(args: &Wait, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let name = args.name.as_str();
    let connection = session::open(bus).await?;
    // Before the first look: nothing that happens after it is missed.
    let stream = signals(&connection).await.map_err(|e| Ended::call(name, &e))?;
    let watch = Watch { connection: &connection, name, until: args.until };
    let limit = Duration::from_secs(args.timeout.into());
    match tokio::time::timeout(limit, watch.over(stream)).await {
        Ok(Ok(())) => match args.until {
            Until::Up => output.became(name, Became::Up),
            Until::Down => output.became(name, Became::Down),
        },
        Ok(Err(ended)) => Err(ended),
        Err(_) => {
            let what = if args.until == Until::Up { "up" } else { "down" };
            let text = format!("it was not {what} after {} s", limit.as_secs());
            let failure = Failure::new(FailureCode::TimedOut, Step::Established, text);
            Err(Ended::failed(
                name,
                failure.hint(format!("see where it is: ctl status {name}; ctl log {name}")),
            ))
        }
    }
}

struct Watch<'w> {
    connection: &'w Connection,
    name: &'w str,
    until: Until,
}

/// Where it is.
enum Now {
    /// There.
    Reached,
    /// Not there; `Some`: this connection is on its way.
    Not(Option<ConnectionRow>),
}

impl Watch<'_> {
    async fn over(&self, mut stream: MessageStream) -> Result<(), Ended> {
        let mut followed = match self.look(None).await? {
            Now::Reached => return Ok(()),
            Now::Not(row) => row,
        };
        while let Some(message) = stream.next().await {
            let Ok(message) = message else { continue };
            let path = followed.as_ref().map(ConnectionRow::path).unwrap_or_default();
            let member = message.header().member().map(|m| m.to_string()).unwrap_or_default();
            let about = seen(&message, &path);
            let news =
                member == "InterfacesAdded" || matches!(about, Some(Seen::State { .. } | Seen::Removed));
            if !news {
                continue;
            }
            match self.look(followed.as_ref()).await? {
                Now::Reached => return Ok(()),
                Now::Not(row) => followed = row,
            }
        }
        Err(Ended::gone(self.name))
    }

    /// What is so now; `before` was on its way when somebody looked last.
    async fn look(&self, before: Option<&ConnectionRow>) -> Result<Now, Ended> {
        let snapshot = session::snapshot(self.connection).await?;
        let row = snapshot.one_named(self.name)?.cloned();
        if row.is_none() && before.is_none() && snapshot.profile_named(self.name).is_none() {
            return Err(snapshot.no_profile(self.name));
        }
        let state = row.as_ref().and_then(|row| ConnectionState::from_word(&row.state));
        match (self.until, state, &row) {
            (Until::Up, Some(ConnectionState::Connected), _) => Ok(Now::Reached),
            (Until::Up, Some(ConnectionState::Failed), Some(row)) => Err(self.failed(row).await),
            (Until::Up, None, _) if before.is_some() => Err(self.taken_down()),
            (Until::Down, None | Some(ConnectionState::Failed | ConnectionState::Disconnected), _) => {
                Ok(Now::Reached)
            }
            _ => Ok(Now::Not(row)),
        }
    }

    async fn failed(&self, row: &ConnectionRow) -> Ended {
        let status = status_of(self.connection, &row.path()).await.ok();
        let unknown = || {
            let text = "it failed, and aditd did not say why";
            Failure::new(FailureCode::Internal, Step::Close, text).hint(format!("ctl log {}", self.name))
        };
        let failure = status.and_then(|status| status.last_error).unwrap_or_else(unknown);
        Ended::failed(self.name, failure)
    }

    fn taken_down(&self) -> Ended {
        let text = "somebody took it down while it was waited for";
        let failure = Failure::new(FailureCode::Cancelled, Step::Close, text);
        Ended::failed(self.name, failure.hint(format!("raise it: ctl up {}", self.name)))
    }
}
