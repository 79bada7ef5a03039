//! What the documents of PPP's carriers are read by.
#![allow(clippy::unwrap_used, reason = "a test")]

use adit_profile::{Profile, ServerConfig, Source, SuiteCheck, SuiteKind, parse_profile, parse_server};

fn check(_: SuiteKind, _: &str) -> SuiteCheck {
    Ok(Vec::new())
}

pub(crate) fn profile(text: &str) -> Result<Profile, String> {
    let source = Source { file: "corp.toml", text, access: None };
    parse_profile(&"corp".parse().unwrap(), &source, &check).map_err(|e| e.to_string())
}

pub(crate) fn server(text: &str) -> Result<ServerConfig, String> {
    let source = Source { file: "server.toml", text, access: None };
    parse_server(&source, &check).map_err(|e| e.to_string())
}
