use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::ConnectionProxy;

use crate::args::{BusChoice, Down};
use crate::ended::Ended;
use crate::exit::Status;
use crate::json;
use crate::output::Output;
use crate::session;

/// `ctl down`.
pub(crate) async fn down(args: &Down, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let name = args.name.as_str();
    let connection = session::open(bus).await?;
    let snapshot = session::snapshot(&connection).await?;
    let Some(status) = snapshot.one_named(name)? else {
        if snapshot.profile_named(name).is_none() {
            return Err(snapshot.no_profile(name));
        }
        let failure = Failure::new(FailureCode::NotFound, Step::Close, "it is not up").hint("ctl status");
        return Err(Ended::failed(name, failure));
    };
    let call = |e: &zbus::Error| Ended::call(name, e).or(Status::DEACTIVATION);
    // A server's client has no object until it is asked for.
    let _ = session::details(&connection, status).await;
    let proxy = ConnectionProxy::new(&connection, status.path.as_str()).await.map_err(|e| call(&e))?;
    if args.waiting.no_wait {
        // The reply comes when it is down; the call is on its way when it has been sent.
        proxy.inner().call_noreply("Down", &()).await.map_err(|e| call(&e))?;
        return said(name, "is on its way down", "disconnecting", output);
    }
    let limit = Duration::from_secs(args.waiting.timeout.into());
    match tokio::time::timeout(limit, proxy.down()).await {
        Ok(Ok(())) => said(name, "is down", "disconnected", output),
        Ok(Err(error)) => Err(call(&error)),
        Err(_) => {
            let text = format!("it was not down after {} s; aditd goes on with it", limit.as_secs());
            let failure = Failure::new(FailureCode::TimedOut, Step::Close, text);
            Err(Ended::failed(name, failure.hint(format!("ctl status {name}; journalctl -u aditd -e"))))
        }
    }
}

fn said(name: &str, what: &str, state: &str, output: Output) -> Result<(), Ended> {
    if output.json {
        return output
            .line(&json::document("connection", &serde_json::json!({ "name": name, "state": state })));
    }
    output.line(&format!("{} {what}", output.out.bold(name)))
}
