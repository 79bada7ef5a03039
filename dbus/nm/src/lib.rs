//! Adit in NetworkManager: the VPN service `org.freedesktop.NetworkManager.adit`, a process for each connection, which is
//! a bridge to `org.adit1` and nothing else. The daemon has the tunnel, its addresses, its routes and the way of its own
//! packets; NetworkManager is told of them, so that what it shows, its DNS and its applets are right.
//!
//! [`service`] is the process, [`dialog`] what has a person asked for secrets. What NetworkManager says is read in
//! `settings` and made into a profile in `draft`; what the daemon says is made into NetworkManager's words in `config`;
//! `bridge` joins the two.

mod bridge;
mod config;
pub mod dialog;
mod draft;
mod files;
mod plugin;
mod queue;
mod reclaim;
pub mod service;
mod settings;
mod toml;
