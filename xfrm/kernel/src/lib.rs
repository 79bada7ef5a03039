//! The door to the kernel's IPsec.
//!
//! [`XfrmDoor`] is what the daemon may ask: an SPI, the installation of a CHILD_SA, its removal, its counters, a list
//! of what is ours, what the kernel can do, and its events. [`KernelXfrm`] is the kernel; behind the feature
//! `recording` stands a recorder for unit tests and `aditd-record`.
//!
//! Every operation is one batch of netlink requests in one `sendmsg`. The kernel works requests off inside that call
//! and queues its answers before it returns, so no operation waits for anything but the kernel's own work. The first
//! use of an algorithm may load a module (milliseconds to seconds): callers run installations off the event loop.
//!
//! Keys are moved in as [`adit_core::Secret`] and written once into a request buffer that is zeroized after it was sent.
//! Answers of the kernel that repeat keys are zeroized unparsed. Only a state that has to follow its peer to another
//! address is read back with its keys, straight into the next request.

mod algorithm;
mod attribute;
mod capability;
mod child;
mod door;
mod error;
mod event;
pub mod ike_socket;
mod kernel;
mod link;
mod locked;
mod plug;
mod policy;
#[cfg(feature = "recording")]
mod recording;
mod relocate;
mod request;
mod selector;
mod state;

pub use algorithm::{Algorithm, EspKeys, Integrity};
pub use capability::{Capabilities, Capability, Feature, Support};
pub use child::{ChildSa, Lifetimes, UdpEncap};
pub use door::{OUR_IF_IDS, OUR_REQIDS, XfrmDoor};
pub use error::{Operation, XfrmError};
pub use event::{EventStream, XfrmEvent};
pub use kernel::KernelXfrm;
pub use locked::{Locked, inherited};
pub use policy::{Action, Direction, Policy, PolicyId, PolicyPlan, Template};
#[cfg(feature = "recording")]
pub use recording::{Recorded, RecordingXfrm};
pub use relocate::{Plugged, Relocation};
pub use selector::{PortMatch, Selector, SelectorError};
pub use state::{AllocateSpi, Mark, Mode, StateId, StateRecord, Statistics};
