//! `roam`: what a moving client loses of a thousand packets a second, whichever it is: commands that take links away
//! and give them back. The packets are pings: who answers them is the kernel, at once, and when an answer came is what
//! the kernel says, so that no program that waits for a processor is part of what is measured.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::capture::Capture;
use crate::clock;
use crate::figures::say;
use crate::pcap::Seen;
use crate::ping::Pings;

/// Between two packets.
const PAUSE: Duration = Duration::from_millis(1);
/// It flows where so many answers have come one after the other, none of them late.
const FLOWS: u64 = 1500;
/// What comes so long after the one before it was late.
const LATE: Duration = Duration::from_millis(200);

/// A client to measure.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Who answers pings, through the tunnel
    #[arg(long)]
    to: Ipv4Addr,
    /// A command that changes this host's links; the first one is measured, and after each the packets flow again
    #[arg(long = "change", required = true)]
    changes: Vec<String>,
    /// How often all of them are done; each figure is the median
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// What the first change is, in a figure's name
    #[arg(long)]
    name: String,
    /// This host's address on the link that it goes to: the gap is told in parts, before and after the first IKE request from there
    #[arg(long, requires = "capture")]
    from: Option<Ipv4Addr>,
    /// Where the capture that tells that goes
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// A change after which it does not flow for so many seconds has ended it
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// That it does not flow again after the first change is a figure too, and the last one
    #[arg(long)]
    may_stay: bool,
}

/// What the first change has cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Round {
    /// The last answer before the gap, by the clock of a capture.
    from: Duration,
    /// The longest time between two answers.
    gap: Duration,
    lost: usize,
}

/// Measures, and says what it found.
///
/// # Errors
/// A command that failed, datagrams that did not flow again, or a gap in which the wire shows no request.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let capture = arguments.capture.as_deref().map(|file| Capture::start("any", file)).transpose()?;
    let patience = Duration::from_secs(arguments.patience);
    let stream = Stream::begin(arguments.to)?;
    stream.flows(patience).context("before the first change")?;
    let round_trip = stream.ear.heard().round_trip();
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds {
        for (number, change) in arguments.changes.iter().enumerate() {
            let before = stream.ear.heard().answers();
            stream.ear.heard().gap = Duration::ZERO;
            command(change)?;
            let flows = stream.flows(patience);
            if number == 0 && flows.is_err() && arguments.may_stay {
                say(&format!("{}: gap, ms", arguments.name), &format!("more than {}", patience.as_millis()));
                return stream.end();
            }
            flows.with_context(|| format!("after {change}"))?;
            if number == 0 {
                rounds.push(stream.ear.heard().since(before));
            }
        }
    }
    stream.end()?;
    tell(&arguments.name, &rounds, round_trip);
    if let (Some(capture), Some(from)) = (capture, arguments.from) {
        let seen = capture.stop()?;
        let all = rounds.iter().map(|round| parts(round, &seen, from)).collect::<anyhow::Result<Vec<_>>>()?;
        let parts: Vec<Parts> = all.into_iter().flatten().collect();
        let figure = |what: &str, part: fn(&Parts) -> Duration| {
            let name = &arguments.name;
            say(&format!("{name}: {what}, ms"), &ms(middle(parts.iter().map(part).collect())));
        };
        ensure!(!parts.is_empty(), "no pause in which a request left from {from}");
        if parts.len() < rounds.len() {
            let later = rounds.len() - parts.len();
            say(&format!("{}: rounds with a longer pause later", arguments.name), &later.to_string());
        }
        figure("… of it to the first request over the other path", |p| p.before);
        figure("… from there to the first answer", |p| p.after);
        figure("… from there to the request's own response", |p| p.response);
    }
    Ok(())
}

