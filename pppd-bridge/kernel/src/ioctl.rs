//! `/dev/ppp` and its ioctls (`linux/ppp-ioctl.h`). The `unsafe` of this door stands here, in `l2tp` and in `router`.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::stat::{fstat, makedev};
use tokio::io::unix::AsyncFd;

use crate::PppError;

pub(crate) const DEVICE: &str = "/dev/ppp";
/// `linux/major.h`.
const PPP_MAJOR: u64 = 108;

/// `SC_*` of a unit or channel (`linux/ppp-ioctl.h`).
pub(crate) const SC_COMP_PROT: libc::c_int = 0x0000_0001;
pub(crate) const SC_COMP_AC: libc::c_int = 0x0000_0002;
pub(crate) const SC_CCP_OPEN: libc::c_int = 0x0000_0040;
pub(crate) const SC_CCP_UP: libc::c_int = 0x0000_0080;
pub(crate) const SC_LOOP_TRAFFIC: libc::c_int = 0x0000_0200;
pub(crate) const SC_MUST_COMP: libc::c_int = 0x0040_0000;

#[repr(C)]
pub(crate) struct NpIoctl {
    pub(crate) protocol: libc::c_int,
    pub(crate) mode: libc::c_int,
}

#[repr(C)]
pub(crate) struct OptionData {
    pub(crate) ptr: *const u8,
    pub(crate) length: u32,
    pub(crate) transmit: libc::c_int,
}

const T: u8 = b't';
nix::ioctl_write_ptr!(set_compress_raw, T, 77, OptionData);
nix::ioctl_write_ptr!(set_npmode_raw, T, 75, NpIoctl);
nix::ioctl_read!(get_channel_raw, T, 55, libc::c_int);
nix::ioctl_write_ptr!(attach_channel_raw, T, 56, libc::c_int);
nix::ioctl_write_ptr!(connect_raw, T, 58, libc::c_int);
nix::ioctl_none!(disconnect_raw, T, 57);
nix::ioctl_readwrite!(new_unit_raw, T, 62, libc::c_int);
nix::ioctl_read!(get_unit_raw, T, 86, libc::c_int);
nix::ioctl_write_ptr!(set_flags_raw, T, 89, libc::c_int);
nix::ioctl_write_ptr!(set_mru_raw, T, 82, libc::c_int);

/// Opens `/dev/ppp`, not blocking.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, PppError> {
    let opened: io::Result<File> =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
    match opened {
        Ok(file) => Ok(file.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(PppError::Missing),
        Err(e) => Err(PppError::Denied(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)))),
    }
}

/// Whether this is an open `/dev/ppp`, whatever it has been made of.
pub(crate) fn is_ppp(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|stat| {
        stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == makedev(PPP_MAJOR, 0)
    })
}

/// Hands it to the runtime.
pub(crate) fn register(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, PppError> {
    // SAFETY: an OwnedFd is open, always gives the same descriptor, and closes it only when the AsyncFd that owns it is
    // dropped; nobody here takes it out.
    unsafe { AsyncFd::register(fd) }.map_err(|_| PppError::Dialogue("registering /dev/ppp"))
}

/// An ioctl that takes or gives one integer.
macro_rules! integer {
    ($name:ident, gives $raw:ident) => {
        pub(crate) fn $name(fd: BorrowedFd<'_>) -> Result<libc::c_int, Errno> {
            let mut value = 0;
            // SAFETY: the ioctl writes one integer, and the pointer is to one that lives until it returns.
            unsafe { $raw(fd.as_raw_fd(), &raw mut value) }?;
            Ok(value)
        }
    };
    ($name:ident, takes $raw:ident) => {
        pub(crate) fn $name(fd: BorrowedFd<'_>, value: libc::c_int) -> Result<(), Errno> {
            // SAFETY: the ioctl reads one integer, and the pointer is to one that lives until it returns.
            unsafe { $raw(fd.as_raw_fd(), &raw const value) }.map(drop)
        }
    };
}

integer!(unit_of, gives get_unit_raw);
integer!(attach_channel, takes attach_channel_raw);
integer!(connect, takes connect_raw);
integer!(set_flags, takes set_flags_raw);
integer!(set_mru, takes set_mru_raw);

/// The number of a channel that is being asked for.
pub(crate) struct ToBe(AtomicI32);

impl ToBe {
    /// Nothing has been said yet: no channel has this number.
    const NONE: libc::c_int = -1;

    pub(crate) const fn new() -> Self {
        Self(AtomicI32::new(Self::NONE))
    }

    /// PPPIOCGCHAN.
    pub(crate) fn ask(&self, carrier: BorrowedFd<'_>) -> Result<(), Errno> {
        // SAFETY: the ioctl writes one integer, and the pointer is to one that lives until it returns; others read it meanwhile, by
        // atomic operations alone.
        unsafe { get_channel_raw(carrier.as_raw_fd(), self.0.as_ptr()) }.map(drop)
    }

    /// What the kernel has said so far.
    pub(crate) fn get(&self) -> Option<libc::c_int> {
        Some(self.0.load(Ordering::Acquire)).filter(|number| *number != Self::NONE)
    }
}

/// PPPIOCNEWUNIT: the lowest number that is free.
pub(crate) fn new_unit(fd: BorrowedFd<'_>) -> Result<libc::c_int, Errno> {
    let mut number = -1;
    // SAFETY: the ioctl reads and writes one integer, and the pointer is to one that lives until it returns.
    unsafe { new_unit_raw(fd.as_raw_fd(), &raw mut number) }?;
    Ok(number)
}

pub(crate) fn disconnect(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: the ioctl has no argument.
    unsafe { disconnect_raw(fd.as_raw_fd()) }.map(drop)
}

/// PPPIOCSCOMPRESS: the option and the key, as one run of octets.
pub(crate) fn set_compress(fd: BorrowedFd<'_>, option: &[u8], transmit: bool) -> Result<(), Errno> {
    let length = u32::try_from(option.len()).map_err(|_| Errno::EINVAL)?;
    let data = OptionData { ptr: option.as_ptr(), length, transmit: libc::c_int::from(transmit) };
    // SAFETY: the kernel copies `length` octets from `ptr`, which is a slice of that length that outlives the call.
    unsafe { set_compress_raw(fd.as_raw_fd(), &raw const data) }.map(drop)
}

/// PPPIOCSNPMODE: what becomes of packets of a protocol.
pub(crate) fn set_npmode(fd: BorrowedFd<'_>, protocol: u16, mode: libc::c_int) -> Result<(), Errno> {
    let np = NpIoctl { protocol: libc::c_int::from(protocol), mode };
    // SAFETY: the ioctl reads one structure, and the pointer is to one that lives until it returns.
    unsafe { set_npmode_raw(fd.as_raw_fd(), &raw const np) }.map(drop)
}
