//! What both versions of IKE hand to the next process, in the words of [`adit_core::snapshot`].

use core::net::{IpAddr, Ipv6Addr};

use adit_core::Prefix;
use adit_core::snapshot::{Reader, Writer};

use crate::api::Lease;
use crate::payload::Identification;
use crate::{AdditionalKe, Encryption, EspSuite, IkeSuite, Integrity, KeMethod, Prf};

/// Writes it.
pub trait Write {
    /// What protects an IKE_SA or an ISAKMP SA.
    fn ike_suite(&mut self, suite: IkeSuite);
    /// What protects a pair of SAs of ESP.
    fn esp_suite(&mut self, suite: EspSuite);
    /// An ID payload of IKEv2.
    fn identification(&mut self, id: &Identification);
    /// Addresses that we got.
    fn lease(&mut self, lease: &Lease);
}

/// Reads it. `None`: it is damaged.
pub trait Read {
    /// What protects an IKE_SA or an ISAKMP SA.
    fn ike_suite(&mut self) -> Option<IkeSuite>;
    /// What protects a pair of SAs of ESP.
    fn esp_suite(&mut self) -> Option<EspSuite>;
    /// An ID payload of IKEv2.
    fn identification(&mut self) -> Option<Identification>;
    /// Addresses that we got.
    fn lease(&mut self) -> Option<Lease>;
}

impl Write for Writer {
    fn ike_suite(&mut self, suite: IkeSuite) {
        encryption(self, suite.encryption);
        self.option(suite.integrity, |w, i| w.u16(i.transform_id()));
        self.u16(suite.prf.transform_id());
        self.u16(suite.ke.transform_id());
        additional(self, suite.additional);
    }

    fn esp_suite(&mut self, suite: EspSuite) {
        encryption(self, suite.encryption);
        self.option(suite.integrity, |w, i| w.u16(i.transform_id()));
        self.option(suite.ke, |w, ke| w.u16(ke.transform_id()));
        additional(self, suite.additional);
        self.flag(suite.esn);
    }

    fn identification(&mut self, id: &Identification) {
        self.u8(id.id_type);
        self.fixed(&id.reserved);
        self.bytes(&id.data);
    }

    fn lease(&mut self, lease: &Lease) {
        self.option(lease.v4, |w, a| w.address(a.into()));
        self.option(lease.v6, |w, (a, length)| w.prefix(&Prefix { address: a.into(), length }));
        self.list(&lease.dns, |w, a| w.address(*a));
        self.list(&lease.domains, |w, name| w.bytes(name.as_bytes()));
        self.list(&lease.subnets, Writer::prefix);
    }
}

fn encryption(w: &mut Writer, encryption: Encryption) {
    let (id, bits) = encryption.transform();
    w.u16(id);
    w.u16(bits.unwrap_or(0));
}

fn additional(w: &mut Writer, additional: AdditionalKe) {
    for list in additional.lists() {
        w.option(list.first().copied().flatten(), |w, ke| w.u16(ke.transform_id()));
    }
}

impl Read for Reader<'_> {
    fn ike_suite(&mut self) -> Option<IkeSuite> {
        let suite = IkeSuite {
            encryption: cipher(self)?,
            integrity: integrity(self)?,
            prf: Prf::from_transform_id(self.u16()?)?,
            ke: method(self)?,
            additional: methods(self)?,
        };
        (suite.encryption.is_aead() == suite.integrity.is_none()).then_some(suite)
    }

    fn esp_suite(&mut self) -> Option<EspSuite> {
        let suite = EspSuite {
            encryption: cipher(self)?,
            integrity: integrity(self)?,
            ke: self.option(method)?,
            additional: methods(self)?,
            esn: self.flag()?,
        };
        (suite.encryption.is_aead() == suite.integrity.is_none()).then_some(suite)
    }

    fn identification(&mut self) -> Option<Identification> {
        let (id_type, reserved) = (self.u8()?, self.fixed()?);
        Some(Identification { id_type, reserved, data: self.bytes()?.to_vec() })
    }

    fn lease(&mut self) -> Option<Lease> {
        Some(Lease {
            v4: self.option(|r| match r.address()? {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })?,
            v6: self.option(v6)?,
            dns: self.list(Self::address)?,
            domains: self.list(Self::text)?,
            subnets: self.list(Self::prefix)?,
        })
    }
}

fn cipher(r: &mut Reader<'_>) -> Option<Encryption> {
    let (id, bits) = (r.u16()?, r.u16()?);
    Encryption::from_transform(id, (bits != 0).then_some(bits))
}

fn integrity(r: &mut Reader<'_>) -> Option<Option<Integrity>> {
    r.option(|r| Integrity::from_transform_id(r.u16()?))
}

fn method(r: &mut Reader<'_>) -> Option<KeMethod> {
    KeMethod::from_transform_id(r.u16()?)
}

fn methods(r: &mut Reader<'_>) -> Option<AdditionalKe> {
    let mut methods = [None; AdditionalKe::TYPES];
    for one in &mut methods {
        *one = r.option(method)?;
    }
    Some(AdditionalKe::new(methods))
}

fn v6(r: &mut Reader<'_>) -> Option<(Ipv6Addr, u8)> {
    match r.prefix()? {
        Prefix { address: IpAddr::V6(address), length } => Some((address, length)),
        Prefix { address: IpAddr::V4(_), .. } => None,
    }
}
