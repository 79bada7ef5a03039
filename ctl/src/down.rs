use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::ConnectionProxy;

use crate::args::{BusChoice, Down};
use crate::ended::Ended;
use crate::exit::Status;
use crate::output::Output;
use crate::render::says::Became;
use crate::session;

/// `ctl down`.
pub(crate) async fn down(args: &Down, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let name = args.name.as_str();
    let connection = session::open(bus).await?;
    let status = session::live(&connection, name, Step::Close).await?;
    let call = |e: &zbus::Error| Ended::call(name, e).or(Status::DEACTIVATION);
    let proxy = ConnectionProxy::new(&connection, status.path.as_str()).await.map_err(|e| call(&e))?;
    if args.waiting.no_wait {
        // The reply comes when it is down; the call is on its way when it has been sent.
        proxy.inner().call_noreply("Down", &()).await.map_err(|e| call(&e))?;
        return output.became(name, Became::GoingDown);
    }
    let limit = Duration::from_secs(args.waiting.timeout.into());
    match tokio::time::timeout(limit, proxy.down()).await {
        Ok(Ok(())) => output.became(name, Became::Down),
        Ok(Err(error)) => Err(call(&error)),
        Err(_) => {
            let text = format!("it was not down after {} s; aditd goes on with it", limit.as_secs());
            let failure = Failure::new(FailureCode::TimedOut, Step::Close, text);
            Err(Ended::failed(name, failure.hint(format!("ctl status {name}; journalctl -u aditd -e"))))
        }
    }
}
