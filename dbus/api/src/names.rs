//! Well-known names and object paths.

/// The bus name.
pub const BUS: &str = "org.adit1";
/// Where the ObjectManager is; everything else lies below.
pub const ROOT: &str = "/org/adit1";
/// The one object of [`MANAGER`].
pub const MANAGER_PATH: &str = "/org/adit1/manager";
/// A profile's object is this, a slash and a number.
pub const PROFILES: &str = "/org/adit1/profile";
/// A connection's object is this, a slash and a number.
pub const CONNECTIONS: &str = "/org/adit1/connection";
/// Raising, reloading, checking.
pub const MANAGER: &str = "org.adit1.Manager";
/// One profile file.
pub const PROFILE: &str = "org.adit1.Profile";
/// One attempt, tunnel or client.
pub const CONNECTION: &str = "org.adit1.Connection";
/// Every error's name starts with this.
pub const ERROR_PREFIX: &str = "org.adit1.Error.";
/// Where the same interfaces are spoken without a bus, peer to peer.
pub const SOCKET: &str = "/run/adit/aditd.sock";
/// The path of a profile without a connection.
pub const NONE: &str = "/";
