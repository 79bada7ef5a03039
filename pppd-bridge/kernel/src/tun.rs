//! TUN: an interface whose packets this process carries itself (`linux/if_tun.h`).
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::unistd::{read, write};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::{LinkSpec, PppError, Statistics, ioctl, link, scratch};

const DEVICE: &str = "/dev/net/tun";
const IFF_TUN: libc::c_short = 0x0001;
const IFF_NO_PI: libc::c_short = 0x1000;
/// Each packet has `struct virtio_net_hdr` in front.
const IFF_VNET_HDR: libc::c_short = 0x4000;
/// Not one that is there already.
const IFF_TUN_EXCL: libc::c_short = -0x8000;
/// Checksums and segments are left to who reads: of TCP, and of UDP, which kernels before 6.2 do not know.
const TUN_F_TCP: libc::c_int = 0x01 | 0x02 | 0x04 | 0x08;
const TUN_F_UDP: libc::c_int = 0x20 | 0x40;
/// `struct ifreq`: the name, and the union's first member.
const NAME: usize = 16;

#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME],
    flags: libc::c_short,
    rest: [u8; 22],
}

nix::ioctl_write_ptr_bad!(
    set_interface_raw,
    nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
    InterfaceRequest
);

nix::ioctl_write_int_bad!(set_offload_raw, nix::request_code_write!(b'T', 208, size_of::<libc::c_uint>()));

/// An interface whose packets are read and written here, many at once where the kernel can ([`offload`](crate::offload)). It is gone when this is dropped, which may take 25 ms and belongs on
/// a thread that may block.
#[derive(Debug)]
pub struct Tun {
    fd: AsyncFd<OwnedFd>,
    index: u32,
    name: String,
}

impl Tun {
    /// Whether this kernel has TUN and this process may use it.
    ///
    /// # Errors
    /// What is missing, as a person meets it.
    pub fn probe() -> Result<(), PppError> {
        open().map(drop)
    }

    /// Makes one with its name and link group, and without any address. Needs CAP_NET_ADMIN and a tokio runtime.
    ///
    /// # Errors
    /// The kernel has no TUN, or refuses: the name is taken.
    pub fn make(spec: &LinkSpec<'_>) -> Result<Self, PppError> {
        let fd = open()?;
        let mut request = InterfaceRequest {
            name: [0; NAME],
            flags: IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL,
            rest: [0; 22],
        };
        if !(1..NAME).contains(&spec.name.len()) {
            return Err(PppError::Invalid(format!("\"{}\" is not a link's name", spec.name.escape_debug())));
        }
        request.name.iter_mut().zip(spec.name.bytes()).for_each(|(to, from)| *to = from);
        // SAFETY: the ioctl reads and writes one `struct ifreq`, which outlives the call; the kernel copies 40 octets.
        unsafe { set_interface_raw(fd.as_raw_fd(), &raw const request) }
            .map_err(PppError::refused("a TUN interface"))?;
        set_offload(&fd);
        let index = link::index(spec.name)?;
        link::prepare(index, spec.group)?;
        Ok(Self { fd: ioctl::register(fd)?, index, name: spec.name.to_owned() })
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

    /// Sets the interface up, with this MTU in octets.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_up(&self, mtu: u16) -> Result<(), PppError> {
        link::set_up(self.index, mtu)
    }

    /// What it has carried, as this host sees it.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn statistics(&self) -> Result<Statistics, PppError> {
        link::statistics(self.index)
    }

    /// Packets that have gone through it, both ways, without multicast of IPv6.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn packets(&self) -> Result<u64, PppError> {
        link::packets(self.index, &self.name)
    }

    /// Waits for what this host sends into it next, for [`split`](crate::offload::split). Cancel-safe.
    ///
    /// # Errors
    /// The interface is gone.
    pub async fn read<R>(&self, mut take: impl FnMut(&[u8]) -> R) -> io::Result<R> {
        loop {
            // An interface that somebody deletes is an error of its file, and nothing to be read.
            let mut guard = self.fd.ready(Interest::READABLE.add(Interest::ERROR)).await?;
            match guard.try_io(|fd| Ok(read_into(fd.get_ref(), &mut take)?)) {
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Ok(read) => return read,
                Err(_would_block) => {}
            }
        }
    }

    /// The same, if something waits already.
    pub fn read_now<R>(&self, mut take: impl FnMut(&[u8]) -> R) -> Option<R> {
        read_into(self.fd.get_ref(), &mut take).ok()
    }

    /// A packet of the peer's for this host, or several, as [`Joiner`](crate::offload::Joiner) gives them. One that finds no room, or is none,
    /// is lost.
    ///
    /// # Errors
    /// The interface is gone, or down.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        match write(self.fd.get_ref(), packet) {
            Ok(_) | Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINVAL) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

fn read_into<R>(fd: &OwnedFd, take: &mut impl FnMut(&[u8]) -> R) -> nix::Result<R> {
    scratch::with(|buffer| {
        let length = read(fd, buffer)?;
        Ok(take(buffer.get(..length).unwrap_or_default()))
    })
}

/// A kernel that can't makes checksums and segments itself.
fn set_offload(fd: &OwnedFd) {
    for wanted in [TUN_F_TCP | TUN_F_UDP, TUN_F_TCP] {
        // SAFETY: the ioctl takes a number, and no pointer.
        let set = unsafe { set_offload_raw(fd.as_raw_fd(), wanted) };
        if set.is_ok() {
            return;
        }
    }
}

fn open() -> Result<OwnedFd, PppError> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(DEVICE);
    opened.map(OwnedFd::from).map_err(|e| {
        let errno = Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
        PppError::NoTun(errno)
    })
}