fn tell(name: &str, rounds: &[Round], round_trip: Duration) {
    let figure = |what: &str, value: String| say(&format!("{name}: {what}"), &value);
    let gaps: Vec<Duration> = rounds.iter().map(|r| r.gap).collect();
    let lost: Vec<usize> = rounds.iter().map(|r| r.lost).collect();
    figure("gap, ms", ms(middle(gaps.clone())));
    figure("longest gap, ms", ms(gaps.into_iter().max().unwrap_or_default()));
    figure("packets lost", middle(lost.clone()).to_string());
    figure("most packets lost", lost.into_iter().max().unwrap_or_default().to_string());
    figure("round trip without it, ms", ms(round_trip));
}

fn ms(duration: Duration) -> String {
    format!("{:.0}", duration.as_secs_f64() * 1e3)
}

/// A gap in parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Parts {
    /// To the first request from the other address.
    before: Duration,
    /// From there to the first answer to a ping.
    after: Duration,
    /// From there to the response to that request.
    response: Duration,
}

/// `None`: its longest pause came after that request, and has no such parts.
fn parts(round: &Round, seen: &[Seen], from: Ipv4Addr) -> anyhow::Result<Option<Parts>> {
    let mut later = seen.iter().skip_while(|s| s.at < round.from);
    let Some(request) = later.find(|s| s.from == from && !s.response) else { return Ok(None) };
    let before = request.at.saturating_sub(round.from);
    if before >= round.gap {
        return Ok(None);
    }
    let answers = |s: &&Seen| s.response && s.from != from && s.message_id == request.message_id;
    let response = later.find(answers).context("no response to the other address")?;
    let after = round.gap.saturating_sub(before);
    Ok(Some(Parts { before, after, response: response.at.saturating_sub(request.at) }))
}

