use adit_dbus_api::ManagerProxy;

use crate::args::BusChoice;
use crate::ended::Ended;
use crate::json;
use crate::output::Output;
use crate::render::says;
use crate::session;

/// `ctl reload`: ends when what changed has been carried out.
pub(crate) async fn reload(bus: BusChoice, output: Output) -> Result<(), Ended> {
    let connection = session::open(bus).await?;
    let call = |e: zbus::Error| Ended::call("", &e);
    ManagerProxy::new(&connection).await.map_err(call)?.reload().await.map_err(call)?;
    if output.json {
        return output.line(&json::document("reloaded", &true));
    }
    output.line(says::RELOADED)
}

/// The same, where a daemon is there; where there is none, it reads its files when it starts.
pub(crate) async fn quietly(bus: BusChoice) {
    let Ok(connection) = session::open(bus).await else { return };
    if let Ok(manager) = ManagerProxy::new(&connection).await {
        // A mistake in another file is not this command's; `ctl reload` tells it.
        let _ = manager.reload().await;
    }
}
