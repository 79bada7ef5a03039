//! An IKE_SA that is up as octets, for whoever goes on with it after this process: keys, Message IDs, CHILD_SAs.
//!
//! Big-endian, each list and string with its length before it, and the whole no longer than [`MOST`]. It holds keys: it is
//! zeroized when it goes, and belongs into memory only. What is read is checked as whatever comes from outside is; what does
//! not fit is refused as a whole.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use adit_core::{AddressRange, Identity, Instant, Path, Prefix, Secret, TrafficSelector};
use adit_isakmp::payload::Identification;
use adit_isakmp::{AdditionalKe, Encryption, EspSuite, IkeSuite, Integrity, KeMethod, Prf};
use zeroize::Zeroizing;

use crate::api::Lease;

/// Octets of one at most: a response of 16 kB that is to be repeated, and what else there is.
pub(crate) const MOST: usize = 24 * 1024;

/// Entries of one list at most.
const MOST_ENTRIES: usize = 512;

/// What is known of this form. Any other is refused.
pub(crate) const VERSION: u8 = 2;

/// Writes one. What does not fit makes it none.
pub(crate) struct Writer {
    out: Zeroizing<Vec<u8>>,
    full: bool,
}

/// Reads one. `None` from any of its functions: it is damaged.
pub(crate) struct Reader<'a>(&'a [u8]);

impl Writer {
    pub(crate) fn new() -> Self {
        // The room is never grown: no copy of what was in it is left behind.
        Self { out: Zeroizing::new(Vec::with_capacity(MOST)), full: false }
    }

    pub(crate) fn finish(self) -> Option<Zeroizing<Vec<u8>>> {
        (!self.full).then_some(self.out)
    }

    fn raw(&mut self, bytes: &[u8]) {
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
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.raw(value);
    }

    pub(crate) fn array(&mut self, value: &[u8; 20]) {
        self.raw(value);
    }

    pub(crate) fn list<T>(&mut self, items: &[T], mut one: impl FnMut(&mut Self, &T)) {
        self.full |= items.len() > MOST_ENTRIES;
        self.u16(u16::try_from(items.len()).unwrap_or(u16::MAX));
        items.iter().for_each(|item| one(self, item));
    }

    pub(crate) fn option<T>(&mut self, item: Option<T>, one: impl FnOnce(&mut Self, T)) {
        self.flag(item.is_some());
        if let Some(item) = item {
            one(self, item);
        }
    }

    pub(crate) fn instant(&mut self, at: Instant) {
        self.u64(at.as_nanos());
    }

    pub(crate) fn due(&mut self, at: Option<Instant>) {
        self.option(at, Self::instant);
    }

