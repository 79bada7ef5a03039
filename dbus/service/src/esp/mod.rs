//! What IKE agreed, as the kernel takes it, and the record of what is there (RFC 4301 §4.4).

mod adopt;
mod adopt_transport;
mod books;
mod child;
mod events;
mod limits;
mod queue;
mod rekey;
mod sad;
#[cfg(feature = "recording")]
#[cfg(test)]
mod tests;
mod work;

pub use adopt::{Standing, remove_all};
pub(crate) use adopt_transport::Around;
pub(crate) use child::mark_of;
pub use child::{Awaited, Numbers};
pub use limits::Limits;
pub use rekey::{Rekey, not_on_demand};
pub use sad::Sad;
