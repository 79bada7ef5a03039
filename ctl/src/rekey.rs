use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{ConnectionProxy, ConnectionState, failure_from_parts};
use futures_util::StreamExt;

use crate::args::{BusChoice, Rekey, Which};
use crate::ended::Ended;
use crate::output::Output;
use crate::render::says::Became;
use crate::session;

/// `ctl rekey`.
pub(crate) async fn rekey(args: &Rekey, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let name = args.name.as_str();
    let connection = session::open(bus).await?;
    let before = session::live(&connection, name, Step::Established).await?;
    let call = |e: &zbus::Error| Ended::call(name, e);
    let proxy = ConnectionProxy::new(&connection, before.path.as_str()).await.map_err(|e| call(&e))?;
    let counted = proxy.receive_rekeys_changed().await;
    let refused = proxy.receive_rekey_refused().await.map_err(|e| call(&e))?;
    let moved = proxy.receive_transition().await.map_err(|e| call(&e))?;
    let asked = proxy.rekey(word(args.only)).await.map_err(|e| call(&e))?;
    if args.waiting.no_wait {
        return output.became(name, Became::Rekeying);
    }
    let goal = before.rekeys.saturating_add(asked.into());
    let limit = Duration::from_secs(args.waiting.timeout.into());
    let done = until(goal, counted, refused, moved);
    match tokio::time::timeout(limit, done).await {
        Ok(Ok(())) => output.became(name, Became::Rekeyed),
        Ok(Err(failure)) => Err(Ended::failed(name, failure)),
        Err(_) => {
            let text = format!(
                "not all of its keys were replaced after {} s; aditd goes on with it",
                limit.as_secs()
            );
            let failure = Failure::new(FailureCode::TimedOut, Step::Established, text);
            Err(Ended::failed(name, failure.hint(format!("ctl status {name}; journalctl -u aditd -e"))))
        }
    }
}

/// Waits until so many rekeys have been counted, or the peer has refused one.
async fn until(
    goal: u64,
    mut counted: zbus::proxy::PropertyStream<'_, u64>,
    mut refused: adit_dbus_api::RekeyRefusedStream,
    mut moved: adit_dbus_api::StateChangedStream,
) -> Result<(), Failure> {
    let gone = || {
        Failure::new(FailureCode::PeerClosed, Step::Established, "it went down meanwhile")
            .hint("ctl status; journalctl -u aditd -e")
    };
    loop {
        tokio::select! {
            change = counted.next() => {
                let change = change.ok_or_else(gone)?;
                if change.get().await.is_ok_and(|rekeys| rekeys >= goal) {
                    return Ok(());
                }
            }
            why = refused.next() => {
                let why = why.ok_or_else(gone)?;
                if let Some(failure) = why.args().ok().and_then(|args| failure_from_parts(args.why())) {
                    return Err(failure);
                }
            }
            state = moved.next() => {
                let state = state.ok_or_else(gone)?;
                let new = state.args().ok().and_then(|args| ConnectionState::from_word(args.new()));
                if matches!(new, Some(ConnectionState::Failed | ConnectionState::Disconnected)) {
                    return Err(gone());
                }
            }
        }
    }
}

const fn word(which: Which) -> &'static str {
    match which {
        Which::All => "all",
        Which::Ike => "ike",
        Which::Child => "child",
    }
}
