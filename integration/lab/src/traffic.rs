//! The sink behind a server, and the source of what is sent to it. Everything carries the marker.

use std::{
    io::{IoSlice, IoSliceMut, Read, Write},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    thread,
    time::Duration,
};

use adit_lab::scenario::Scenario;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt, sockopt,
};

/// Where sinks listen, TCP and UDP.
pub(crate) const PORT: u16 = 7007;

/// Bytes of a datagram's payload.
pub(crate) const DATAGRAM: usize = 512;

/// Bytes of a ping's payload.
pub(crate) const PING: usize = 56;

/// Sends the next datagram back, from the address that it was sent to: a host may have many.
fn echo(socket: &UdpSocket, buffer: &mut [u8]) -> nix::Result<()> {
    let mut space = nix::cmsg_space!(nix::libc::in6_pktinfo);
    let (count, from, asked) = {
        let mut parts = [IoSliceMut::new(buffer)];
        let got =
            recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
        let asked = got.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(info.ipi6_addr),
            _ => None,
        });
        (got.bytes, got.address, asked)
    };
    let parts = [IoSlice::new(buffer.get(..count).unwrap_or_default())];
    let info = asked.map(|ipi6_addr| nix::libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 });
    let messages: Vec<ControlMessage<'_>> = info.iter().map(ControlMessage::Ipv6PacketInfo).collect();
    sendmsg(socket.as_raw_fd(), &parts, &messages, MsgFlags::empty(), from.as_ref()).map(drop)
}

/// Sends back whatever comes, over IPv4 and IPv6, until it is ended.
pub(crate) fn sink() -> Result<(), String> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    let listener = TcpListener::bind(any).map_err(|e| format!("TCP port {PORT}: {e}"))?;
    let socket = UdpSocket::bind(any).map_err(|e| format!("UDP port {PORT}: {e}"))?;
    setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true).map_err(|e| format!("IPV6_RECVPKTINFO: {e}"))?;
    thread::spawn(move || {
        let mut buffer = vec![0_u8; 65_536];
        loop {
            let _ = echo(&socket, &mut buffer);
        }
    });
    println!("ready");
    for stream in listener.incoming().flatten() {
        thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let Ok(mut twin) = stream.try_clone() else { return };
            let mut stream = stream;
            let _ = std::io::copy(&mut stream, &mut twin);
            let _ = twin.shutdown(std::net::Shutdown::Write);
        });
    }
    Ok(())
}

/// `send TO TCP-BYTES UDP-DATAGRAMS`: all of it must come back.
pub(crate) fn send(arguments: &[String]) -> Result<(), String> {
    let [to, tcp, udp] = arguments else { return Err("send TO TCP-BYTES UDP-DATAGRAMS".to_owned()) };
    let to: IpAddr = to.parse().map_err(|e| format!("{to}: {e}"))?;
    let (tcp, udp): (usize, usize) = (tcp.parse().unwrap_or_default(), udp.parse().unwrap_or_default());
    let to = SocketAddr::from((to, PORT));
    if tcp > 0 {
        over_tcp(to, tcp).map_err(|e| format!("TCP to {to}: {e}"))?;
        println!("TCP: {tcp} bytes there and back");
    }
    if udp > 0 {
        let back = over_udp(to, udp).map_err(|e| format!("UDP to {to}: {e}"))?;
        println!("UDP: {back} of {udp} datagrams there and back");
        if back == 0 {
            return Err(format!("UDP to {to}: no datagram came back"));
        }
    }
    Ok(())
}

fn over_tcp(to: SocketAddr, bytes: usize) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let sent = filled(bytes);
    let mut twin = stream.try_clone()?;
    let outgoing = sent.clone();
    let writer = thread::spawn(move || {
        twin.write_all(&outgoing)?;
        twin.shutdown(std::net::Shutdown::Write)
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    writer.join().map_err(|_| std::io::Error::other("the writer panicked"))??;
    if back == sent {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("{} of {bytes} bytes came back", back.len())))
    }
}

/// Each datagram is waited for; a lost one is not sent again. How many came back.
fn over_udp(to: SocketAddr, count: usize) -> std::io::Result<usize> {
    let any: SocketAddr =
        if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    let (sent, mut buffer, mut back) = (filled(DATAGRAM), [0_u8; 2048], 0);
    for _ in 0..count {
        socket.send(&sent)?;
        if matches!(socket.recv(&mut buffer), Ok(DATAGRAM)) {
            back += 1;
        }
    }
    Ok(back)
}

fn filled(bytes: usize) -> Vec<u8> {
    Scenario::marker().bytes().cycle().take(bytes).collect()
}
