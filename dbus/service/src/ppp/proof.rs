//! What counts as proof of who somebody is that dials, and for what.

use std::net::Ipv4Addr;

use adit_auth::eap::{Method, Tunnel};
use adit_auth::radius::Granted;
use adit_core::{Failure, FailureCode, Step};
use adit_profile::{AddressRule, PppEap};

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

/// Who was looked up in the file of users.
pub(super) struct LookedUp {
    /// The name that was said.
    pub(super) said: String,
    /// That of the file.
    pub(super) name: String,
    /// Which addresses they may have.
    pub(super) addresses: Option<AddressRule>,
}

/// Who has proven to be `proven`: `DOMAIN\west` is `west`, where the file of users has it so.
pub(super) fn as_the_file_has_it(user: Option<LookedUp>, proven: &str) -> (String, Option<AddressRule>) {
    match user {
        Some(user) if user.said == proven => (user.name, user.addresses),
        _ => (proven.to_owned(), None),
    }
}

/// Refuses an address that the file of users does not let them have.
pub(super) fn may_have(
    rule: Option<&AddressRule>,
    who: &str,
    address: Option<Ipv4Addr>,
) -> Result<(), Failure> {
    match (rule, address) {
        (Some(rule), Some(address)) if !rule.allows(address.into()) => {
            let text =
                format!("{who}: the file of users lets them have other addresses than {address}, or none");
            let hint =
                "the fourth word of a line of pppd's secrets: an address of the pool, a network, or  *";
            Err(Failure::new(FailureCode::NoAddress, Step::Address, text).hint(hint))
        }
        _ => Ok(()),
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
        let user = |said: &str| {
            let addresses = Some(AddressRule::default());
            Some(LookedUp { said: said.to_owned(), name: "west".to_owned(), addresses })
        };
        let none = Some(AddressRule::default());
        assert_eq!(as_the_file_has_it(user("X\\west"), "X\\west"), ("west".to_owned(), none));
        assert_eq!(as_the_file_has_it(user("X\\west"), "east"), ("east".to_owned(), None));
        assert_eq!(as_the_file_has_it(None, "X\\west"), ("X\\west".to_owned(), None));
    }

    #[test]
    fn who_may_have_no_address_gets_none() {
        let address = Some(Ipv4Addr::new(10, 9, 0, 7));
        let none = AddressRule::default();
        let why = may_have(Some(&none), "ann", address).unwrap_err();
        assert_eq!(why.code, FailureCode::NoAddress);
        assert!(may_have(None, "ann", address).is_ok() && may_have(Some(&none), "ann", None).is_ok());
    }
}
