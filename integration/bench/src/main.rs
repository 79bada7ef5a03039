//! `adit-bench`: a load initiator, and what it measures of a responder. `cargo xtask bench` runs it.

use std::process::Command;

use adit_bench::{against, auth, bus, connect, crowd, dial, figures, flood, ike, l2tp, pptp, roam, sstp};
use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use nix::sched::{CloneFlags, unshare};

/// Measures what an IKE_SA costs a responder, and an initiator.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Processor time and memory of an IKE_SA, at several sizes
    Ike(ike::Arguments),
    /// The same of a responder that runs already, whoever's
    Against(against::Arguments),
    /// Connections with EAP that a responder lets in, whoever's
    Auth(auth::Arguments),
    /// What it takes a client to come up, whoever's
    Connect(connect::Arguments),
    /// What a client that moves loses, whoever's
    Roam(roam::Arguments),
    /// Collects figures of both into a table
    Collect(figures::Arguments),
    /// Many clients of one server, up until SIGTERM
    Dial(dial::Arguments),
    /// Many PPTP clients of one server, up until SIGTERM, or until what they cost it is known
    Pptp(crowd::Crowd),
    /// The same of L2TP; IPsec around it is its host's
    L2tp(crowd::Crowd),
    /// The same of SSTP
    Sstp(sstp::Arguments),
    /// Calls of `org.adit1` that wait for no answer
    Bus(bus::Arguments),
    /// Spoofed first messages, and honest clients who all get in
    Flood(flood::Arguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.command {
        Verb::Ike(arguments) => {
            enter_namespace()?;
            ike::run(&arguments)
        }
        Verb::Against(arguments) => against::run(&arguments),
        Verb::Auth(arguments) => auth::run(&arguments),
        Verb::Connect(arguments) => connect::run(&arguments),
        Verb::Roam(arguments) => roam::run(&arguments),
        Verb::Collect(arguments) => figures::collect(&arguments),
        Verb::Dial(arguments) => dial::run(&arguments),
        Verb::Pptp(arguments) => pptp::run(&arguments),
        Verb::L2tp(arguments) => l2tp::run(&arguments),
        Verb::Sstp(arguments) => sstp::run(&arguments),
        Verb::Bus(arguments) => bus::run(&arguments),
        Verb::Flood(arguments) => {
            enter_namespace()?;
            flood::run(&arguments)
        }
    }
}

/// A network of our own: ports 500 and 4500 are free there, and nobody else's packets cost anything.
fn enter_namespace() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("a network namespace needs root")?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("ip (iproute2)")?;
    ensure!(up.success(), "the loopback interface does not come up");
    Ok(())
}
