//! Datagrams of one length, and a last one that may be shorter, by one system call (UDP_SEGMENT).

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, send, sendmsg};

/// The kernel's UDP_MAX_SEGMENTS.
const MOST: usize = 64;
/// Octets of them all: less than a datagram's longest.
const LONGEST: usize = 65_000;

/// Datagrams that wait.
#[derive(Default, Debug)]
pub(crate) struct Segments {
    octets: Vec<u8>,
    /// Of each but perhaps the last.
    length: usize,
    count: usize,
    /// The last one was shorter.
    ended: bool,
}

impl Segments {
    /// Whether a datagram of that length may go with the others.
    pub(crate) const fn fits(&self, length: usize) -> bool {
        let with_others = !self.ended
            && length <= self.length
            && self.count < MOST
            && self.octets.len() + length <= LONGEST;
        self.count == 0 || with_others
    }

    /// One that fits, in two parts.
    pub(crate) fn push(&mut self, parts: [&[u8]; 2]) {
        let length = parts.iter().map(|part| part.len()).sum();
        if self.count == 0 {
            self.length = length;
        }
        self.ended = length < self.length;
        self.count += 1;
        parts.iter().for_each(|part| self.octets.extend_from_slice(part));
    }

    /// Sends all of them.
    ///
    /// # Errors
    /// The kernel did not take them. They are gone.
    pub(crate) fn send(&mut self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let sent = match self.count {
            0 => Ok(()),
            1 => send(fd.as_raw_fd(), &self.octets, MsgFlags::empty()).map(drop),
            _ => self.send_many(fd),
        };
        (self.count, self.ended) = (0, false);
        self.octets.clear();
        sent
    }

    fn send_many(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let length = u16::try_from(self.length).map_err(|_| Errno::EMSGSIZE)?;
        let (octets, segment) = ([IoSlice::new(&self.octets)], [ControlMessage::UdpGsoSegments(&length)]);
        match sendmsg::<SockaddrIn>(fd.as_raw_fd(), &octets, &segment, MsgFlags::empty(), None) {
            // A kernel that can't.
            Err(Errno::EIO | Errno::EINVAL | Errno::EOPNOTSUPP) => self
                .octets
                .chunks(self.length.max(1))
                .try_for_each(|one| send(fd.as_raw_fd(), one, MsgFlags::empty()).map(drop)),
            sent => sent.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::socket::recv;

    use super::*;
    use crate::feed::pair;

    /// Each arrives as it was, whichever of them went together.
    #[test]
    fn datagrams_arrive_as_they_were() {
        let (one, other, _) = pair().unwrap();
        let lengths = [1400, 1400, 1400, 40, 40, 1400, 60, 1400, 1400];
        let mut segments = Segments::default();
        let mut calls = 0;
        for (n, length) in lengths.iter().enumerate() {
            if !segments.fits(*length) {
                segments.send(one.as_fd()).unwrap();
                calls += 1;
            }
            segments.push([&[u8::try_from(n).unwrap()], &vec![7; length - 1]]);
        }
        segments.send(one.as_fd()).unwrap();
        assert!(segments.fits(9000) && calls == 3, "{calls}");
        let mut buffer = [0; 2000];
        for (n, length) in lengths.iter().enumerate() {
            assert_eq!(recv(other.as_raw_fd(), &mut buffer, MsgFlags::empty()), Ok(*length));
            assert_eq!(usize::from(buffer[0]), n);
        }
    }

    #[test]
    fn no_more_than_the_kernel_takes_at_once() {
        let mut segments = Segments::default();
        let mut count = 0;
        while segments.fits(1400) {
            segments.push([&[0; 6], &[0; 1394]]);
            count += 1;
        }
        assert_eq!(count, LONGEST / 1400);
        let mut small = Segments::default();
        while small.fits(100) {
            small.push([&[0; 6], &[0; 94]]);
        }
        assert_eq!(small.count, MOST);
    }
}
