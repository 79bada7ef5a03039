use std::time::Duration;

use adit_dbus_api::signals;
use futures_util::{FutureExt, StreamExt};

use crate::args::BusChoice;
use crate::ended::Ended;
use crate::interrupt::Interrupts;
use crate::output::Output;
use crate::read::of_name;
use crate::render::says::CTRL_C_ENDS_THIS;
use crate::session;

/// How often the kernel's counters are asked for.
const TICK: Duration = Duration::from_secs(1);
/// The cursor goes home, and what is below it goes.
const CLEAR: &str = "\x1b[H\x1b[J";
/// All of the terminal is cleared.
const CLEAR_ALL: &str = "\x1b[2J";

/// `ctl status NAME --watch`: on a terminal a picture that stays in its place, each second; else what is new, whenever something is.
/// Until Ctrl-C, or until the daemon goes.
pub(crate) async fn watch(name: &str, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let connection = session::open(bus).await?;
    let mut interrupts = Interrupts::listen();
    // Before the first look: what happens after it is not missed.
    let mut stream = signals(&connection).await.map_err(|e| Ended::call(name, &e))?;
    let mut tick = tokio::time::interval(TICK);
    if output.live {
        output.say(CLEAR_ALL)?;
    }
    loop {
        let now = of_name(&connection, name, output).await?;
        output.say(&if output.live { format!("{CLEAR}{now}\n{CTRL_C_ENDS_THIS}\n") } else { now })?;
        tokio::select! {
            message = stream.next() => {
                if message.is_none() {
                    return Err(Ended::gone(name));
                }
                // One look is as good as many.
                while let Some(Some(_)) = stream.next().now_or_never() {}
            }
            _ = tick.tick(), if output.live => {}
            () = interrupts.next() => return Ok(()),
        }
    }
}
