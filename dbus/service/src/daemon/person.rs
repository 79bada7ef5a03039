//! What a person may raise who is neither root nor a member of the group `adit`: what is all in the profile that they hand
//! over. What this host keeps (passwords, keys, tokens, scripts that run as root) is not theirs to use, least of all with a
//! server of their own choice.

use adit_core::{Failure, FailureCode, Step};
use adit_profile::{KeySource, Profile};

use crate::files::Files;
use crate::raise::Raise;
use crate::registry::Owner;

/// Whether a person may raise that.
///
/// # Errors
/// They may not; which line is why.
pub(super) fn may_raise(profile: &Profile, files: &Files) -> Result<(), Failure> {
    let name = profile.name.to_string();
    // One that can't be read is one, too.
    let none = matches!(files.profile(&name), Err(why) if why.code == FailureCode::NotFound);
    if !none {
        let text = format!("this host has a profile called {name}");
        return Err(not(&text).hint(format!("give yours another name, or raise this host's:  ctl up {name}")));
    }
    if let Some(file) = profile.files().first() {
        let text = format!("a person's own profile may not use {}, which is this host's", file.path());
        return Err(
            not(&text).hint("write what it holds into the profile, or leave a password out: it is asked for")
        );
    }
    let others = profile.strategy.iter().flat_map(|strategy| &strategy.others);
    for one in std::iter::once(profile).chain(others) {
        if one.keys.iter().any(|key| matches!(key, KeySource::Token(_))) {
            return Err(not("a person's own profile may not use this host's tokens"));
        }
        if one.ppp.as_ref().is_some_and(|ppp| ppp.scripts) {
            return Err(not("a person's own profile may not have pppd's scripts run: they run as root"));
        }
        if one.requires.is_some() {
            return Err(not("a person's own profile may not require another connection"));
        }
    }
    Ok(())
}

/// Whether who raises `name` is to be given the connection of that name that there is.
///
/// # Errors
/// It is somebody else's, and may lead anywhere.
pub(super) fn may_meet(name: &str, live: Option<Owner>, how: &Raise) -> Result<(), Failure> {
    let same = match live {
        None => true,
        Some(Owner::Person(_)) => live == Some(how.owner),
        Some(Owner::Administrator) => !how.limited,
        Some(Owner::Host) => !matches!(how.owner, Owner::Person(_)),
    };
    if same {
        return Ok(());
    }
    let text = format!("a connection called {name} is up already, and is another person's");
    Err(not(&text).hint("choose another name, or have root take that one down:  ctl down NAME"))
}

fn not(text: &str) -> Failure {
    Failure::new(FailureCode::NotAuthorized, Step::Profile, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_given_the_connection_of_another_person() {
        let person = |uid| Raise { owner: Owner::Person(uid), limited: true, ..Raise::default() };
        let of_host = |limited| Raise { limited, ..Raise::default() };
        let administrator = || Raise { owner: Owner::Administrator, ..Raise::default() };
        let met = |live, how| may_meet("corp", Some(live), &how).is_ok();
        assert!(met(Owner::Person(7), person(7)));
        assert!(!met(Owner::Person(7), person(8)));
        assert!(!met(Owner::Person(7), of_host(false)) && !met(Owner::Person(7), administrator()));
        assert!(met(Owner::Host, of_host(true)) && met(Owner::Host, administrator()));
        assert!(!met(Owner::Host, person(7)));
        assert!(met(Owner::Administrator, administrator()) && !met(Owner::Administrator, of_host(true)));
    }
}
