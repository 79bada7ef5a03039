use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use adit_core::Secret;
use nix::errno::Errno;
use tokio::io::unix::AsyncFd;
use zeroize::Zeroizing;

use crate::channel::{receive, receive_now, send};
use crate::{Channel, PppError, ioctl, link};

/// CILEN_MPPE: Type, Length, Supported Bits.
const MPPE_OPTION: [u8; 2] = [18, 6];
/// The kernel takes a key of 16 octets, and uses as many as the strength says.
const MPPE_KEY: usize = 16;
/// More frames than the kernel keeps.
const MOST_HELD: usize = 64;
const NPMODE_PASS: libc::c_int = 0;
const NPMODE_DROP: libc::c_int = 1;

/// The interface to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkSpec<'a> {
    /// Its name, 1 to 15 octets.
    pub name: &'a str,
    /// Its link group: what is deleted together when many are.
    pub group: u32,
}

/// A unit that stands, as another process can know it again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing<'a> {
    /// The interface's name.
    pub name: &'a str,
    /// Its index.
    pub index: u32,
    /// The unit's number.
    pub number: i32,
}

/// A protocol of the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Encryption of one direction (PPPIOCSCOMPRESS).
#[derive(Debug)]
pub struct Compression {
    /// Whether of what we send.
    pub transmit: bool,
    /// The Supported Bits of MPPE's option, as acknowledged.
    pub bits: u32,
    /// The start key, 8 or 16 octets.
    pub key: Secret,
}

/// What a unit has carried.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Statistics {
    /// Octets received.
    pub bytes_in: u64,
    /// Octets sent.
    pub bytes_out: u64,
    /// Packets received.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
}

/// A unit of the kernel: a network interface. It is gone when this is dropped, which may take 40 ms and belongs on a thread
/// that may block.
#[derive(Debug)]
pub struct Unit {
    fd: AsyncFd<OwnedFd>,
    number: libc::c_int,
    index: u32,
    name: String,
}

impl Unit {
    /// Makes a unit with its name and link group, by rtnetlink. No packet passes yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// The kernel has no PPP, or refuses: the name is taken.
    pub fn make(spec: &LinkSpec<'_>) -> Result<Self, PppError> {
        let fd = ioctl::open(Path::new(ioctl::DEVICE))?;
        match link::make(spec, fd.as_raw_fd()) {
            // The kernel only tries a lock that every ioctl of PPP holds for a moment; by ioctl it waits for it.
            Err(PppError::Refused { errno: Errno::EBUSY, .. }) => {
                let number = ioctl::new_unit(fd.as_fd()).map_err(PppError::refused("a ppp interface"))?;
                link::rename(link::index(&format!("ppp{number}"))?, spec)?;
            }
            made => made?,
        }
        let number = ioctl::unit_of(fd.as_fd()).map_err(PppError::refused("the unit's number"))?;
        let index = link::index(spec.name)?;
        let fd = ioctl::register(fd)?;
        let unit = Self { fd, number, index, name: spec.name.to_owned() };
        for family in [Family::V4, Family::V6] {
            unit.pass(family, false)?;
        }
        Ok(unit)
    }

    /// One that a process before has made, by its file: that with this name, interface index and number. It goes on as it is. Needs
    /// a tokio runtime.
    ///
    /// # Errors
    /// The file is none of a unit, or its interface is another, or gone.
    pub fn adopt(fd: OwnedFd, of: &Standing<'_>) -> Result<Self, PppError> {
        let no =
            |why: &str| Err(PppError::Invalid(format!("what was handed over is not {}: {why}", of.name)));
        if !ioctl::is_ppp(fd.as_fd()) {
            return no("its file is not /dev/ppp");
        }
        match ioctl::unit_of(fd.as_fd()) {
            Ok(number) if number == of.number => {}
            Ok(_) => return no("its file is another unit's"),
            Err(_) => return no("its file is no unit's"),
        }
        match link::index(of.name) {
            Ok(index) if index == of.index => {}
            _ => return no("its interface is gone, or has another name"),
        }
        let fd = ioctl::register(fd)?;
        Ok(Self { fd, number: of.number, index: of.index, name: of.name.to_owned() })
    }

