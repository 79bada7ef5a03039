//! `org.adit1`: what Adit says on D-Bus, and what `ctl`, desktops and the service share of it.
//!
//! Names and paths ([`names`]), one proxy an interface, plain structs of what the properties say
//! ([`ConnectionStatus`], [`ProfileSummary`], [`DoctorCheck`]), errors that carry a whole
//! [`Failure`](adit_core::Failure) ([`ApiError`]), and [`connect`]. The introspection documents of `xml/` are in
//! [`introspection`]. docs/dbus.md describes every interface.

mod connect;
mod error;
pub mod introspection;
pub mod names;
mod proxies;
mod row;
mod seen;
mod status;

pub use connect::{Bus, ConnectError, connect, connect_private, connect_stream, connect_system};
pub use error::{ApiError, ErrorName, failure_of};
pub use proxies::{
    ConnectionProxy, Introduced, ManagerProxy, ObjectManagerProxy, ProfileProxy, Progress, ProgressStream,
    RekeyRefused, RekeyRefusedStream, StateChanged, StateChangedStream, signals,
};
pub use row::{ConnectionRow, LogEntry};
pub use seen::{Seen, Told, seen, status_of};
pub use status::{
    ChildParts, ConnectionState, ConnectionStatus, DoctorCheck, DoctorStatus, LastErrorParts, MoveParts,
    Problem, ProfileSummary, Properties, Role, SettingLine, Traffic, TriedParts, WantedParts,
    failure_from_parts, failure_to_parts,
};
