//! Memory for keys that outlive a process: a memfd that is kept by whoever has its descriptor, and that never reaches a disk.
//!
//! It is mapped and locked (mlock2(2): what is written to; the rest takes no memory) by whoever works with it. A lock ends with the process; between two, the pages are charged
//! to a cgroup that has no swap (`MemorySwapMax=0` in the unit), where the kernel finds no place for them either. memfd_secret(2)
//! would need no lock, but a machine on which one is open cannot hibernate, and Linux 6.1 has it only with a boot option.
//!
//! There are two slots, and a number that says which of them holds. What is written goes into the other one, and then the number
//! changes, in one store: a process that is killed at any moment leaves the record before or the record after.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use zeroize::Zeroizing;

/// Octets before the slots: the number of the slot that holds (0: none).
const HEAD: usize = 64;
/// Octets before a record: its length.
const LENGTH: usize = 4;
/// Octets of a slot: the longest record, and its length.
const SLOT: usize = 48 * 1024;
/// Octets of all of it.
const SIZE: usize = HEAD + 2 * SLOT;

/// Octets that are wiped at once.
const CHUNK: usize = 4096;

/// What the kernel keeps anybody from doing with it: making it longer or shorter under who reads it.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// A record in locked memory.
pub struct Locked {
    fd: OwnedFd,
    map: NonNull<u8>,
}

// SAFETY: the mapping is this value's alone, and everything that writes to it takes it by `&mut`.
#[allow(unsafe_code)]
unsafe impl Send for Locked {}

// SAFETY: what takes it by `&` only reads.
#[allow(unsafe_code)]
unsafe impl Sync for Locked {}

impl Locked {
    /// Octets of the longest record.
    pub const MOST: usize = SLOT - LENGTH;

    /// One without a record.
    ///
    /// # Errors
    /// The kernel has no more memory, or lets no more be locked (`RLIMIT_MEMLOCK`).
    pub fn create(name: &str) -> io::Result<Self> {
        let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, SIZE as u64)?;
        fcntl_add_seals(&fd, SEALS)?;
        Self::map(fd)
    }

    /// One that a process before has left.
    ///
    /// # Errors
    /// It is none of ours, or see [`Locked::create`].
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let no = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        // Only memory has seals.
        let seals = fcntl_get_seals(&fd).map_err(|_| no("it is no memfd"))?;
        if !seals.contains(SEALS) || fstat(&fd)?.st_size != i64::try_from(SIZE).unwrap_or_default() {
            return Err(no("it is a memfd of another form"));
        }
        Self::map(fd)
    }

    /// The descriptor, to be kept by somebody else.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The record. `None`: there is none, or it is damaged.
    #[must_use]
    pub fn read(&self) -> Option<Zeroizing<Vec<u8>>> {
        let slot = match self.holds().load(Ordering::Acquire) {
            1 => 0,
            2 => 1,
            _ => return None,
        };
        let length = self.copy(HEAD + slot * SLOT, LENGTH);
        let length = usize::try_from(u32::from_be_bytes(length.as_slice().try_into().ok()?)).ok()?;
        (length <= Self::MOST).then(|| self.copy(HEAD + slot * SLOT + LENGTH, length))
    }

    /// Puts a record in the place of the one before, of which nothing is left. `false`: it is too long, and there is none now.
    pub fn write(&mut self, record: &[u8]) -> bool {
        let fits = u32::try_from(record.len()).ok().filter(|_| record.len() <= Self::MOST);
        let Some(length) = fits else {
            self.clear();
            return false;
        };
        let (slot, number) = match self.holds().load(Ordering::Relaxed) {
            1 => (1, 2),
            _ => (0, 1),
        };
        // What a process has left that was killed while it wiped.
        self.wipe(slot);
        self.put(HEAD + slot * SLOT, &length.to_be_bytes());
        self.put(HEAD + slot * SLOT + LENGTH, record);
        self.holds().store(number, Ordering::Release);
        fence(Ordering::SeqCst);
        self.wipe(1 - slot);
        true
    }

    /// There is no record any more.
    pub fn clear(&mut self) {
        self.holds().store(0, Ordering::Release);
        fence(Ordering::SeqCst);
        self.wipe(0);
        self.wipe(1);
    }

    #[allow(unsafe_code)]
    fn map(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: a new mapping of all of a file whose length is sealed, at a place that the kernel chooses.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = NonNull::new(map.cast::<u8>()).ok_or_else(io::Error::last_os_error)?;
        // From here on it is unmapped when it goes.
        let locked = Self { fd, map };
        let start = locked.map.as_ptr().cast::<libc::c_void>();
        // SAFETY: the mapping that was just made.
        let done = unsafe {
            libc::mlock2(start, SIZE, libc::MLOCK_ONFAULT) == 0
                && libc::madvise(start, SIZE, libc::MADV_DONTDUMP) == 0
        };
        if done { Ok(locked) } else { Err(io::Error::last_os_error()) }
    }

    #[allow(unsafe_code)]
    fn holds(&self) -> &AtomicU32 {
        // SAFETY: the mapping begins at a page, so it is aligned, is longer than this, and lives as long as `self`; whoever else
        // had it mapped is dead.
        unsafe { &*self.map.as_ptr().cast::<AtomicU32>() }
    }

    #[allow(unsafe_code)]
    fn copy(&self, at: usize, length: usize) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(vec![0; length.min(SIZE.saturating_sub(at))]);
        // SAFETY: `at + out.len()` is within the mapping, and `out` is memory of its own.
        unsafe {
            std::ptr::copy_nonoverlapping(self.map.as_ptr().add(at.min(SIZE)), out.as_mut_ptr(), out.len())
        };
        out
    }

    #[allow(unsafe_code)]
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let length = bytes.len().min(SIZE.saturating_sub(at));
        // SAFETY: `at + length` is within the mapping, which nobody else writes to, and `bytes` is memory of its own.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_ptr().add(at.min(SIZE)), length) };
    }

    /// Its length goes last, so that whoever is killed meanwhile leaves it to be wiped.
    fn wipe(&mut self, slot: usize) {
        let start = HEAD + slot * SLOT;
        let length = self.copy(start, LENGTH).first_chunk().copied().map_or(0, u32::from_be_bytes);
        let end = usize::try_from(length).unwrap_or(usize::MAX).min(Self::MOST);
        if length == 0 {
            return;
        }
        for at in (0..end).step_by(CHUNK) {
            self.put(start + LENGTH + at, [0; CHUNK].get(..CHUNK.min(end - at)).unwrap_or_default());
        }
        fence(Ordering::SeqCst);
        self.put(start, &[0; LENGTH]);
    }
}

