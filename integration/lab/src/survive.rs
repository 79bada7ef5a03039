//! Traffic that has to survive while a tunnel moves from path to path: one TCP connection and a hundred datagrams a second.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use adit_lab::scenario::Scenario;
use nix::sys::signal::{SigSet, Signal};

use crate::traffic::PORT;

/// Between two datagrams, and two pieces of the transfer.
const PAUSE: Duration = Duration::from_millis(10);
/// Bytes of a piece.
const PIECE: usize = 256;
/// What is on its way at the end has so long to come back: of the transfer, and of the datagrams.
const REST: Duration = Duration::from_secs(30);
const LAST: Duration = Duration::from_millis(500);

/// What comes back, and word of it.
#[derive(Default)]
struct Ear {
    heard: Mutex<Heard>,
    more: Condvar,
}

/// What came back.
#[derive(Default)]
struct Heard {
    datagrams: u64,
    last: Option<Instant>,
    /// The longest time between two answers.
    gap: Duration,
}

impl Ear {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `survive TO [GAP [LOST]]`: both until SIGTERM. Then everything of the TCP transfer must have come back unchanged, and, if
/// given, the datagrams' longest pause is at most GAP ms and at most LOST of them are lost. Says `ready` when both
/// have an answer.
pub(crate) fn survive(arguments: &[String]) -> Result<(), String> {
    let usage = || "survive TO [GAP [LOST]]".to_owned();
    let to: IpAddr = arguments.first().and_then(|to| to.parse().ok()).ok_or_else(usage)?;
    let limit = |n: usize| arguments.get(n).map(|text| text.parse::<u64>().map_err(|_| usage())).transpose();
    let (gap, lost) = (limit(1)?, limit(2)?);
    let to = SocketAddr::from((to, PORT));
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    // Before the first thread, so that all have it.
    end.thread_block().map_err(|e| e.to_string())?;
    let over = Arc::new(AtomicBool::new(false));
    let transfer =
        TcpStream::connect_timeout(&to, Duration::from_secs(10)).map_err(|e| format!("TCP to {to}: {e}"))?;
    let copied = copy(transfer, &over)?;
    let ear = Arc::<Ear>::default();
    let sent = datagrams(to, &over, &ear)?;
    println!("ready");
    end.wait().map_err(|e| e.to_string())?;
    // The end is no gap: what was on its way may still come.
    over.store(true, Ordering::Release);
    let sent = sent.join().map_err(|_| "the datagrams broke off")?;
    let copied = copied.join().map_err(|_| "the transfer broke off")?;
    let heard = ear.heard();
    let (longest, missing) = (heard.gap.as_millis(), sent.saturating_sub(heard.datagrams));
    println!("UDP: {sent} datagrams, {missing} lost, longest pause {longest} ms");
    println!(
        "TCP: {}",
        copied.as_ref().map_or_else(Clone::clone, |bytes| format!("{bytes} bytes there and back"))
    );
    copied.map(drop)?;
    if gap.is_some_and(|gap| longest > u128::from(gap)) {
        return Err(format!("a pause of {longest} ms"));
    }
    if lost.is_some_and(|lost| missing > lost) {
        return Err(format!("{missing} datagrams lost"));
    }
    Ok(())
}

/// The transfer: piece by piece, each with its number. Bytes that came back.
fn copy(
    mut stream: TcpStream,
    over: &Arc<AtomicBool>,
) -> Result<thread::JoinHandle<Result<u64, String>>, String> {
    let failed = |e: std::io::Error| format!("TCP: {e}");
    let mut twin = stream.try_clone().map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let over = Arc::clone(over);
    let writer = thread::spawn(move || {
        let mut sent = 0_u64;
        while !over.load(Ordering::Acquire) {
            twin.write_all(&piece(sent)).map_err(failed)?;
            sent += 1;
            thread::sleep(PAUSE);
        }
        twin.shutdown(Shutdown::Write).map_err(failed)?;
        twin.set_read_timeout(Some(REST)).map_err(failed)?;
        Ok::<u64, String>(sent)
    });
    Ok(thread::spawn(move || {
        let (mut number, mut buffer) = (0_u64, [0; PIECE]);
        let broken = loop {
            match stream.read_exact(&mut buffer) {
                Ok(()) if buffer == piece(number) => number += 1,
                Ok(()) => break Some(format!("piece {number} came back changed")),
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => break None,
                Err(e) => break Some(e.to_string()),
            }
        };
        let sent = writer.join().map_err(|_| "the writer panicked".to_owned())??;
        match broken {
            None if number == sent => Ok(number * PIECE as u64),
            None => Err(format!("{number} of {sent} pieces came back")),
            Some(why) => Err(why),
        }
    }))
}

fn piece(number: u64) -> [u8; PIECE] {
    let mut out = [0; PIECE];
    let marker = Scenario::marker().bytes().cycle();
    out.iter_mut().zip(number.to_be_bytes().into_iter().chain(marker)).for_each(|(to, from)| *to = from);
    out
}

/// The datagrams, after the first answer. How many were sent.
fn datagrams(
    to: SocketAddr,
    over: &Arc<AtomicBool>,
    ear: &Arc<Ear>,
) -> Result<thread::JoinHandle<u64>, String> {
    let any: SocketAddr =
        if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let failed = |e: std::io::Error| format!("UDP to {to}: {e}");
    let socket = UdpSocket::bind(any).map_err(failed)?;
    socket.connect(to).map_err(failed)?;
    let twin = socket.try_clone().map_err(failed)?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).map_err(failed)?;
    socket.send(Scenario::marker().as_bytes()).map_err(failed)?;
    socket.recv(&mut [0; 2048]).map_err(failed)?;
    let (ended, note) = (Arc::clone(over), Arc::clone(ear));
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        loop {
            // An error is an ICMP message of an earlier datagram, or nothing for a while.
            if twin.recv(&mut buffer).is_err() {
                continue;
            }
            let mut heard = note.heard();
            let now = Instant::now();
            let pause = heard.last.map_or(Duration::ZERO, |last| now.duration_since(last));
            if !ended.load(Ordering::Acquire) {
                heard.gap = heard.gap.max(pause);
            }
            (heard.last, heard.datagrams) = (Some(now), heard.datagrams + 1);
            note.more.notify_one();
        }
    });
    let (over, ear) = (Arc::clone(over), Arc::clone(ear));
    Ok(thread::spawn(move || {
        let mut sent = 0;
        while !over.load(Ordering::Acquire) {
            // What cannot be sent is as if it had been lost.
            let _ = socket.send(Scenario::marker().as_bytes());
            sent += 1;
            thread::sleep(PAUSE);
        }
        drop(ear.more.wait_timeout_while(ear.heard(), LAST, |heard| heard.datagrams < sent));
        sent
    }))
}