    /// How it can be known again.
    #[must_use]
    pub fn standing(&self) -> Standing<'_> {
        Standing { name: &self.name, index: self.index, number: self.number }
    }

    /// Its file: the unit stands as long as somebody has it open.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.fd()
    }

    /// Whether the channel is joined to a unit already: of one that is not, nothing would come.
    ///
    /// # Errors
    /// It is not; it stays so.
    pub fn is_joined(&self, channel: &Channel) -> Result<(), PppError> {
        // The kernel does not tell to which: it refuses to join it once more.
        match ioctl::connect(channel.fd(), self.number) {
            Err(Errno::EINVAL) => Ok(()),
            Ok(()) => {
                Self::disconnect(channel)?;
                Err(PppError::Invalid("the channel that was handed over had no unit".into()))
            }
            Err(errno) => Err(PppError::Refused { what: "the channel that was handed over", errno }),
        }
    }

    /// Takes the interface away, also where somebody else has its file open.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(index: u32) -> Result<(), PppError> {
        link::remove(index)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's index.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Joins a channel to this unit: its frames are this unit's.
    ///
    /// # Errors
    /// The kernel refuses: they are of two network namespaces, or the channel has a unit.
    pub fn connect(&self, channel: &Channel) -> Result<(), PppError> {
        ioctl::connect(channel.fd(), self.number).map_err(PppError::refused("joining channel and unit"))
    }

    /// Takes a channel off its unit.
    ///
    /// # Errors
    /// It has none.
    pub fn disconnect(channel: &Channel) -> Result<(), PppError> {
        ioctl::disconnect(channel.fd()).map_err(PppError::refused("parting channel and unit"))
    }

    /// Lets packets of a family pass, or drops them.
    ///
    /// # Errors
    /// The kernel refuses: it lacks the family.
    pub fn pass(&self, family: Family, pass: bool) -> Result<(), PppError> {
        let protocol = match family {
            Family::V4 => 0x0021,
            Family::V6 => 0x0057,
        };
        let mode = if pass { NPMODE_PASS } else { NPMODE_DROP };
        ioctl::set_npmode(self.fd(), protocol, mode).map_err(PppError::refused("the network protocol's mode"))
    }

    /// What is sent into the interface comes back by [`Unit::receive`] and goes nowhere else (demand dialling): the unit needs no
    /// channel. The kernel keeps 32 frames that nobody reads, and drops what comes then.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn hold(&self) -> Result<(), PppError> {
        ioctl::set_flags(self.fd(), ioctl::SC_LOOP_TRAFFIC).map_err(PppError::refused("holding packets"))?;
        for family in [Family::V4, Family::V6] {
            self.pass(family, true)?;
        }
        Ok(())
    }

    /// The opposite of [`Unit::hold`]: nothing passes any more, as in a new unit. What has come back so far, oldest first.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn release(&self) -> Result<Vec<Vec<u8>>, PppError> {
        for family in [Family::V4, Family::V6] {
            self.pass(family, false)?;
        }
        let held = std::iter::from_fn(|| receive_now(self.fd())).take(MOST_HELD).collect();
        ioctl::set_flags(self.fd(), 0).map_err(PppError::refused("letting packets go"))?;
        Ok(held)
    }

    /// Sets the interface up, with this MTU in octets.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_up(&self, mtu: u16) -> Result<(), PppError> {
        link::set_up(self.index, mtu)
    }

    /// The longest packet that may be received, in octets.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_mru(&self, mru: u16) -> Result<(), PppError> {
        ioctl::set_mru(self.fd(), libc::c_int::from(mru)).map_err(PppError::refused("the unit's MRU"))
    }

    /// Prepares encryption of one direction. It begins when the kernel sees CCP's Configure-Ack pass.
    ///
    /// # Errors
    /// The kernel refuses: it has no `ppp_mppe`.
    pub fn prepare(&self, compression: &Compression) -> Result<(), PppError> {
        let mut option = Zeroizing::new(Vec::with_capacity(MPPE_OPTION.len() + 4 + MPPE_KEY));
        option.extend(MPPE_OPTION);
        option.extend(compression.bits.to_be_bytes());
        option.extend(compression.key.expose().iter().take(MPPE_KEY));
        option.resize(MPPE_OPTION.len() + 4 + MPPE_KEY, 0);
        ioctl::set_flags(self.fd(), ioctl::SC_CCP_OPEN).map_err(PppError::refused("CCP"))?;
        ioctl::set_compress(self.fd(), &option, compression.transmit)
            .map_err(PppError::refused("encryption (MPPE)"))
    }

    /// Encryption stands: what is not encrypted is not sent any more. Or it does not, and nothing of either family passes: where a
    /// Configure-Request of CCP has stopped it, Linux would send in clear, `SC_MUST_COMP` or not (6.12's `ppp_send_frame`).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn encrypted(&self, stands: bool) -> Result<(), PppError> {
        let flags = if stands {
            ioctl::SC_CCP_OPEN | ioctl::SC_CCP_UP | ioctl::SC_MUST_COMP
        } else {
            self.pass(Family::V4, false)?;
            self.pass(Family::V6, false)?;
            ioctl::SC_CCP_OPEN | ioctl::SC_MUST_COMP
        };
        ioctl::set_flags(self.fd(), flags).map_err(PppError::refused("CCP"))
    }

    /// What it has carried.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn statistics(&self) -> Result<Statistics, PppError> {
        link::statistics(self.index)
    }

    /// Packets that have gone through it, both ways, without multicast of IPv6. The number may wrap; whether it has changed
    /// counts.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn packets(&self) -> Result<u64, PppError> {
        link::packets(self.index, &self.name)
    }

    /// The next frame: CCP, IPCP, IPV6CP, or one that the kernel could not read. Cancel-safe.
    ///
    /// # Errors
    /// The unit is gone.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        receive(&self.fd).await
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The unit is gone, or has no channel.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.fd(), frame)
    }
}
