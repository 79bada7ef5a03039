//! `bus`: a caller of `org.adit1` on the system bus who calls and calls, and waits for no answer.

use std::collections::BTreeMap;

use adit_dbus_api::names;
use anyhow::Context;
use futures_util::StreamExt;
use zbus::message::{Flags, Type};
use zbus::{Connection, Message, MessageStream};

/// How much is called, and by whom.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Calls of each D-Bus connection
    #[arg(long)]
    calls: usize,
    /// D-Bus connections at once
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// How often all of that, by connections that are new each time
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Octets of a profile that goes with each call
    #[arg(long, default_value_t = 0)]
    octets: usize,
    /// Says that no answer is wanted
    #[arg(long)]
    silent: bool,
    /// Leaves when the last call is out, whatever was answered
    #[arg(long)]
    leave: bool,
}

/// Calls, and says how often which answer came.
///
/// # Errors
/// There is no system bus, or it ends a D-Bus connection.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answers = runtime.block_on(async {
        let mut answers = BTreeMap::new();
        for _ in 0..arguments.rounds {
            let callers = (0..arguments.connections).map(|_| caller(arguments));
            for of_one in futures_util::future::try_join_all(callers).await? {
                for (what, count) in of_one {
                    *answers.entry(what).or_insert(0_usize) += count;
                }
            }
        }
        anyhow::Ok(answers)
    })?;
    for (what, count) in answers {
        println!("{count} answers: {what}");
    }
    Ok(())
}

async fn caller(arguments: &Arguments) -> anyhow::Result<BTreeMap<String, usize>> {
    let bus = Connection::system().await.context("the system bus")?;
    let mut heard = MessageStream::from(&bus);
    let awaited = if arguments.silent || arguments.leave { 0 } else { arguments.calls };
    let speaks = async {
        for _ in 0..arguments.calls {
            // One of its own each: the bus takes no two calls of one number at once.
            bus.send(&call(arguments)?).await?;
        }
        anyhow::Ok(())
    };
    let hears = async {
        let mut answers = BTreeMap::new();
        for _ in 0..awaited {
            let answer = loop {
                let message = heard.next().await.context("the bus has ended the connection")??;
                if matches!(message.message_type(), Type::MethodReturn | Type::Error) {
                    break message;
                }
            };
            let name = answer.header().error_name().map_or_else(|| "done".to_owned(), ToString::to_string);
            *answers.entry(name).or_insert(0) += 1;
        }
        anyhow::Ok(answers)
    };
    let (_, answers) = futures_util::future::try_join(speaks, hears).await?;
    Ok(answers)
}

fn call(arguments: &Arguments) -> zbus::Result<Message> {
    let method = if arguments.octets == 0 { "ListConnections" } else { "DiagnoseContent" };
    let mut call =
        Message::method_call(names::MANAGER_PATH, method).destination(names::BUS).interface(names::MANAGER);
    if arguments.silent {
        call = call.with_flags(Flags::NO_REPLY_EXPECTED);
    }
    match arguments.octets {
        0 => call.build(&()),
        octets => call.build(&("flood", "#".repeat(octets))),
    }
}
