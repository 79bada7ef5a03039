//! `roam`: what a moving client loses of a thousand datagrams a second, whichever it is: commands that take links away
//! and give them back.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::figures::say;

/// Between two datagrams.
const PAUSE: Duration = Duration::from_millis(1);
/// It flows where so many answers have come one after the other, none of them late.
const FLOWS: u64 = 1500;
/// What comes so long after the one before it was late.
const LATE: Duration = Duration::from_millis(200);
/// A change after which it does not flow for so long has ended it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client to measure.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Who sends every datagram back, through the tunnel
    #[arg(long)]
    to: SocketAddr,
    /// A command that changes this host's links; the first one is measured, and after each the datagrams flow again
    #[arg(long = "change", required = true)]
    changes: Vec<String>,
    /// How often all of them are done; each figure is the median
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// What the first change is, in a figure's name
    #[arg(long)]
    name: String,
}

/// What the first change has cost.
struct Round {
    /// The longest time between two answers.
    gap: Duration,
    lost: u64,
}

/// Measures, and says what it found.
///
/// # Errors
/// A command that failed, or datagrams that did not flow again.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let stream = Stream::begin(arguments.to)?;
    stream.flows().context("before the first change")?;
    let round_trip = stream.ear.heard().round_trip();
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds {
        for (number, change) in arguments.changes.iter().enumerate() {
            let before = stream.ear.heard().answers();
            stream.ear.heard().gap = Duration::ZERO;
            command(change)?;
            stream.flows().with_context(|| format!("after {change}"))?;
            if number == 0 {
                rounds.push(stream.ear.heard().since(before));
            }
        }
    }
    stream.end()?;
    let name = &arguments.name;
    let ms = |d: Duration| format!("{:.0}", d.as_secs_f64() * 1e3);
    say(&format!("{name}: gap, ms"), &ms(middle(rounds.iter().map(|r| r.gap).collect())));
    say(&format!("{name}: longest gap, ms"), &ms(rounds.iter().map(|r| r.gap).max().unwrap_or_default()));
    let lost = middle(rounds.iter().map(|r| r.lost).collect());
    say(&format!("{name}: datagrams lost"), &lost.to_string());
    say(&format!("{name}: round trip without it, ms"), &ms(round_trip));
    Ok(())
}

/// The lower of the two in the middle, where there are two.
fn middle<T: Ord + Copy + Default>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
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
    /// By the datagram's number: how long it took.
    took: Vec<Option<Duration>>,
    last: Option<Instant>,
    /// The longest time between two answers since this was set to nothing.
    gap: Duration,
    /// Answers since the last one that was late.
    in_time: u64,
}

impl Heard {
    fn take(&mut self, number: u64, sent: Duration, now: Instant, begun: Instant) {
        let Ok(index) = usize::try_from(number) else { return };
        if self.took.len() <= index {
            self.took.resize(index + 1, None);
        }
        if let Some(place) = self.took.get_mut(index) {
            *place = Some(now.saturating_duration_since(begun).saturating_sub(sent));
        }
        let pause = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.last = Some(now);
        self.gap = self.gap.max(pause);
        self.in_time = if pause > LATE { 0 } else { self.in_time + 1 };
    }

    /// Numbers up to the newest answer.
    const fn answers(&self) -> usize {
        self.took.len()
    }

    fn since(&self, before: usize) -> Round {
        let missing = self.took.get(before..).unwrap_or_default().iter().filter(|t| t.is_none()).count();
        Round { gap: self.gap, lost: u64::try_from(missing).unwrap_or(u64::MAX) }
    }

    fn round_trip(&self) -> Duration {
        middle(self.took.iter().flatten().copied().collect())
    }
}

/// A thousand datagrams a second, each answered.
struct Stream {
    ear: Arc<Ear>,
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Stream {
    fn begin(to: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("UDP")?;
        socket.connect(to).with_context(|| to.to_string())?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut stream =
            Self { ear: Arc::default(), over: Arc::default(), sent: Arc::default(), threads: Vec::new() };
        let begun = Instant::now();
        let (twin, over, ear) = (socket.try_clone()?, Arc::clone(&stream.over), Arc::clone(&stream.ear));
        stream.threads.push(thread::spawn(move || receive(&twin, &over, &ear, begun)));
        let (over, sent) = (Arc::clone(&stream.over), Arc::clone(&stream.sent));
        stream.threads.push(thread::spawn(move || send(&socket, &over, &sent, begun)));
        Ok(stream)
    }

    /// Waits until it flows.
    fn flows(&self) -> anyhow::Result<()> {
        let mut heard = self.ear.heard();
        // What was answered before the change says nothing.
        heard.in_time = 0;
        let wait = self.ear.more.wait_timeout_while(heard, PATIENCE, |heard| heard.in_time < FLOWS);
        ensure!(!wait.unwrap_or_else(PoisonError::into_inner).1.timed_out(), "nothing comes back");
        Ok(())
    }

    fn end(self) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Release);
        for thread in self.threads {
            match thread.join() {
                Ok(result) => result.context("the datagrams")?,
                Err(_) => bail!("the datagrams broke off"),
            }
        }
        Ok(())
    }
}

/// Datagram after datagram, on time also after a late one: its number, and when it was sent.
fn send(socket: &UdpSocket, over: &AtomicBool, sent: &AtomicU64, begun: Instant) -> std::io::Result<()> {
    let mut number = 0_u64;
    while !over.load(Ordering::Acquire) {
        let due = begun + PAUSE.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let at = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut datagram = [0; 64];
        let head = number.to_be_bytes().into_iter().chain(at.to_be_bytes());
        datagram.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        match socket.send(&datagram) {
            // No way out at this moment: it is lost like any other.
            Ok(_) => {}
            Err(e) if is_passing(&e) => {}
            Err(e) => return Err(e),
        }
        number += 1;
        sent.store(number, Ordering::Release);
    }
    Ok(())
}

fn receive(socket: &UdpSocket, over: &AtomicBool, ear: &Ear, begun: Instant) -> std::io::Result<()> {
    let mut buffer = [0; 2048];
    while !over.load(Ordering::Acquire) {
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(e) if is_passing(&e) => continue,
            Err(e) => return Err(e),
        };
        let now = Instant::now();
        let word = |at: usize| {
            let bytes = buffer.get(..length)?.get(at..at + 8)?;
            Some(u64::from_be_bytes(bytes.try_into().ok()?))
        };
        if let (Some(number), Some(sent)) = (word(0), word(8)) {
            ear.heard().take(number, Duration::from_nanos(sent), now, begun);
            ear.more.notify_one();
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
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let mut heard = Heard::default();
        for n in (0..100).chain(180..400) {
            heard.take(n, Duration::from_millis(n), at(n + 50), begun);
        }
        let round = heard.since(50);
        assert_eq!((round.lost, round.gap), (80, Duration::from_millis(81)));
        assert_eq!((heard.round_trip(), heard.in_time), (Duration::from_millis(50), 320));
        heard.take(700, Duration::from_millis(700), at(750), begun);
        assert_eq!((heard.in_time, heard.since(400).lost), (0, 300));
    }

    #[test]
    fn the_median_is_one_of_them() {
        assert_eq!(middle(vec![3, 1, 2]), 2);
        assert_eq!(middle(vec![4, 1, 3, 2]), 2);
        assert_eq!(middle(Vec::<u64>::new()), 0);
    }
}
