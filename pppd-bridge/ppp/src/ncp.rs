//! Network control protocols: what they negotiate.

mod ccp;
mod ipcp;
mod ipv6cp;

pub use ccp::MppeBits;
pub(crate) use ccp::{Ccp, asks_mppe};
pub(crate) use ipcp::{Ipcp, Start};
pub(crate) use ipv6cp::Ipv6cp;
