//! DHCPINFORM as Windows sends it once a tunnel is up, and what the answer says.

use std::{
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt::BindToDevice};

/// Windows' request: classes, client identifier, and the options that it would like ([MS-DHCPE], RFC 2132).
fn question(address: Ipv4Addr) -> Vec<u8> {
    let mut out = vec![1, 8, 6, 0];
    out.extend(TRANSACTION);
    out.extend([0; 4]);
    out.extend(address.octets());
    out.extend([0; 12]);
    out.extend([0x53, 0x45, 0, 0, 0, 0]);
    out.resize(236, 0);
    out.extend([99, 130, 83, 99]);
    out.extend([53, 1, 8]);
    out.extend([61, 7, 8, 0x53, 0x45, 0, 0, 0, 0]);
    out.extend([60, 8]);
    out.extend(b"MSFT 5.0");
    out.extend([77, 15, 0x52]);
    out.extend(b"RAS.Microsoft\0");
    out.extend([55, 6, 6, 44, 43, 77, 249, 15]);
    out.push(255);
    out
}

const TRANSACTION: [u8; 4] = [0x5d, 0x0c, 0x11, 0x07];

/// Asks through that link, three times at most, and says a line for each option of the answer.
pub(crate) fn ask(address: Ipv4Addr, device: &str) -> Result<(), String> {
    let told = |e: std::io::Error| format!("DHCPINFORM: {e}");
    let socket = UdpSocket::bind((address, 68)).map_err(told)?;
    // The address is on `lo`, where else everybody would be asked.
    setsockopt(&socket, BindToDevice, &device.into()).map_err(|e| told(e.into()))?;
    socket.set_broadcast(true).map_err(told)?;
    socket.set_read_timeout(Some(Duration::from_secs(4))).map_err(told)?;
    for _ in 0..3 {
        socket.send_to(&question(address), (Ipv4Addr::BROADCAST, 67)).map_err(told)?;
        let mut octets = [0; 1500];
        if let Ok((length, from)) = socket.recv_from(&mut octets) {
            println!("DHCP: an answer from {from}");
            return tell(octets.get(..length).unwrap_or_default());
        }
    }
    Err("DHCPINFORM: no answer".to_owned())
}

fn tell(answer: &[u8]) -> Result<(), String> {
    let fixed = answer.get(..240).ok_or("DHCP: too short")?;
    if fixed.first() != Some(&2) || fixed.get(4..8) != Some(&TRANSACTION) {
        return Err("DHCP: not the answer".to_owned());
    }
    let mut rest = answer.get(240..).unwrap_or_default();
    while let [code @ 1..=254, length, more @ ..] = rest {
        let (value, more) = more.split_at_checked(usize::from(*length)).ok_or("DHCP: cut off")?;
        match code {
            15 => println!("DHCP: 15: {}", String::from_utf8_lossy(value)),
            _ => println!("DHCP: {code}: {value:?}"),
        }
        rest = more;
    }
    Ok(())
}
