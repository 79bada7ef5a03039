//! `auth`: connections with EAP that a responder lets in, whoever's, with whatever decides behind it.

use std::net::{IpAddr, SocketAddr};

use crate::against::complete;
use crate::clock;
use crate::figures::say;
use crate::load::{Load, Target};
use crate::proof::EapArguments;

/// Whom to dial, and how often.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The responder
    #[arg(long)]
    server: SocketAddr,
    /// The number of its process
    #[arg(long)]
    process: u32,
    /// Who it proves to be
    #[arg(long)]
    remote_id: String,
    /// Clients are c0@, c1@ … this domain
    #[arg(long)]
    domain: String,
    /// Addresses of this host to dial from, in turn
    #[arg(long, value_delimiter = ',')]
    from: Vec<IpAddr>,
    /// What the figures are called
    #[arg(long)]
    name: String,
    /// Connections
    #[arg(long)]
    count: usize,
    /// Connections that are on their way at a time
    #[arg(long, default_value_t = 8)]
    window: usize,
    #[command(flatten)]
    eap: EapArguments,
}

/// Dials before anything is measured: what is made once is made then.
const FIRST: usize = 5;

/// Measures, and says what it found.
///
/// # Errors
/// Somebody was not let in.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let target = Target {
        server: arguments.server,
        remote_id: arguments.remote_id.parse()?,
        domain: arguments.domain.clone(),
        proof: arguments.eap.proof()?,
        ike: "aes128gcm16-prfsha256-x25519".to_owned(),
        esp: "aes128gcm16".to_owned(),
        addresses: true,
    };
    let mut load = Load::new(target, &arguments.from)?;
    complete(&load.bring_up(FIRST, 1)?)?;
    let before = clock::cpu_of(arguments.process)?;
    let outcome = load.bring_up(arguments.count, arguments.window)?;
    complete(&outcome)?;
    let cpu = clock::cpu_of(arguments.process)?.saturating_sub(before);
    let each = cpu.as_secs_f64() * 1e3 / outcome.done.max(1) as f64;
    let name = &arguments.name;
    say(&format!("{name}: connections"), &outcome.done.to_string());
    say(&format!("{name}: connections a second"), &format!("{:.1}", outcome.rate()));
    say(&format!("{name}: the gateway's CPU each, ms"), &format!("{each:.1}"));
    say(
        &format!("{name}: from the first message, median, ms"),
        &format!("{:.0}", outcome.latency(0.5).as_secs_f64() * 1e3),
    );
    Ok(())
}
