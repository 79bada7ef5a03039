//! `connect`: what it takes a client to come up, whichever it is: commands for up and down, a daemon's process, and the
//! wire.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};

use crate::capture::Capture;
use crate::clock;
use crate::figures::say;
use crate::pcap::Seen;

/// A client to measure.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The command that raises the tunnel, and returns when it is up
    #[arg(long)]
    up: String,
    /// The command that takes it down
    #[arg(long)]
    down: String,
    /// The number of the client daemon's process, where it has one
    #[arg(long)]
    process: Option<u32>,
    /// What IKE says on the wire, where that is it
    #[command(flatten)]
    wire: Option<Wire>,
    /// How often it comes up; each figure is the median. Once more before, which does not count
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// How long nothing is done after it was taken down, in ms: a server's clearing up is no part of coming up
    #[arg(long, default_value_t = 500)]
    pause: u64,
}

/// A wire with IKE messages.
#[derive(clap::Args, Debug)]
#[group(requires_all = ["address", "interface", "capture"])]
struct Wire {
    /// The client's address
    #[arg(long, required = false)]
    address: Ipv4Addr,
    /// The interface on whose wire its messages are
    #[arg(long, required = false)]
    interface: String,
    /// Where the capture goes
    #[arg(long, value_name = "FILE", required = false)]
    capture: PathBuf,
}

/// One time up.
struct Round {
    begun: Duration,
    ended: Duration,
    cpu: Duration,
}

/// What the wire says of one time up.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Told {
    /// Requests, each with its response: nothing was sent twice.
    round_trips: usize,
    /// From the command to the first request.
    before: Duration,
    /// From each response to the next request.
    between: Duration,
    /// From each request to its response.
    waiting: Duration,
    /// From the last response to the command's end.
    after: Duration,
}

/// Measures, and says what it found.
///
/// # Errors
/// A command that failed, or a wire that does not show the requests and responses of each time.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let wire = arguments.wire.as_ref();
    let capture = wire.map(|wire| Capture::start(&wire.interface, &wire.capture)).transpose()?;
    let mut rounds = Vec::new();
    for number in 0..=arguments.rounds {
        let round = once(arguments)?;
        if number > 0 {
            rounds.push(round);
        }
    }
    let seen = capture.map(Capture::stop).transpose()?.unwrap_or_default();
    let told = wire.map(|wire| rounds.iter().map(|r| told(r, &seen, wire.address)).collect());
    let told: Option<Vec<Told>> = told.transpose()?;
    let figure = |what: &str, values: Vec<Duration>| {
        say(what, &format!("{:.2}", middle(values).as_secs_f64() * 1e3));
    };
    figure("up, ms", rounds.iter().map(|r| r.ended.saturating_sub(r.begun)).collect());
    if let Some(told) = &told {
        let of = |part: fn(&Told) -> Duration| told.iter().map(part).collect();
        figure("… to its first request", of(|t| t.before));
        figure("… between a response and the next request", of(|t| t.between));
        figure("… waiting for the server", of(|t| t.waiting));
        figure("… from the last response", of(|t| t.after));
    }
    if arguments.process.is_some() {
        figure("the client's CPU, its command's included, ms", rounds.iter().map(|r| r.cpu).collect());
    }
    if let Some(told) = &told {
        say("round trips", &shown(told.iter().map(|t| t.round_trips)));
    }
    Ok(())
}