/// The upper of the two in the middle, where there are two.
fn middle<T: Ord + Copy + Default>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn command(script: &str) -> anyhow::Result<()> {
    let output = Command::new("sh").args(["-c", script]).output().context("sh")?;
    if !output.status.success() {
        bail!("{script}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// What comes back, and word of it.
#[derive(Default)]
struct Ear {
    heard: Mutex<Heard>,
    more: Condvar,
}

impl Ear {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has come back.
#[derive(Default)]
struct Heard {
    /// By the packet's number: how long it took.
    took: Vec<Option<Duration>>,
    last: Option<Duration>,
    /// The longest time between two answers since this was set to nothing.
    gap: Duration,
    /// When that began.
    from: Duration,
    /// Answers since the last one that was late.
    in_time: u64,
}

impl Heard {
    fn take(&mut self, number: u64, sent: Duration, now: Duration) {
        let Ok(index) = usize::try_from(number) else { return };
        if self.took.len() <= index {
            self.took.resize(index + 1, None);
        }
        if let Some(place) = self.took.get_mut(index) {
            *place = Some(now.saturating_sub(sent));
        }
        let pause = self.last.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        if pause > self.gap {
            (self.gap, self.from) = (pause, self.last.unwrap_or_default());
        }
        self.last = Some(now);
        self.in_time = if pause > LATE { 0 } else { self.in_time + 1 };
    }

    /// Numbers up to the newest answer.
    const fn answers(&self) -> usize {
        self.took.len()
    }

    /// What has been missing after the first `before` answers.
    fn since(&self, before: usize) -> Round {
        let lost = self.took.get(before..).unwrap_or_default().iter().filter(|t| t.is_none()).count();
        Round { from: self.from, gap: self.gap, lost }
    }

    fn round_trip(&self) -> Duration {
        middle(self.took.iter().flatten().copied().collect())
    }
}

/// A thousand packets a second, each answered.
struct Stream {
    ear: Arc<Ear>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Stream {
    fn begin(to: Ipv4Addr) -> anyhow::Result<Self> {
        let socket = Arc::new(Pings::to(to).with_context(|| to.to_string())?);
        let mut stream = Self { ear: Arc::default(), over: Arc::default(), threads: Vec::new() };
        let (twin, over, ear) = (Arc::clone(&socket), Arc::clone(&stream.over), Arc::clone(&stream.ear));
        stream.threads.push(thread::spawn(move || receive(&twin, &over, &ear)));
        let over = Arc::clone(&stream.over);
        stream.threads.push(thread::spawn(move || send(&socket, &over)));
        Ok(stream)
    }

    /// Waits until it flows.
    fn flows(&self, patience: Duration) -> anyhow::Result<()> {
        let mut heard = self.ear.heard();
        // What was answered before the change says nothing.
        heard.in_time = 0;
        let wait = self.ear.more.wait_timeout_while(heard, patience, |heard| heard.in_time < FLOWS);
        ensure!(!wait.unwrap_or_else(PoisonError::into_inner).1.timed_out(), "nothing comes back");
        Ok(())
    }

    fn end(self) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Release);
        for thread in self.threads {
            match thread.join() {
                Ok(result) => result.context("the packets")?,
                Err(_) => bail!("the packets broke off"),
            }
        }
        Ok(())
    }
}

/// Packet after packet. One that is late makes all later: what is caught up would be lost faster than it was sent.
fn send(socket: &Pings, over: &AtomicBool) -> std::io::Result<()> {
    let (mut number, mut due) = (0_u64, Instant::now());
    while !over.load(Ordering::Acquire) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due = (due + PAUSE).max(Instant::now());
        match socket.send(number, clock::wall()) {
            // No way out at this moment: it is lost like any other.
            Ok(()) => {}
            Err(e) if is_passing(&e) => {}
            Err(e) => return Err(e),
        }
        number += 1;
    }
    Ok(())
}

fn receive(socket: &Pings, over: &AtomicBool, ear: &Ear) -> std::io::Result<()> {
    while !over.load(Ordering::Acquire) {
        let answer = match socket.receive() {
            Ok(answer) => answer,
            Err(e) if is_passing(&e) => continue,
            Err(e) => return Err(e),
        };
        if let Some(answer) = answer {
            let mut heard = ear.heard();
            heard.take(answer.number, answer.sent, answer.at);
            // Who waits is not woken for each: that would be measured, too.
            if heard.in_time >= FLOWS {
                ear.more.notify_one();
            }
        }
    }
    Ok(())
}

fn is_passing(error: &std::io::Error) -> bool {
    use ErrorKind::{
        ConnectionRefused, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable, PermissionDenied,
        TimedOut, WouldBlock,
    };
    matches!(
        error.kind(),
        ConnectionRefused
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | PermissionDenied
            | TimedOut
            | WouldBlock
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_the_pause_are_told() {
        let ms = Duration::from_millis;
        let mut heard = Heard::default();
        for n in (0..100).chain(180..400) {
            heard.take(n, ms(7000 + n), ms(7050 + n));
        }
        assert_eq!(heard.since(50), Round { from: ms(7149), gap: ms(81), lost: 80 });
        assert_eq!((heard.round_trip(), heard.in_time), (ms(50), 320));
        heard.take(700, ms(7700), ms(7750));
        assert_eq!((heard.in_time, heard.since(400).lost), (0, 300));
    }

    #[test]
    fn a_gap_has_parts() {
        let [old, new, server] = [1, 2, 3].map(|n| Ipv4Addr::new(192, 0, 2, n));
        let seen = |at: u64, from, message_id, response| Seen {
            at: Duration::from_millis(at),
            from,
            spi: 1,
            exchange: 37,
            message_id,
            response,
        };
        let wire = [
            seen(90, new, 1, false),
            seen(110, old, 2, false),
            seen(130, new, 2, false),
            seen(150, server, 1, true),
            seen(180, server, 2, true),
        ];
        let ms = Duration::from_millis;
        let round = Round { from: ms(100), gap: ms(85), lost: 0 };
        let expected = Parts { before: ms(30), after: ms(55), response: ms(50) };
        assert_eq!(parts(&round, &wire, new).unwrap(), Some(expected));
        assert_eq!(parts(&Round { gap: ms(20), ..round }, &wire, new).unwrap(), None);
        assert!(parts(&round, &wire[..3], new).is_err());
    }

    #[test]
    fn the_median_is_one_of_them() {
        assert_eq!(middle(vec![3, 1, 2]), 2);
        assert_eq!(middle(vec![4, 1, 3, 2]), 3);
        assert_eq!(middle(Vec::<u64>::new()), 0);
    }
}
