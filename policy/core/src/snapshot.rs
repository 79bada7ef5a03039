//! What a core hands to whoever goes on with it after this process, as octets.
//!
//! Big-endian, each list and string with its length before it, and the whole no longer than its core says. It may hold keys: it is
//! zeroized when it goes, and belongs into memory only. What is read is checked as whatever comes from outside is; what does
//! not fit is refused as a whole.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use zeroize::Zeroizing;

use crate::{AddressRange, Identity, Instant, Path, Prefix, Secret, TrafficSelector};

/// Entries of one list at most.
const MOST_ENTRIES: usize = 1024;

/// Writes one. What does not fit makes it none.
pub struct Writer {
    out: Zeroizing<Vec<u8>>,
    most: usize,
    full: bool,
}

/// Reads one. `None` from any of its functions: it is damaged.
pub struct Reader<'a>(&'a [u8]);

impl Writer {
    /// One that may get so many octets long.
    #[must_use]
    pub fn new(most: usize) -> Self {
        // The room is never grown: no copy of what was in it is left behind.
        Self { out: Zeroizing::new(Vec::with_capacity(most)), most, full: false }
    }

    /// What was written, if it fits.
    #[must_use]
    pub fn finish(self) -> Option<Zeroizing<Vec<u8>>> {
        (!self.full).then_some(self.out)
    }

    /// These octets as they are: whoever reads them knows how many there are.
    pub fn fixed(&mut self, bytes: &[u8]) {
        match self.out.len().saturating_add(bytes.len()) <= self.most {
            true => self.out.extend_from_slice(bytes),
            false => self.full = true,
        }
    }

    /// A number.
    pub fn u8(&mut self, value: u8) {
        self.fixed(&[value]);
    }

    /// A number.
    pub fn u16(&mut self, value: u16) {
        self.fixed(&value.to_be_bytes());
    }

    /// A number.
    pub fn u32(&mut self, value: u32) {
        self.fixed(&value.to_be_bytes());
    }

    /// A number.
    pub fn u64(&mut self, value: u64) {
        self.fixed(&value.to_be_bytes());
    }

    /// Yes or no.
    pub fn flag(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// Octets, and how many.
    pub fn bytes(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.fixed(value);
    }

    /// What there are several of.
    pub fn list<'i, T: 'i>(
        &mut self,
        items: impl IntoIterator<Item = &'i T, IntoIter: ExactSizeIterator>,
        mut one: impl FnMut(&mut Self, &T),
    ) {
        let items = items.into_iter();
        self.full |= items.len() > MOST_ENTRIES;
        self.u16(u16::try_from(items.len()).unwrap_or(u16::MAX));
        items.for_each(|item| one(self, item));
    }

    /// What there may be.
    pub fn option<T>(&mut self, item: Option<T>, one: impl FnOnce(&mut Self, T)) {
        self.flag(item.is_some());
        if let Some(item) = item {
            one(self, item);
        }
    }

    /// A time, by the clock that the next process has, too.
    pub fn instant(&mut self, at: Instant) {
        self.u64(at.as_nanos());
    }

    /// A deadline, if there is one.
    pub fn due(&mut self, at: Option<Instant>) {
        self.option(at, Self::instant);
    }

    /// A time that something takes.
    pub fn duration(&mut self, time: Duration) {
        self.u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// An address.
    pub fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(a) => {
                self.u8(4);
                self.fixed(&a.octets());
            }
            IpAddr::V6(a) => {
                self.u8(6);
                self.fixed(&a.octets());
            }
        }
    }

    /// An address of IPv4.
    pub fn v4(&mut self, address: Ipv4Addr) {
        self.fixed(&address.octets());
    }

    fn end(&mut self, end: SocketAddr) {
        self.address(end.ip());
        self.u16(end.port());
        // A link-local peer is on a link.
        self.u32(match end {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(v6) => v6.scope_id(),
        });
    }

    /// Where both ends are.
    pub fn path(&mut self, path: Path) {
        self.end(path.local);
        self.end(path.remote);
    }

    /// Who somebody is.
    pub fn identity(&mut self, identity: &Identity) {
        self.u8(identity.id_type());
        self.bytes(&identity.data());
    }

    /// Which traffic.
    pub fn selector(&mut self, ts: &TrafficSelector) {
        self.address(ts.addresses.first);
        self.address(ts.addresses.last);
        self.u8(ts.protocol);
        self.u16(ts.first_port);
        self.u16(ts.last_port);
    }

    /// A network.
    pub fn prefix(&mut self, prefix: &Prefix) {
        self.address(prefix.address);
        self.u8(prefix.length);
    }
}