/// `2`, or `2 to 3`.
fn shown(values: impl Iterator<Item = usize> + Clone) -> String {
    let (least, most) = (values.clone().min().unwrap_or_default(), values.max().unwrap_or_default());
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

/// The mean of the two in the middle, where there are two.
fn middle(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    let at = |n: usize| values.get(n).copied().unwrap_or_default();
    let half = values.len() / 2;
    if values.len() % 2 == 1 { at(half) } else { (at(half.saturating_sub(1)) + at(half)) / 2 }
}

fn once(arguments: &Arguments) -> anyhow::Result<Round> {
    let daemon = || arguments.process.map(clock::cpu_of).transpose();
    let cpu = || anyhow::Ok(daemon()?.unwrap_or_default() + of_commands()?);
    let (begun, before) = (clock::wall(), cpu()?);
    command(&arguments.up)?;
    let (ended, after) = (clock::wall(), cpu()?);
    command(&arguments.down)?;
    std::thread::sleep(Duration::from_millis(arguments.pause));
    Ok(Round { begun, ended, cpu: after.saturating_sub(before) })
}

/// Words, and no shell: what that takes to start is nobody's.
fn command(script: &str) -> anyhow::Result<()> {
    let mut words = script.split_whitespace();
    let program = words.next().context("no command")?;
    let output = Command::new(program).args(words).output().with_context(|| program.to_owned())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        bail!("{script}: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The processor time of every command so far.
fn of_commands() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let of = |t: nix::sys::time::TimeVal| {
        Duration::new(u64::try_from(t.tv_sec()).unwrap_or(0), u32::try_from(t.tv_usec()).unwrap_or(0) * 1000)
    };
    Ok(of(usage.user_time()) + of(usage.system_time()))
}

fn told(round: &Round, seen: &[Seen], client: Ipv4Addr) -> anyhow::Result<Told> {
    let during = seen.iter().filter(|s| round.begun <= s.at && s.at <= round.ended);
    // What the server asks meanwhile is not the client's doing.
    let ours: Vec<&Seen> = during.filter(|s| (s.from == client) != s.response).collect();
    let mut told = Told::default();
    let mut last = round.begun;
    for pair in ours.chunks(2) {
        let [request, response] = pair else { bail!("a request has no response") };
        let same = (request.exchange, request.message_id) == (response.exchange, response.message_id);
        ensure!(!request.response && response.response && same, "a message was sent twice: {pair:?}");
        let idle = request.at.saturating_sub(last);
        *if told.round_trips == 0 { &mut told.before } else { &mut told.between } += idle;
        told.waiting += response.at.saturating_sub(request.at);
        told.round_trips += 1;
        last = response.at;
    }
    ensure!(told.round_trips > 0, "the capture shows nothing");
    told.after = round.ended.saturating_sub(last);
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn seen(at: u64, ours: bool, exchange: u8, message_id: u32, response: bool) -> Seen {
        let from = if ours { CLIENT } else { Ipv4Addr::new(192, 0, 2, 2) };
        Seen { at: Duration::from_millis(at), from, spi: 1, exchange, message_id, response }
    }

    fn round() -> Round {
        Round { begun: Duration::from_millis(10), ended: Duration::from_millis(100), cpu: Duration::ZERO }
    }

    #[test]
    fn the_wire_tells_whose_time_it_was() {
        let wire = [
            seen(5, true, 37, 9, false),
            seen(12, true, 34, 0, false),
            seen(22, false, 34, 0, true),
            seen(25, true, 35, 1, false),
            seen(30, false, 37, 0, false),
            seen(31, true, 37, 0, true),
            seen(60, false, 35, 1, true),
        ];
        let millis = Duration::from_millis;
        let expected = Told {
            round_trips: 2,
            before: millis(2),
            between: millis(3),
            waiting: millis(45),
            after: millis(40),
        };
        assert_eq!(told(&round(), &wire, CLIENT).unwrap(), expected);
    }

    #[test]
    fn a_retransmission_is_not_taken_for_a_round_trip() {
        let wire = [seen(12, true, 34, 0, false), seen(15, true, 34, 0, false), seen(22, false, 34, 0, true)];
        assert!(told(&round(), &wire, CLIENT).is_err());
        assert!(told(&round(), &[], CLIENT).is_err());
    }

    #[test]
    fn the_median_of_an_even_number_is_between_two() {
        assert_eq!(middle([4, 1, 2, 3].map(Duration::from_secs).to_vec()), Duration::from_millis(2500));
        assert_eq!(middle([9, 1, 2].map(Duration::from_secs).to_vec()), Duration::from_secs(2));
    }
}
