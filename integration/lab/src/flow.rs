//! Traffic that never ends by itself: what a host goes on sending while tunnels come and go.

use std::{
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    thread,
    time::Duration,
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