impl<'a> Reader<'a> {
    /// Of these octets.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Nothing may be left.
    #[must_use]
    pub fn finish(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    fn raw(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// So many octets.
    pub fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.raw(N)?.try_into().ok()
    }

    /// A number.
    pub fn u8(&mut self) -> Option<u8> {
        self.fixed().map(u8::from_be_bytes)
    }

    /// A number.
    pub fn u16(&mut self) -> Option<u16> {
        self.fixed().map(u16::from_be_bytes)
    }

    /// A number.
    pub fn u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    /// A number.
    pub fn u64(&mut self) -> Option<u64> {
        self.fixed().map(u64::from_be_bytes)
    }

    /// Yes or no.
    pub fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// Octets with their length.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.raw(length)
    }

    /// The same, where nobody may see them.
    pub fn secret(&mut self) -> Option<Secret> {
        self.bytes().map(Secret::from)
    }

    /// UTF-8 with its length.
    pub fn text(&mut self) -> Option<String> {
        core::str::from_utf8(self.bytes()?).ok().map(str::to_owned)
    }

    /// What there are several of.
    pub fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::from(self.u16()?);
        // Each takes an octet at least: a length that promises more than there is makes no room.
        if count > MOST_ENTRIES || count > self.0.len() {
            return None;
        }
        (0..count).map(|_| one(self)).collect()
    }

    /// What there may be.
    pub fn option<T>(&mut self, one: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.flag()? {
            true => one(self).map(Some),
            false => Some(None),
        }
    }

    /// A time.
    pub fn instant(&mut self) -> Option<Instant> {
        self.u64().map(Instant::from_nanos)
    }

    /// A deadline, if there is one.
    pub fn due(&mut self) -> Option<Option<Instant>> {
        self.option(Self::instant)
    }

    /// A time that something takes.
    pub fn duration(&mut self) -> Option<Duration> {
        self.u64().map(Duration::from_nanos)
    }

    /// An address.
    pub fn address(&mut self) -> Option<IpAddr> {
        match self.u8()? {
            4 => self.v4().map(IpAddr::from),
            6 => self.fixed::<16>().map(IpAddr::from),
            _ => None,
        }
    }

    /// An address of IPv4.
    pub fn v4(&mut self) -> Option<Ipv4Addr> {
        self.fixed::<4>().map(Ipv4Addr::from)
    }

    fn end(&mut self) -> Option<SocketAddr> {
        let (address, port, scope) = (self.address()?, self.u16()?, self.u32()?);
        let mut end = SocketAddr::new(address, port);
        if let SocketAddr::V6(v6) = &mut end {
            v6.set_scope_id(scope);
        }
        Some(end)
    }

    /// Where both ends are: of one family.
    pub fn path(&mut self) -> Option<Path> {
        let path = Path { local: self.end()?, remote: self.end()? };
        (path.local.is_ipv4() == path.remote.is_ipv4()).then_some(path)
    }

    /// Who somebody is.
    pub fn identity(&mut self) -> Option<Identity> {
        let kind = self.u8()?;
        Identity::from_parts(kind, self.bytes()?)
    }

    /// Which traffic.
    pub fn selector(&mut self) -> Option<TrafficSelector> {
        let addresses = AddressRange { first: self.address()?, last: self.address()? };
        let (protocol, first_port, last_port) = (self.u8()?, self.u16()?, self.u16()?);
        let same = addresses.first.is_ipv4() == addresses.last.is_ipv4() && addresses.first <= addresses.last;
        same.then_some(TrafficSelector { addresses, protocol, first_port, last_port })
    }

    /// A network.
    pub fn prefix(&mut self) -> Option<Prefix> {
        let (address, length) = (self.address()?, self.u8()?);
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some(Prefix { address, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_none() {
        let mut w = Writer::new(8);
        w.bytes(b"four");
        assert!(w.finish().is_some());
        let mut w = Writer::new(8);
        w.bytes(b"fives");
        assert!(w.finish().is_none());
    }

    #[test]
    fn a_length_that_promises_too_much_is_refused() {
        let mut r = Reader::new(&[0xff, 0xff, 1, 2]);
        assert!(r.list(Reader::u8).is_none());
        let mut r = Reader::new(&[0, 2, 1, 2]);
        assert_eq!(r.list(Reader::u8), Some(vec![1, 2]));
        assert!(r.finish().is_some());
        assert!(Reader::new(&[2]).flag().is_none());
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 1]).bytes().is_none());
    }
}
