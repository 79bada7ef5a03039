//! CREATE_CHILD_SA for the IKE_SA itself (RFC 7296 §1.3.2): what we ask (`ask`) and what we answer (`grant`).
//!
//! # What the RFC demands
//!
//! - The request is `SA, Ni, KEi`, the response `SA, Nr, KEr`; the proposals carry the new SPIs. A new key exchange is
//!   never left out. SKEYSEED is made from the old SK_d with the old prf (§2.18).
//! - Who initiated the rekey is the new IKE_SA's original initiator. Its Message IDs begin at 0. It has the CHILD_SAs of
//!   the old one, which the initiator of the rekey deletes (§2.8).
//! - Both ends may rekey at once. Then there are two; the one made with the lowest of the four nonces is deleted by the
//!   end that initiated it, and the other one has the CHILD_SAs (§2.8.2).
//! - A peer that did not notice that deletes the old IKE_SA: our own rekey is then forgotten. What is being closed can't
//!   be rekeyed, nor what has CHILD_SAs in the making: TEMPORARY_FAILURE (§2.25.2).
//!
//! # Guesses
//!
//! The first proposal and the KE payload are what is in use, since some peers can't be asked twice. What is in use without
//! its additional key exchanges (RFC 9370) is the last one, for peers that have them in IKE_INTERMEDIATE only: what they
//! have protected the old SK_d from, they protect the new one from.

mod ask;
mod grant;

pub(crate) use ask::{Rekey, begin};
pub(crate) use grant::{GrantIke, begin as answer};

use adit_core::{Failure, Secret};
use adit_isakmp::IkeSuite;
use adit_isakmp::proposal::IkeProposal;

use crate::channel::{Agreed, Handshake};
use crate::ike::{Ike, Sa};
use crate::state::{Cx, Role};

/// What is offered: what is in use, then what the connection has.
fn offered(ike: &Ike) -> Vec<IkeProposal> {
    let mut all = accepted(ike);
    // Without any additional key exchange in use, the peer may not know what that is.
    if ike.sa.suite.additional.count() == 0 {
        all = IkeProposal::without_intermediate(&all);
    }
    all
}

/// What is accepted, in the same order.
fn accepted(ike: &Ike) -> Vec<IkeProposal> {
    let suite = ike.sa.suite;
    let in_use = IkeProposal {
        encryption: vec![suite.encryption],
        integrity: suite.integrity.into_iter().collect(),
        prf: vec![suite.prf],
        // [7296:2.18-2]
        ke: vec![suite.ke],
        additional: suite.additional.lists(),
    };
    let plain = in_use.alone();
    let rest = ike.policy.ike.iter().filter(|p| **p != in_use && **p != plain).cloned();
    let last = in_use.has_additional().then(|| plain.clone());
    core::iter::once(in_use.clone()).chain(rest).chain(last).collect()
}

/// Both ends of a new IKE_SA.
struct Ends<'a> {
    role: Role,
    spi_i: u64,
    spi_r: u64,
    suite: IkeSuite,
    nonces: (&'a [u8], &'a [u8]),
}

/// The new IKE_SA (RFC 7296 §2.18), of the shared secrets of all its key exchanges.
fn successor(ike: &Ike, cx: &Cx<'_>, ends: &Ends<'_>, shared: &[Secret]) -> Result<Sa, Failure> {
    let old = &ike.sa;
    let agreed = Agreed {
        role: ends.role,
        spi_i: ends.spi_i,
        spi_r: ends.spi_r,
        path: old.channel.path,
        nat: old.channel.nat,
        suite: ends.suite,
        nonce_i: ends.nonces.0.to_vec(),
        nonce_r: ends.nonces.1.to_vec(),
        peer_hashes: None,
        fragment_size: None,
    };
    let mut made = Handshake::succeed(cx, agreed, (old.suite.prf, &old.sk_d), shared)?;
    made.channel.inherit(&old.channel);
    Ok(Sa::new(made.channel, made.suite, made.keys.d))
}

/// An IKE SPI of a proposal: never 0.
fn spi(bytes: &[u8]) -> Option<u64> {
    <[u8; 8]>::try_from(bytes).ok().map(u64::from_be_bytes).filter(|spi| *spi != 0)
}
