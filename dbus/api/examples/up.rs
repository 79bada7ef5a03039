//! Raises a profile and follows it until it is up or has failed: `cargo run -p adit-dbus-api --example up -- corp`.

use std::collections::HashMap;
use std::process::ExitCode;

use adit_dbus_api::{ConnectionProxy, ManagerProxy};
use futures_util::StreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> zbus::Result<ExitCode> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let bus = zbus::Connection::system().await?;
    let path = ManagerProxy::new(&bus).await?.up(&name, HashMap::new()).await?;
    let connection = ConnectionProxy::builder(&bus).path(path).build().await?;
    let mut changes = connection.receive_transition().await?;
    let mut state = connection.state().await?;
    while state == "connecting" {
        println!("{name}: {state}");
        let Some(change) = changes.next().await else { break };
        state = (*change.args()?.new()).to_owned();
    }
    if state != "connected" {
        let (code, text, hint, _) = connection.last_error().await?;
        println!("{name}: {state}: {text} ({code})\n{hint}");
        return Ok(ExitCode::FAILURE);
    }
    println!(
        "{name}: {state}: {}, {}",
        connection.interface().await?,
        connection.addresses().await?.join(", ")
    );
    Ok(ExitCode::SUCCESS)
}
