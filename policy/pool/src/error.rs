use core::net::IpAddr;

use adit_core::{Failure, FailureCode, Step};
use thiserror::Error;

/// Why there is no pool, or no lease.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PoolError {
    /// Every address is leased.
    #[error("the pool \"{pool}\" has no free address: all {size} are leased")]
    Exhausted {
        /// The pool's name.
        pool: String,
        /// How many addresses of the families asked for it has.
        size: u128,
    },
    /// The pool has no addresses of the families asked for.
    #[error("the pool \"{pool}\" has no {family} addresses")]
    Family {
        /// The pool's name.
        pool: String,
        /// `IPv4`, `IPv6`, or both.
        family: &'static str,
    },
    /// Two ranges of one pool have addresses in common.
    #[error("the ranges of the pool \"{pool}\" overlap at {at}")]
    Overlap {
        /// The pool's name.
        pool: String,
        /// An address that is in both.
        at: IpAddr,
    },
    /// A range ends before it begins, or begins in one family and ends in the other.
    #[error("{first} to {last} is not a range of addresses")]
    Range {
        /// Where it begins.
        first: IpAddr,
        /// Where it ends.
        last: IpAddr,
    },
    /// Nothing is left after the exclusions.
    #[error("the pool \"{0}\" has no addresses")]
    Empty(String),
    /// Not a prefix length of IPv6.
    #[error("{0} is not a prefix length of IPv6 (1 to 128)")]
    PrefixLength(u8),
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        let text = error.to_string();
        match error {
            PoolError::Exhausted { pool, .. } => Self::new(FailureCode::NoAddress, Step::Address, text)
                .hint(format!("give the pool \"{pool}\" another range in server.toml")),
            PoolError::Family { pool, family } => Self::new(FailureCode::NoAddress, Step::Address, text)
                .hint(format!("give the pool \"{pool}\" a range of {family} in server.toml")),
            PoolError::Overlap { .. }
            | PoolError::Range { .. }
            | PoolError::Empty(_)
            | PoolError::PrefixLength(_) => Self::new(FailureCode::ConfigurationInvalid, Step::Profile, text)
                .hint("correct the pool's ranges in server.toml"),
        }
    }
}