    pub(crate) fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(a) => {
                self.u8(4);
                self.raw(&a.octets());
            }
            IpAddr::V6(a) => {
                self.u8(6);
                self.raw(&a.octets());
            }
        }
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

    pub(crate) fn path(&mut self, path: Path) {
        self.end(path.local);
        self.end(path.remote);
    }

    pub(crate) fn identity(&mut self, identity: &Identity) {
        self.u8(identity.id_type());
        self.bytes(&identity.data());
    }

    pub(crate) fn identification(&mut self, id: &Identification) {
        self.u8(id.id_type);
        self.raw(&id.reserved);
        self.bytes(&id.data);
    }

    fn encryption(&mut self, encryption: Encryption) {
        let (id, bits) = encryption.transform();
        self.u16(id);
        self.u16(bits.unwrap_or(0));
    }

    fn additional(&mut self, additional: AdditionalKe) {
        for list in additional.lists() {
            self.option(list.first().copied().flatten(), |w, ke| w.u16(ke.transform_id()));
        }
    }

    pub(crate) fn ike_suite(&mut self, suite: IkeSuite) {
        self.encryption(suite.encryption);
        self.option(suite.integrity, |w, i| w.u16(i.transform_id()));
        self.u16(suite.prf.transform_id());
        self.u16(suite.ke.transform_id());
        self.additional(suite.additional);
    }

    pub(crate) fn esp_suite(&mut self, suite: EspSuite) {
        self.encryption(suite.encryption);
        self.option(suite.integrity, |w, i| w.u16(i.transform_id()));
        self.option(suite.ke, |w, ke| w.u16(ke.transform_id()));
        self.additional(suite.additional);
        self.flag(suite.esn);
    }

    pub(crate) fn selector(&mut self, ts: &TrafficSelector) {
        self.address(ts.addresses.first);
        self.address(ts.addresses.last);
        self.u8(ts.protocol);
        self.u16(ts.first_port);
        self.u16(ts.last_port);
    }

    pub(crate) fn lease(&mut self, lease: &Lease) {
        self.option(lease.v4, |w, a| w.address(a.into()));
        self.option(lease.v6, |w, (a, length)| {
            w.address(a.into());
            w.u8(length);
        });
        self.list(&lease.dns, |w, a| w.address(*a));
        self.list(&lease.domains, |w, name| w.bytes(name.as_bytes()));
        self.list(&lease.subnets, |w, p| {
            w.address(p.address);
            w.u8(p.length);
        });
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

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
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
        let length = usize::try_from(self.u32()?).ok()?;
        self.raw(length)
    }

    pub(crate) fn secret(&mut self) -> Option<Secret> {
        self.bytes().map(Secret::from)
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        core::str::from_utf8(self.bytes()?).ok().map(str::to_owned)
    }

    pub(crate) fn array(&mut self) -> Option<[u8; 20]> {
        self.fixed()
    }

    pub(crate) fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::from(self.u16()?);
        // Each takes an octet at least: a length that promises more than there is makes no room.
        if count > MOST_ENTRIES || count > self.0.len() {
            return None;
        }
        (0..count).map(|_| one(self)).collect()
    }

    pub(crate) fn option<T>(&mut self, one: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.flag()? {
            true => one(self).map(Some),
            false => Some(None),
        }
    }

    pub(crate) fn instant(&mut self) -> Option<Instant> {
        self.u64().map(Instant::from_nanos)
    }

    pub(crate) fn due(&mut self) -> Option<Option<Instant>> {
        self.option(Self::instant)
    }

    pub(crate) fn address(&mut self) -> Option<IpAddr> {
        match self.u8()? {
            4 => self.fixed::<4>().map(IpAddr::from),
            6 => self.fixed::<16>().map(IpAddr::from),
            _ => None,
        }
    }

    fn end(&mut self) -> Option<SocketAddr> {
        let (address, port, scope) = (self.address()?, self.u16()?, self.u32()?);
        let mut end = SocketAddr::new(address, port);
        if let SocketAddr::V6(v6) = &mut end {
            v6.set_scope_id(scope);
        }
        Some(end)
    }

    pub(crate) fn path(&mut self) -> Option<Path> {
        let path = Path { local: self.end()?, remote: self.end()? };
        (path.local.is_ipv4() == path.remote.is_ipv4()).then_some(path)
    }

    pub(crate) fn identity(&mut self) -> Option<Identity> {
        let kind = self.u8()?;
        Identity::from_parts(kind, self.bytes()?)
    }

    pub(crate) fn identification(&mut self) -> Option<Identification> {
        let (id_type, reserved) = (self.u8()?, self.fixed()?);
        Some(Identification { id_type, reserved, data: self.bytes()?.to_vec() })
    }

    fn encryption(&mut self) -> Option<Encryption> {
        let (id, bits) = (self.u16()?, self.u16()?);
        Encryption::from_transform(id, (bits != 0).then_some(bits))
    }

    fn integrity(&mut self) -> Option<Option<Integrity>> {
        self.option(|r| Integrity::from_transform_id(r.u16()?))
    }

    fn method(&mut self) -> Option<KeMethod> {
        KeMethod::from_transform_id(self.u16()?)
    }

    fn additional(&mut self) -> Option<AdditionalKe> {
        let mut methods = [None; AdditionalKe::TYPES];
        for method in &mut methods {
            *method = self.option(Self::method)?;
        }
        Some(AdditionalKe::new(methods))
    }

    pub(crate) fn ike_suite(&mut self) -> Option<IkeSuite> {
        let suite = IkeSuite {
            encryption: self.encryption()?,
            integrity: self.integrity()?,
            prf: Prf::from_transform_id(self.u16()?)?,
            ke: self.method()?,
            additional: self.additional()?,
        };
        (suite.encryption.is_aead() == suite.integrity.is_none()).then_some(suite)
    }

    pub(crate) fn esp_suite(&mut self) -> Option<EspSuite> {
        let suite = EspSuite {
            encryption: self.encryption()?,
            integrity: self.integrity()?,
            ke: self.option(Self::method)?,
            additional: self.additional()?,
            esn: self.flag()?,
        };
        (suite.encryption.is_aead() == suite.integrity.is_none()).then_some(suite)
    }

    pub(crate) fn selector(&mut self) -> Option<TrafficSelector> {
        let addresses = AddressRange { first: self.address()?, last: self.address()? };
        let (protocol, first_port, last_port) = (self.u8()?, self.u16()?, self.u16()?);
        let same = addresses.first.is_ipv4() == addresses.last.is_ipv4() && addresses.first <= addresses.last;
        same.then_some(TrafficSelector { addresses, protocol, first_port, last_port })
    }

    fn v6(&mut self) -> Option<(Ipv6Addr, u8)> {
        match self.prefix()? {
            Prefix { address: IpAddr::V6(address), length } => Some((address, length)),
            Prefix { address: IpAddr::V4(_), .. } => None,
        }
    }

    fn prefix(&mut self) -> Option<Prefix> {
        let (address, length) = (self.address()?, self.u8()?);
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some(Prefix { address, length })
    }

    pub(crate) fn lease(&mut self) -> Option<Lease> {
        Some(Lease {
            v4: self.option(|r| match r.address()? {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })?,
            v6: self.option(Self::v6)?,
            dns: self.list(Self::address)?,
            domains: self.list(Self::text)?,
            subnets: self.list(Self::prefix)?,
        })
    }
}
