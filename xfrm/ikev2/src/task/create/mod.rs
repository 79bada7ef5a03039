//! CREATE_CHILD_SA for CHILD_SAs (RFC 7296 §1.3.1, §1.3.3): new ones and those that take another's place; what we ask
//! (`ask`) and what we answer (`grant`).
//!
//! # What the RFC demands
//!
//! - The request is `[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr`, the response `SA, Nr, [KEr,] TSi, TSr`. A KE payload goes
//!   with proposals that have a method, and is of one that was offered; another one is asked for by INVALID_KE_PAYLOAD
//!   (§1.3). Keys come from the IKE_SA's SK_d, the new shared secret if there is one, and the new nonces (§2.17).
//! - REKEY_SA names the SPI that the initiator receives on. The old CHILD_SA goes on until the new one is up, and is
//!   then deleted by the end that initiated the rekey (§1.3.3, §2.8). Its selectors stay (§2.9.2).
//! - Who responds to a rekey receives on the new SA before it answers, and sends on it when it knows that the initiator
//!   has it: by a new request, or after some time (§2.8).
//! - Both ends may rekey at once. Then there are two new CHILD_SAs; the one made with the lowest of the four nonces is
//!   deleted by the end that initiated it, the old one by the end that initiated the other (§2.8.1).
//! - What is being closed can't be rekeyed: TEMPORARY_FAILURE. What we are rekeying ourselves is answered as usual. What
//!   we don't have: CHILD_SA_NOT_FOUND. While the IKE_SA is being rekeyed nothing is created (§2.25.1, §2.25.2).
//! - A refusal ends neither the IKE_SA nor the old CHILD_SA (§1.3). TEMPORARY_FAILURE means later, and after several
//!   minutes of it that the two ends have lost each other; CHILD_SA_NOT_FOUND that the peer has to be asked for a
//!   CHILD_SA from scratch (§2.25).

mod ask;
mod grant;

pub(crate) use ask::{Create, Leaves, begin_new, begin_rekey, left_answered};
pub(crate) use grant::{Grant, begin as answer};

use core::time::Duration;
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Secret, Step, TrafficSelector};
use adit_isakmp::EspSuite;
use adit_isakmp::keys::{ChildKeys, SaKeys};
use adit_isakmp::proposal::EspProposal;

use crate::api::{AskId, ChildId, ChildMode, ChildSa, EspKeys};
use crate::ike::{Child, Ike, Kernel};
use crate::state::Cx;

/// CHILD_SAs that one IKE_SA may have.
pub(super) const MOST_CHILDREN: usize = 64;

/// After a refusal that is no "later", a rekey is tried again after this, or a tenth of the CHILD_SA's life if that is
/// longer: some peers let nobody but themselves rekey.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(60);

/// A CHILD_SA that both ends have agreed on.
struct Made {
    child: ChildId,
    replaces: Option<ChildId>,
    mode: ChildMode,
    suite: EspSuite,
    inbound_spi: u32,
    outbound_spi: u32,
    local_ts: Vec<TrafficSelector>,
    remote_ts: Vec<TrafficSelector>,
}

/// Keys by direction.
struct Directions {
    inbound: EspKeys,
    outbound: EspKeys,
}

impl Made {
    /// Its keys. `initiated`: by us.
    fn keys(
        &self,
        ike: &Ike,
        cx: &Cx<'_>,
        initiated: bool,
        nonces: (&[u8], &[u8]),
        shared: &[Secret],
    ) -> Result<Directions, Failure> {
        let prf = ike.sa.suite.prf;
        let keys = ChildKeys::derive(&*cx.shared.crypto, prf, &ike.sa.sk_d, &self.suite, nonces, shared)
            .map_err(|error| Failure::new(FailureCode::Internal, Step::Child, error.to_string()))?;
        let of = |keys: SaKeys| EspKeys { encryption: keys.encryption, integrity: keys.integrity };
        let (initiator, responder) = (of(keys.initiator), of(keys.responder));
        Ok(if initiated {
            Directions { inbound: responder, outbound: initiator }
        } else {
            Directions { inbound: initiator, outbound: responder }
        })
    }

    /// What the driver is to install.
    fn sa(&self, ike: &Ike, inbound: EspKeys, outbound: Option<EspKeys>) -> Box<ChildSa> {
        let channel = &ike.sa.channel;
        Box::new(ChildSa {
            child: self.child,
            replaces: self.replaces,
            mode: self.mode,
            path: channel.path,
            encapsulated: channel.nat.encapsulates(),
            suite: self.suite,
            inbound_spi: self.inbound_spi,
            inbound,
            outbound_spi: self.outbound_spi,
            outbound,
            local_ts: self.local_ts.clone(),
            remote_ts: self.remote_ts.clone(),
            lease: ike.lease.clone(),
            remote_id: ike.remote_id.clone(),
            connection: ike.policy.name.clone(),
        })
    }

    /// Its place in the table, while it is being installed.
    fn child(&self, asked: AskId, esp: Arc<[EspProposal]>, name: Option<Box<str>>) -> Child {
        let ts = (self.local_ts.as_slice(), self.remote_ts.as_slice());
        let child = Child::new(self.child, (self.inbound_spi, self.outbound_spi), self.mode, ts);
        let suite = Some(self.suite);
        Child {
            suite,
            esp,
            name,
            replaces: self.replaces,
            kernel: Kernel::Asked,
            installing: Some(asked),
            ..child
        }
    }
}

/// The lower of the two nonces of an exchange, octet by octet (RFC 7296 §2.8.1).
pub(crate) fn lower(nonces: (&[u8], &[u8])) -> Vec<u8> {
    nonces.0.min(nonces.1).to_vec()
}
