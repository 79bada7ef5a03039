//! First messages in the name of addresses that never sent any: whole, with a key exchange value and proposals that the
//! responder takes, so that each of them costs what an honest one would.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use adit_core::Entropy;
use adit_crypto::{OsEntropy, Provider};
use adit_isakmp::crypto::CryptoProvider;
use adit_isakmp::payload::KeyExchangeData;
use adit_isakmp::proposal::{IkeProposal, offer_ike};
use adit_isakmp::{ExchangeType, Flags, Header, Message, Payload, VERSION_2};
use anyhow::Context;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::clock;
use crate::load::Target;

/// Messages are sent in bursts of this time: no sleep is as short as the space between two.
const BURST: Duration = Duration::from_millis(5);
/// The port that they come from: nobody listens there, so that answers are lost.
const DISCARD: u16 = 9;
/// Lengths of the headers before the message.
const IP: usize = 20;
const UDP: usize = 8;
/// Where a header has SPIi, and where a raw packet has its source.
const SPI: core::ops::Range<usize> = IP + UDP..IP + UDP + 8;
const SOURCE: core::ops::Range<usize> = 12..16;

/// A source of spoofed first messages.
pub struct Spoof {
    socket: OwnedFd,
    to: SockaddrIn,
    packet: Vec<u8>,
    entropy: OsEntropy,
}

impl Spoof {
    /// One against this responder.
    ///
    /// # Errors
    /// No raw socket can be had, or the target is not of IPv4.
    pub fn new(server: SocketAddr, target: &Target) -> anyhow::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)
            .context("a raw socket needs CAP_NET_RAW")?;
        // IPPROTO_RAW: the packet brings its own IP header (raw(7)).
        let IpAddr::V4(address) = server.ip() else { anyhow::bail!("{server} is not of IPv4") };
        let packet = packet((address, server.port()), &first_message(target)?)?;
        Ok(Self {
            socket,
            to: SockaddrIn::from(std::net::SocketAddrV4::new(address, 0)),
            packet,
            entropy: OsEntropy::new(),
        })
    }

    /// Sends `rate` a second until it is `over`, and counts them.
    ///
    /// # Errors
    /// A system call that failed.
    pub fn run(mut self, rate: u64, over: &AtomicBool, sent: &AtomicU64) -> anyhow::Result<()> {
        let begun = clock::now();
        let mut done = 0;
        while !over.load(Ordering::Acquire) {
            let elapsed = clock::now().since(begun).as_micros();
            let due = u64::try_from(elapsed)?.saturating_mul(rate) / 1_000_000;
            while done < due {
                self.send()?;
                done += 1;
            }
            sent.store(done, Ordering::Release);
            std::thread::sleep(BURST);
        }
        Ok(())
    }

    /// One, from an address and with an SPI that no other has.
    fn send(&mut self) -> anyhow::Result<()> {
        let [spi, source] = [self.entropy.public_u64(), self.entropy.public_u64()].map(u64::to_be_bytes);
        if let Some(place) = self.packet.get_mut(SPI) {
            place.copy_from_slice(&spi);
        }
        if let (Some(place), [_, _, _, _, _, b, c, d]) = (self.packet.get_mut(SOURCE), source) {
            // 127.128.0.0/9 of the loopback: none of it is honest.
            place.copy_from_slice(&[127, b | 128, c, d.max(1)]);
        }
        match sendto(self.socket.as_raw_fd(), &self.packet, &self.to, MsgFlags::empty()) {
            // What the queue has no room for is lost on the way.
            Ok(_) | Err(nix::errno::Errno::ENOBUFS) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

/// A whole first message, with proposals that the target takes.
///
/// # Errors
/// Proposals that cannot be read.
pub fn first_message(target: &Target) -> anyhow::Result<Vec<u8>> {
    let proposals = [target.ike.parse::<IkeProposal>()?];
    let method = *proposals.iter().flat_map(|p| &p.ke).next().context("the proposal has no key exchange")?;
    let key = Provider::new().generate(method)?;
    let header = Header {
        initiator_spi: 1,
        responder_spi: 0,
        version: VERSION_2,
        exchange: ExchangeType::IKE_SA_INIT,
        flags: Flags::of(true, false),
        message_id: 0,
    };
    let payloads = vec![
        Payload::Sa(offer_ike(&proposals, &[])),
        Payload::Ke(KeyExchangeData::new(method, key.public().to_vec())),
        Payload::Nonce(vec![7; 32]),
    ];
    Ok(Message { header, payloads }.emit()?)
}

/// An IPv4 packet with a UDP datagram. The kernel fills in the IP checksum; UDP's may be left out (RFC 768).
fn packet(to: (Ipv4Addr, u16), message: &[u8]) -> anyhow::Result<Vec<u8>> {
    let length = u16::try_from(IP + UDP + message.len())?.to_be_bytes();
    let udp_length = u16::try_from(UDP + message.len())?.to_be_bytes();
    let ip = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 17, 0, 0, 127, 128, 0, 1];
    Ok([&ip[..], &to.0.octets(), &DISCARD.to_be_bytes(), &to.1.to_be_bytes(), &udp_length, &[0, 0], message]
        .concat())
}
