//! A file of users: who may prove itself by a password, and which.

use core::fmt;
use std::collections::BTreeMap;

use adit_core::Secret;

use crate::error::{Access, ProfileError, ProfileErrors, Source};
use crate::pppd::AddressRule;
use crate::secret::{check_secret_file, from_hex};

/// A user.
#[derive(Debug)]
pub struct User {
    /// What it has to know.
    pub password: UserPassword,
    /// Whether it has to choose another password now.
    pub expired: bool,
    /// Which addresses it may have. `None`: any of the pool.
    pub addresses: Option<AddressRule>,
}

/// A password as it is kept.
pub enum UserPassword {
    /// The password itself.
    Text(Secret),
    /// Its NT hash (MD4 of UTF-16LE), 16 bytes: all that MS-CHAPv2 needs. Whoever has it can log in.
    NtHash(Secret),
}

impl fmt::Debug for UserPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::NtHash(_) => "NtHash",
        })
    }
}

/// Users by name.
#[derive(Debug, Default)]
pub struct Users(BTreeMap<String, User>);

impl Users {
    /// The user of that name, as a peer writes it, and its name in the file. `DOMAIN\ann` is `ann`, unless it stands there
    /// itself.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(&str, &User)> {
        let found = |name: &str| self.0.get_key_value(name).map(|(name, user)| (name.as_str(), user));
        found(name).or_else(|| found(name.split_once('\\').map(|(_, user)| user)?))
    }

    /// One more, unless there is one of that name.
    pub(crate) fn add(&mut self, name: String, user: User) {
        self.0.entry(name).or_insert(user);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What others say of the same users counts instead.
    pub fn overlay(&mut self, others: Self) {
        for (name, user) in others.0 {
            if let Some(here) = self.0.get_mut(&name) {
                *here = User { addresses: here.addresses.take(), ..user };
            }
        }
    }
}

const KINDS: &str = "password, nt-hash, password-expired or nt-hash-expired";

/// Reads a file of users: a line each, `NAME:KIND:SECRET`, where KIND is `password` or `nt-hash` (32 hexadecimal digits),
/// with `-expired` where the user has to choose another one. Lines that begin with `#` are for people.
///
/// # Errors
/// Every mistake of the file, without what it holds; or others can read it.
pub fn parse_users_file(file: &str, content: &[u8], access: Access) -> Result<Users, ProfileErrors> {
    let whole = Source { file, text: "", access: None };
    let one = |error: ProfileError| {
        ProfileErrors::of(vec![error]).unwrap_or_else(|| ProfileErrors::unexplained(&whole))
    };
    check_secret_file(file, access).map_err(one)?;
    let bad = |message: &str, help: &str| ProfileError::at(&whole, 0..0, message.into(), help.into());
    let text = core::str::from_utf8(content)
        .map_err(|_| one(bad("the file is not UTF-8 text", "a line a user: NAME:KIND:SECRET")))?;
    let (mut users, mut errors) = (Users::default(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mistake = match user(line) {
            Ok((name, _)) if users.0.contains_key(name) => Some("the user stands there twice"),
            Ok((name, user)) => {
                users.0.insert(name.to_owned(), user);
                None
            }
            Err(mistake) => Some(mistake),
        };
        if let Some(mistake) = mistake {
            // Without the line itself: it has a secret.
            let mut error = bad(mistake, &format!("NAME:KIND:SECRET, where KIND is {KINDS}"));
            error.line = number.saturating_add(1);
            errors.push(error);
        }
    }
    match ProfileErrors::of(errors) {
        Some(errors) => Err(errors),
        None => Ok(users),
    }
}

fn user(line: &str) -> Result<(&str, User), &'static str> {
    let (name, rest) = line.split_once(':').ok_or("the line has no colon")?;
    let (kind, secret) = rest.split_once(':').ok_or("the line has one colon only")?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("the user has no name");
    }
    let (kind, expired) = match kind.strip_suffix("-expired") {
        Some(kind) => (kind, true),
        None => (kind, false),
    };
    let password = match kind {
        "password" if !secret.is_empty() => UserPassword::Text(secret.as_bytes().into()),
        "password" => return Err("the password is empty"),
        "nt-hash" => {
            let hash = from_hex(secret).filter(|h| h.len() == 16).ok_or("the NT hash has not 32 digits")?;
            UserPassword::NtHash(Secret::new(hash))
        }
        _ => return Err("the line's second part is no kind of secret"),
    };
    Ok((name, User { password, expired, addresses: None }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLOSED: Access = Access { mode: 0o100_640, gid: 0, adit_gid: Some(990) };

    fn text(user: &User) -> Vec<u8> {
        match &user.password {
            UserPassword::Text(secret) | UserPassword::NtHash(secret) => secret.expose().to_vec(),
        }
    }

    #[test]
    fn a_line_is_a_user() {
        let file = b"# staff\n\nann:password:a:b c \nCORP\\bob:nt-hash:000102030405060708090a0b0c0d0e0F\r\n\
                     carl:password-expired:x\n";
        let users = parse_users_file("f", file, CLOSED).unwrap();
        assert_eq!(users.len(), 3);
        let (name, ann) = users.find("CORP\\ann").unwrap();
        assert_eq!((name, text(ann), ann.expired), ("ann", b"a:b c ".to_vec(), false));
        let (name, bob) = users.find("CORP\\bob").unwrap();
        assert_eq!((name, text(bob).len()), ("CORP\\bob", 16));
        assert!(
            users.find("bob").is_none() && users.find("OTHER\\bob").is_none() && users.find("").is_none()
        );
        assert!(users.find("carl").unwrap().1.expired);
    }

    #[test]
    fn mistakes_are_told_without_the_secret() {
        let file = b"ann\nbob:swordfish\ncarl:clear:swordfish\ndora:nt-hash:swordfish\n:password:swordfish\n\
                     e:password:\nf:password:x\nf:password:swordfish\n";
        let errors = parse_users_file("staff.users", file, CLOSED).unwrap_err();
        let lines: Vec<usize> = errors.all().iter().map(|e| e.line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 6, 8]);
        assert!(!errors.to_string().contains("swordfish"), "{errors}");
        assert!(parse_users_file("f", b"", Access { mode: 0o100_644, ..CLOSED }).is_err());
    }

    #[test]
    fn what_changed_counts_for_users_that_there_are() {
        let mut users = parse_users_file("f", b"ann:password-expired:old\n", CLOSED).unwrap();
        users.overlay(parse_users_file("g", b"ann:password:new\nbob:password:x\n", CLOSED).unwrap());
        let (_, ann) = users.find("ann").unwrap();
        assert!(!ann.expired && text(ann) == b"new" && users.find("bob").is_none());
    }

    proptest! {
        #[test]
        fn a_user_reads_back(name in "[a-z\\\\@.]{1,20}", secret in "[ -~]{1,40}", expired: bool) {
            let kind = if expired { "password-expired" } else { "password" };
            let users = parse_users_file("f", format!("{name}:{kind}:{secret}\n").as_bytes(), CLOSED).unwrap();
            let (found, user) = users.find(&name).unwrap();
            prop_assert_eq!((found, text(user), user.expired), (name.as_str(), secret.into_bytes(), expired));
        }

        #[test]
        fn any_file_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_users_file("f", &bytes, CLOSED);
        }
    }
}