impl Drop for Locked {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: it was mapped so, and nobody has a pointer to it any more.
        unsafe { libc::munmap(self.map.as_ptr().cast(), SIZE) };
    }
}

/// The descriptors that whoever has started this process has left open for it (sd_listen_fds(3)), which are from here on their
/// owner's alone. They are given once. To be called before anything else opens one: nobody may have any of them yet.
#[allow(unsafe_code)]
pub fn inherited(numbers: impl IntoIterator<Item = RawFd>) -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    // SAFETY: they were open when the process began, are nobody's yet, and are given to this caller only.
    numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(locked: &Locked) -> Locked {
        Locked::adopt(locked.fd().try_clone_to_owned().unwrap()).unwrap()
    }

    #[test]
    fn whoever_goes_on_has_the_newest_record() {
        let mut locked = Locked::create("test").unwrap();
        assert!(next(&locked).read().is_none());
        for record in [&b"one"[..], b"", b"three", &[7; Locked::MOST]] {
            assert!(locked.write(record));
            assert_eq!(next(&locked).read().unwrap().as_slice(), record);
        }
        assert!(!locked.write(&[7; Locked::MOST + 1]));
        assert!(next(&locked).read().is_none());
        locked.write(b"four");
        locked.clear();
        assert!(next(&locked).read().is_none());
    }

    #[test]
    fn nothing_is_left_of_a_record_before() {
        let mut locked = Locked::create("test").unwrap();
        locked.write(b"the key of yesterday");
        locked.write(b"today");
        let all = locked.copy(0, SIZE);
        assert!(!all.windows(9).any(|w| w == b"yesterday"));
        locked.clear();
        assert!(locked.copy(0, SIZE).iter().all(|b| *b == 0));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let file =
            rustix::fs::memfd_create("other", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, SIZE as u64).unwrap();
        assert!(Locked::adopt(file.try_clone().unwrap()).is_err(), "it may be cut under us");
        ftruncate(&file, 64).unwrap();
        fcntl_add_seals(&file, SEALS).unwrap();
        assert!(Locked::adopt(file).is_err(), "it is too short");
        assert!(Locked::adopt(std::fs::File::open("/dev/null").unwrap().into()).is_err());
    }

    #[test]
    fn it_is_locked() {
        let locked = Locked::create("test").unwrap();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let at = format!("{:x}-", locked.map.as_ptr() as usize);
        let flags =
            maps.split(&at).nth(1).and_then(|m| m.lines().find(|l| l.starts_with("VmFlags"))).unwrap();
        assert!(flags.contains(" lo") && flags.contains(" dd"), "{flags}");
    }
}
