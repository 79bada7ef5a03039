//! Traffic that goes on while tunnels come and go, or while their keys do.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use adit_lab::scenario::Scenario;
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};

/// Pause between two datagrams.
const PAUSE: Duration = Duration::from_millis(50);

/// `flow ADDRESS:PORT [DEVICE]`: a datagram with the marker every 50 ms until it is ended, from one connected socket,
/// which is bound to the device if one is named. What cannot be sent is as if it had been lost. Says `ready` when the
/// first answer is there, and then `N answers` with every twentieth.
pub(crate) fn flow(arguments: &[String]) -> Result<(), String> {
    let (to, device) = match arguments {
        [to] => (to, None),
        [to, device] => (to, Some(device)),
        _ => return Err("flow ADDRESS:PORT [DEVICE]".to_owned()),
    };
    let to: SocketAddr = to.parse().map_err(|e| format!("{to}: {e}"))?;
    let any: SocketAddr =
        if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let failed = |e: std::io::Error| format!("UDP to {to}: {e}");
    let socket = UdpSocket::bind(any).map_err(failed)?;
    if let Some(device) = device {
        setsockopt(&socket, BindToDevice, &device.into()).map_err(|e| format!("{device}: {e}"))?;
    }
    socket.connect(to).map_err(failed)?;
    let twin = socket.try_clone().map_err(failed)?;
    thread::spawn(move || {
        let (mut buffer, mut answers) = ([0_u8; 2048], 0_u64);
        loop {
            // An error is an ICMP message of an earlier datagram.
            if twin.recv(&mut buffer).is_ok() {
                answers += 1;
                match answers {
                    1 => println!("ready"),
                    many if many.is_multiple_of(20) => println!("{many} answers"),
                    _ => {}
                }
            }
        }
    });
    loop {
        let _ = socket.send(Scenario::marker().as_bytes());
        thread::sleep(PAUSE);
    }
}

/// Datagrams of a stream that may be on their way there and back.
const WINDOW: usize = 8;

/// What has not come back by then is lost.
const LOST: Duration = Duration::from_secs(10);

/// `stream ADDRESS:PORT SECONDS`: as many numbered datagrams with the marker as come back from a sink there: another is
/// sent whenever one is back, so that nothing on the way has to drop any. Says `N sent, N lost` at the end.
pub(crate) fn stream(arguments: &[String]) -> Result<(), String> {
    let [to, seconds] = arguments else { return Err("stream ADDRESS:PORT SECONDS".to_owned()) };
    let to: SocketAddr = to.parse().map_err(|e| format!("{to}: {e}"))?;
    let seconds = seconds.parse().map_err(|e| format!("{seconds}: {e}"))?;
    let failed = |e: std::io::Error| format!("UDP to {to}: {e}");
    let any: SocketAddr =
        if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).map_err(failed)?;
    socket.connect(to).map_err(failed)?;
    socket.set_read_timeout(Some(LOST)).map_err(failed)?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut buffer, mut sent, mut lost) = ([0_u8; 2048], 0_u64, 0);
    let mut on_the_way = BTreeSet::new();
    loop {
        while Instant::now() < until && on_the_way.len() < WINDOW {
            let datagram = [&sent.to_be_bytes(), Scenario::marker().as_bytes()].concat();
            // What cannot be sent is as if it had been lost: that is what is looked for.
            let _ = socket.send(&datagram);
            on_the_way.insert(sent);
            sent += 1;
        }
        if on_the_way.is_empty() {
            break;
        }
        match socket.recv(&mut buffer) {
            Ok(_) => {
                let number = buffer.first_chunk().copied().map(u64::from_be_bytes).unwrap_or_default();
                on_the_way.remove(&number);
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                lost += std::mem::take(&mut on_the_way).len();
            }
            // An ICMP message of an earlier datagram.
            Err(_) => {}
        }
    }
    println!("{sent} sent, {lost} lost");
    Ok(())
}
