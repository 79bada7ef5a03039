//! `adit-ppp-line KEY=VALUE…`: Adit's PPP on its standard input and output, as pppd's option `pty` starts it. It answers pings,
//! and ends the link after `pings=N` of them. What happens goes into the file `log=PATH`.

mod echo;
mod hdlc;
mod world;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use adit_core::{Failure, FailureCode, Instant, Step};
use adit_crypto::OsEntropy;
use adit_ppp::{Authenticated, Established, Event, Input, Ipv6Network, Link, Output};
use hdlc::Deframer;
use world::{Words, World};

fn main() -> ExitCode {
    match Line::open() {
        Ok(line) => line.run(),
        Err(why) => {
            eprintln!("adit-ppp-line: {why}");
            ExitCode::from(2)
        }
    }
}

struct Line {
    link: Link,
    world: World,
    entropy: OsEntropy,
    log: File,
    from: std::time::Instant,
    how: String,
    ours: Vec<IpAddr>,
    /// Pings that are still to be answered before the link ends. None: it does not.
    pings: Option<u32>,
}

impl Line {
    fn open() -> Result<Self, String> {
        let words = Words::read()?;
        let path = words.get("log").unwrap_or("/dev/stderr");
        let pings = words.get("pings").map(|n| n.parse().map_err(|_| format!("pings: what is {n}?")));
        Ok(Self {
            link: Link::new(world::config(&words)?),
            world: World::read(&words)?,
            entropy: OsEntropy::new(),
            log: File::create(path).map_err(|e| format!("{path}: {e}"))?,
            from: std::time::Instant::now(),
            how: String::new(),
            ours: Vec::new(),
            pings: pings.transpose()?,
        })
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.from.elapsed()
    }

    fn run(mut self) -> ExitCode {
        let (octets, mut deframer) = (heard(), Deframer::default());
        self.handle(Input::Up);
        loop {
            if let Some(code) = self.drain() {
                return code;
            }
            let wait = self.link.deadline().map_or(Duration::from_secs(60), |(at, _)| at.since(self.now()));
            match octets.recv_timeout(wait) {
                Ok(octets) => {
                    for frame in deframer.read(&octets) {
                        self.frame(frame);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.handle(Input::Wake),
                Err(RecvTimeoutError::Disconnected) => {
                    let why = Failure::new(FailureCode::PeerClosed, Step::Link, "the line is gone");
                    self.handle(Input::Down(why));
                }
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.now();
        self.link.handle(now, &mut self.entropy, input);
    }

    fn frame(&mut self, frame: Vec<u8>) {
        let Some(reply) = echo::answer(&frame, &self.ours) else { return self.handle(Input::Frame(frame)) };
        self.send(&reply);
        self.pings = self.pings.map(|left| left.saturating_sub(1));
        if self.pings == Some(0) {
            self.handle(Input::Close);
        }
    }

    fn send(&self, frame: &[u8]) {
        let mut out = std::io::stdout();
        // Nobody listens any more: the end comes by the other direction.
        let _ = out.write_all(&hdlc::emit(frame)).and_then(|()| out.flush());
    }

    fn drain(&mut self) -> Option<ExitCode> {
        while let Some(output) = self.link.poll() {
            match output {
                Output::Transmit(frame) => self.send(&frame),
                Output::Ask { id, ask } => {
                    let answer = self.world.answer(ask);
                    self.handle(Input::Answer { id, answer });
                }
                Output::Event(Event::Authenticated(who)) => self.authenticated(&who),
                Output::Event(Event::Established(up)) => self.up(&up),
                Output::Event(Event::Closed(Ok(()))) => {
                    self.say("closed");
                    return Some(ExitCode::SUCCESS);
                }
                Output::Event(Event::Closed(Err(why))) => {
                    self.say(&format!("failed {}: {why}", why.code));
                    return Some(ExitCode::FAILURE);
                }
                Output::Event(_) => {}
            }
        }
        None
    }

    fn authenticated(&mut self, who: &Authenticated) {
        let ours = who.ours.map(|method| format!("we by {method}"));
        let theirs = who.peer.as_ref().map(|(method, name)| format!("{name} by {method}"));
        self.how = ours.into_iter().chain(theirs).collect::<Vec<_>>().join(", ");
    }

    fn up(&mut self, up: &Established) {
        let v4 = up.v4.as_ref().map(|v4| IpAddr::V4(v4.local));
        let v6 = up.v6.map(|v6| IpAddr::V6(Ipv6Network::link_local(v6.local)));
        self.ours = v4.into_iter().chain(v6).collect();
        let addresses: Vec<String> = self.ours.iter().map(ToString::to_string).collect();
        self.say(&format!("up {} ({})", addresses.join(" "), self.how));
    }

    fn say(&mut self, text: &str) {
        if let Err(why) = writeln!(self.log, "{text}") {
            eprintln!("adit-ppp-line: {text} (the log: {why})");
        }
    }
}

/// What comes by the line.
fn heard() -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut input, mut buffer) = (std::io::stdin().lock(), [0; 4096]);
        // pppd has closed its end when there is nothing more, and Linux says EIO of a pty.
        while let Ok(count @ 1..) = input.read(&mut buffer) {
            let octets = buffer.get(..count).unwrap_or_default().to_vec();
            if sender.send(octets).is_err() {
                return;
            }
        }
    });
    receiver
}
