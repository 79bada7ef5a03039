//! What counts as proof of who somebody is that dials, and for what.

use adit_auth::eap::{Method, Tunnel};
use adit_auth::radius::Granted;
use adit_core::{Failure, FailureCode, Step};
use adit_profile::PppEap;

use crate::server::identity;

/// The engine of a method, made when it is asked first. Methods differ in whom they trust: none goes on with the engine of
/// another, whose handshake has proven something else.
pub(super) fn engine_of<T>(
    engine: &mut Option<(Method, T)>,
    method: Method,
    make: impl FnOnce() -> Result<T, Failure>,
) -> Result<&mut T, Failure> {
    let (of, engine) = match engine {
        Some(made) => made,
        None => engine.insert((method, make()?)),
    };
    if *of != method {
        let text = format!("EAP: the peer began {of}, and goes on with {method}");
        return Err(Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text));
    }
    Ok(engine)
}

/// Whose certificate has been shown, if any has: the authority may sign for others than those who may dial.
pub(super) fn lets_in(eap: &PppEap, tunnel: Option<&Tunnel>) -> Result<(), Failure> {
    let Some(tunnel) = tunnel else { return Ok(()) };
    // The first is who it comes in as.
    let name = tunnel.names.first().map(String::as_str).unwrap_or_default();
    let who = identity(name);
    if eap.matches.iter().any(|pattern| pattern.matches(&who)) {
        return Ok(());
    }
    let text =
        format!("EAP: the certificate of {} is good, and not one that lets in here", name.escape_debug());
    Err(Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text)
        .hint("whose certificates let in says  match  of [pptp]"))
}

/// What was granted to somebody else, whose answer came late, is not for who came in.
pub(super) fn granted_to(offered: Option<(String, Granted)>, proven: &str) -> Option<Granted> {
    offered.filter(|(who, _)| who == proven).map(|(_, granted)| granted)
}

/// `DOMAIN\west` is `west`, where the file of users has it so.
pub(super) fn as_the_file_has_it(user: Option<(String, String)>, proven: &str) -> String {
    match user {
        Some((said, user)) if said == proven => user,
        _ => proven.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use adit_auth::eap::TlsVersion;
    use adit_profile::{EapType, Revocation};

    use super::*;

    /// PEAP's engine asks for no certificate.
    #[test]
    fn an_engine_serves_one_method() {
        let mut engine = None;
        assert_eq!(*engine_of(&mut engine, Method::PEAP, || Ok(1)).unwrap(), 1);
        assert_eq!(*engine_of(&mut engine, Method::PEAP, || panic!("another")).unwrap(), 1);
        let why = engine_of(&mut engine, Method::TLS, || Ok(2)).unwrap_err();
        assert_eq!(why.code, FailureCode::AuthenticationFailed);
    }

    #[test]
    fn only_those_come_in_by_a_certificate_who_are_said_to() {
        let eap = PppEap {
            methods: vec![EapType::Tls],
            certificate: Vec::new(),
            keys: Vec::new(),
            key_password: None,
            ca: Vec::new(),
            matches: vec!["*@example.com".parse().unwrap()],
            revocation: Revocation::default(),
        };
        let shown = |names: &[&str]| Tunnel {
            version: TlsVersion::Tls13,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        assert!(lets_in(&eap, None).is_ok());
        assert!(lets_in(&eap, Some(&shown(&["ann@example.com", "CN=ann"]))).is_ok());
        for names in [&["ann@other.example", "ann@example.com"][..], &["CN=ann"], &[]] {
            let why = lets_in(&eap, Some(&shown(names))).unwrap_err();
            assert_eq!(why.code, FailureCode::AuthenticationFailed, "{names:?}");
        }
    }

    /// A link may be negotiated anew while a RADIUS server thinks about another name.
    #[test]
    fn what_is_granted_is_for_one() {
        let offered = || Some(("west".to_owned(), Granted::default()));
        assert!(granted_to(offered(), "west").is_some());
        assert!(granted_to(offered(), "east").is_none() && granted_to(None, "west").is_none());
    }

    #[test]
    fn a_site_is_known_by_the_name_that_the_file_has() {
        let user = |said: &str| Some((said.to_owned(), "west".to_owned()));
        assert_eq!(as_the_file_has_it(user("X\\west"), "X\\west"), "west");
        assert_eq!(as_the_file_has_it(user("X\\west"), "east"), "east");
        assert_eq!(as_the_file_has_it(None, "X\\west"), "X\\west");
    }
}
