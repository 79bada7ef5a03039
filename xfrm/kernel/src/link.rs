//! A netlink socket and the dialogue over it.

use std::io;

use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use crate::attribute::{SecretBuffer, find};
use crate::request::{Batch, HEADER};
use crate::{Operation, XfrmError};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// The kernel never sends more in one datagram: dumps come in 32 KiB at most.
const RECEIVE: usize = 64 * 1024;
/// The most that goes out in one `sendmsg`: far below the default send buffer, and its acknowledgements (each is
/// charged about 800 bytes) far below the default receive buffer.
const SEND: usize = 96 * 1024;
const SEND_REQUESTS: usize = 128;

/// What became of one request: the kernel's error number and words if it refused.
pub(crate) type Verdict = Result<(), (Errno, Option<String>)>;

pub(crate) struct Link {
    socket: Socket,
    received: SecretBuffer,
    sequence: u32,
}

impl Link {
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        // A courtesy to dumps; the kernel grants what net.core.rmem_max allows.
        socket.set_rx_buf_sz::<i32>(1 << 20)?;
        Ok(Self { socket, received: SecretBuffer::default(), sequence: 1 })
    }

    /// An empty batch with sequence numbers of its own.
    pub(crate) fn batch(&self) -> Batch {
        Batch::new(self.sequence)
    }

    /// Sends a batch and collects one verdict for each request. `on_data` sees the payload of every message that is
    /// an answer and not a verdict.
    pub(crate) fn exchange(
        &mut self,
        batch: Batch,
        mut on_data: impl FnMut(&[u8]),
    ) -> Result<Vec<(Operation, Verdict)>, XfrmError> {
        let Batch { bytes, operations, first_sequence } = batch;
        self.sequence = first_sequence.wrapping_add(operations.len() as u32);
        let mut verdicts: Vec<Option<Verdict>> = operations.iter().map(|_| None).collect();
        let broken = |verdicts: &[Option<Verdict>], why: String| {
            let open = verdicts.iter().position(Option::is_none).unwrap_or(0);
            let operation = operations.get(open).cloned().unwrap_or(Operation::DumpStates);
            XfrmError::Dialogue { operation, why }
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (part, later) = split_requests(rest);
            rest = later;
            let last = last_sequence(part).wrapping_sub(first_sequence) as usize;
            self.socket.send(part, 0).map_err(|e| broken(&verdicts, format!("sending: {e}")))?;
            while verdicts.iter().take(last + 1).any(Option::is_none) {
                self.receive().map_err(|e| broken(&verdicts, format!("receiving: {e}")))?;
                take(self.received.as_slice(), first_sequence, &mut verdicts, &mut on_data)
                    .map_err(|why| broken(&verdicts, why.into()))?;
                self.received.wipe();
            }
        }
        drop(bytes);
        let verdicts = verdicts.into_iter().map(|v| v.unwrap_or(Ok(())));
        Ok(operations.into_iter().zip(verdicts).collect())
    }

    /// One datagram. The kernel answers inside `send`, and continues a dump inside `recv`: what is not there now
    /// will never come.
    fn receive(&mut self) -> io::Result<()> {
        self.received.wipe();
        self.received.reserve(RECEIVE);
        loop {
            let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
            match self.socket.recv(self.received.as_mut_vec(), flags) {
                Ok(n) if n > self.received.len() => return Err(io::Error::other("an answer was cut off")),
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// As many whole requests as go into one `sendmsg`, and the rest.
fn split_requests(requests: &[u8]) -> (&[u8], &[u8]) {
    let (mut at, mut count) = (0, 0);
    while let Some(length) = requests.get(at..).and_then(message_length) {
        if count == SEND_REQUESTS || (count > 0 && at + length > SEND) {
            break;
        }
        at = (at + length.next_multiple_of(4)).min(requests.len());
        count += 1;
    }
    requests.split_at(if at == 0 { requests.len() } else { at })
}

fn last_sequence(requests: &[u8]) -> u32 {
    let (mut at, mut last) = (0, 0);
    while let Some(length) = requests.get(at..).and_then(message_length) {
        last = requests.get(at + 8..).and_then(<[u8]>::first_chunk).map_or(last, |b| u32::from_ne_bytes(*b));
        at += length.next_multiple_of(4);
    }
    last
}

/// The length field of a netlink message, if it is one.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    (length >= HEADER && length <= bytes.len()).then_some(length)
}

/// Every message of a datagram: (type, flags, sequence number, payload). Ends at the first that is not one.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, u16, u32, &[u8])> {
    let mut rest = datagram;
    core::iter::from_fn(move || {
        let length = message_length(rest)?;
        let (message, _) = rest.split_at_checked(length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let (header, payload) = message.split_first_chunk::<HEADER>()?;
        let [_, _, _, _, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        Some((
            u16::from_ne_bytes([k0, k1]),
            u16::from_ne_bytes([f0, f1]),
            u32::from_ne_bytes([s0, s1, s2, s3]),
            payload,
        ))
    })
}

fn take(
    datagram: &[u8],
    first: u32,
    verdicts: &mut [Option<Verdict>],
    on_data: &mut impl FnMut(&[u8]),
) -> Result<(), &'static str> {
    for (kind, flags, sequence, payload) in messages(datagram) {
        let number = sequence.wrapping_sub(first) as usize;
        // Late answers to an exchange that broke off are of no interest.
        let Some(verdict) = verdicts.get_mut(number) else {
            continue;
        };
        match kind {
            NLMSG_ERROR => *verdict = Some(self::verdict(flags, payload, true)?),
            NLMSG_DONE if verdict.is_none() => *verdict = Some(self::verdict(flags, payload, false)?),
            NLMSG_DONE => {}
            _ => on_data(payload),
        }
    }
    Ok(())
}

/// `struct nlmsgerr` (error number, the request's header and, unless capped, the request) and its attributes; a
/// dump's end has the number alone.
fn verdict(flags: u16, payload: &[u8], echo: bool) -> Result<Verdict, &'static str> {
    let (code, rest) = payload.split_first_chunk().ok_or("a verdict without a number")?;
    let code = i32::from_ne_bytes(*code);
    if code >= 0 {
        return Ok(Ok(()));
    }
    let echoed = match (echo, flags & NLM_F_CAPPED != 0) {
        (false, _) => 0,
        (true, true) => HEADER,
        (true, false) => message_length(rest).unwrap_or(rest.len()).next_multiple_of(4),
    };
    let text = (flags & NLM_F_ACK_TLVS != 0)
        .then(|| find(rest.get(echoed..).unwrap_or_default(), NLMSGERR_ATTR_MSG))
        .flatten()
        .map(|t| String::from_utf8_lossy(t).trim_end_matches('\0').to_owned());
    Ok(Err((Errno::from_raw(code.saturating_neg()), text)))
}
