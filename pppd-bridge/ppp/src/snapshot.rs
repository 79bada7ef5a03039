//! A link that is up as octets, for whoever goes on with it after this process.
//!
//! Big-endian, what has no length of its own with its length before it, and the whole no longer than [`MOST`]. There is no key in
//! it: those that still count are the kernel's. What is read is checked as whatever comes from outside is; what does not fit is
//! refused as a whole.

use core::net::Ipv4Addr;

/// Octets of one at most: what the peer has asked for by four protocols, and what else there is.
pub(crate) const MOST: usize = 16 * 1024;

/// Entries of one list at most.
const MOST_ENTRIES: usize = 16;

/// What is known of this form. Any other is refused.
pub(crate) const VERSION: u8 = 1;

/// Writes one. What does not fit makes it none.
pub(crate) struct Writer {
    out: Vec<u8>,
    full: bool,
}

/// Reads one. `None` from any of its functions: it is damaged.
pub(crate) struct Reader<'a>(&'a [u8]);

impl Writer {
    pub(crate) const fn new() -> Self {
        Self { out: Vec::new(), full: false }
    }

    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (!self.full).then_some(self.out)
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        match self.out.len().saturating_add(bytes.len()) <= MOST {
            true => self.out.extend_from_slice(bytes),
            false => self.full = true,
        }
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.raw(&[value]);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn flag(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.full |= value.len() > usize::from(u16::MAX);
        self.u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        self.raw(value);
    }

    pub(crate) fn option<T>(&mut self, item: Option<T>, one: impl FnOnce(&mut Self, T)) {
        self.flag(item.is_some());
        if let Some(item) = item {
            one(self, item);
        }
    }

    pub(crate) fn v4(&mut self, address: Ipv4Addr) {
        self.raw(&address.octets());
    }

    pub(crate) fn v4s(&mut self, addresses: &[Ipv4Addr]) {
        self.full |= addresses.len() > MOST_ENTRIES;
        self.u8(u8::try_from(addresses.len()).unwrap_or(u8::MAX));
        addresses.iter().for_each(|address| self.v4(*address));
    }
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    fn raw(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.raw(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.fixed().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.fixed().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.fixed().map(u64::from_be_bytes)
    }

    pub(crate) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        self.raw(length)
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        core::str::from_utf8(self.bytes()?).ok().map(str::to_owned)
    }

    pub(crate) fn option<T>(&mut self, one: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.flag()? {
            true => one(self).map(Some),
            false => Some(None),
        }
    }

    pub(crate) fn v4(&mut self) -> Option<Ipv4Addr> {
        self.fixed::<4>().map(Ipv4Addr::from)
    }

    pub(crate) fn v4s(&mut self) -> Option<Vec<Ipv4Addr>> {
        let count = usize::from(self.u8()?);
        (count <= MOST_ENTRIES).then_some(())?;
        (0..count).map(|_| self.v4()).collect()
    }
}
