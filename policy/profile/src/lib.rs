//! Connection profiles and `server.toml`, as values.
//!
//! Pure: this crate gets a file's content and metadata and never opens a file. [`parse_profile`] and [`parse_server`]
//! give a checked value, or every mistake of the file with its line, the bad value and what is allowed. Files that a
//! configuration refers to (a PSK, a certificate, a key) are named by [`FileRef`]s; whoever may open files does so and
//! hands the content to [`parse_psk_file`] or [`check_secret_file`].

mod aaa;
mod aaa_read;
mod block;
mod eap;
mod error;
mod front;
mod l2tp_read;
mod ppk;
mod ppp;
mod ppp_keys;
mod ppp_read;
mod pppd;
mod profile;
mod profile_read;
mod proxy_read;
mod read;
mod sa;
mod sa_read;
mod secret;
mod selector;
mod server;
mod server_read;
mod show;
mod srv;
mod start_read;
mod strategy;
mod strategy_read;
mod system_proxy;
mod token;
mod trusted;
mod users;
mod value;

pub use aaa::{Aaa, RadiusSecurity, RadiusServer, RadiusTls};
pub use block::Block;
pub use eap::{EapChoice, EapInner, EapType};
pub use error::{Access, ProfileError, ProfileErrors, Source, redact};
pub use front::{Front, FrontSocket};
pub use ppk::{Ppk, PpkUse};
pub use ppp::{
    Ipsec, IpsecRule, L2tpRule, LinkKind, LinkName, MppeRule, PppAuth, PppEap, PppRule, PppServer, TunnelKind,
};
pub use pppd::{AddressRule, PppdSecrets, parse_pppd_secrets};
pub use profile::{AuthMethod, Dns, Families, Profile, Proxy, ProxyRule, Tunnel};
pub use profile_read::parse_profile;
pub use proxy_read::proxy_address;
pub use read::CheckSuite;
pub use sa::{ChildRule, Mode, Rekeying, Start, Uniqueness};
pub use secret::{
    CertSource, Directory, FileRef, KeySource, PasswordSource, PskSource, Revocation, check_secret_file,
    parse_password_file, parse_psk_file,
};
pub use server::EapMethod;
pub use server::{ConnectionRule, IdentityPattern, Ike, Limits, Listen, Nat, Network, Pool, ServerConfig};
pub use server_read::parse_server;
pub use show::Setting;
pub use srv::Srv;
pub use strategy::{TunnelOrder, TunnelStrategy};
pub use system_proxy::{SystemProxy, system_proxy};
pub use token::TokenKey;
pub use trusted::TrustedNetwork;
pub use users::{User, UserPassword, Users, parse_users_file};
pub use value::{
    FileName, Host, InterfaceName, NameError, ProfileName, ServerName, Suite, SuiteCheck, SuiteKind,
};
