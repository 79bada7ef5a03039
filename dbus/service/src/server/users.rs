//! The users of a server: the administrator's file, and the passwords that users have chosen since.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Mutex;

use adit_auth::eap::UserSecret;
use adit_auth::mschap::NtHash;
use adit_core::{Failure, FailureCode, Secret, Step};
use adit_profile::{FileRef, User, UserPassword, Users};
use zeroize::Zeroizing;

use crate::daemon::Daemon;

/// A password that a user chooses has so many characters at least.
const SHORTEST: usize = 8;

/// One writer at a time.
static WRITING: Mutex<()> = Mutex::new(());

/// The users of a file, with the passwords that they have chosen since. `server`: what it calls itself.
pub(crate) fn read(daemon: &Daemon, file: &FileRef, server: &str) -> Result<Users, Failure> {
    let mut users = daemon.files().users(file, server)?;
    let chosen = chosen(daemon, file);
    if chosen.exists() {
        users.overlay(daemon.files().users_at(&chosen)?);
    }
    Ok(users)
}

/// What a user is asked for. `None`: its password is no text.
pub(crate) fn secret(user: &User) -> Option<UserSecret> {
    let (hash, clear) = match &user.password {
        UserPassword::Text(text) => (NtHash::of(text)?, Some(text.duplicate())),
        UserPassword::NtHash(hash) => (NtHash::from_bytes(hash.expose().try_into().ok()?), None),
    };
    Some(UserSecret { hash, expired: user.expired, clear })
}

/// A user has chosen a password. The administrator's file is not the daemon's to write: what was chosen is kept beside
/// the daemon's state, as an NT hash.
pub(crate) fn store(
    daemon: &Daemon,
    (file, server): (&FileRef, &str),
    user: &str,
    password: &Secret,
) -> Result<(), Failure> {
    let text = core::str::from_utf8(password.expose()).unwrap_or_default();
    if text.chars().count() < SHORTEST {
        let text = format!("{user}: the new password has fewer than {SHORTEST} characters");
        return Err(Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text));
    }
    let hash = NtHash::of(password).ok_or_else(|| internal("the new password is not text".into()))?;
    let same = |known: &UserPassword| match known {
        UserPassword::Text(old) => old.equals(password.expose()),
        UserPassword::NtHash(old) => old.equals(hash.expose()),
    };
    if read(daemon, file, server)?.find(user).is_some_and(|(_, known)| same(&known.password)) {
        let text = format!("{user}: the new password is the old one");
        return Err(Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text));
    }
    let path = chosen(daemon, file);
    let _writing = WRITING.lock();
    write(&path, user, &hash).map_err(|e| internal(format!("{}: {e}", path.display())))?;
    tracing::info!(user, "has chosen a new password");
    Ok(())
}

fn chosen(daemon: &Daemon, file: &FileRef) -> PathBuf {
    daemon.settings().state.join("users").join(file.name.as_str())
}

fn write(path: &PathBuf, user: &str, hash: &NtHash) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let before = match std::fs::read(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Zeroizing::default(),
        Err(e) => return Err(e),
    };
    let own = format!("{user}:");
    let mut after = Zeroizing::new(Vec::with_capacity(before.len() + own.len() + 64));
    for line in before.split(|b| *b == b'\n').filter(|l| !l.is_empty() && !l.starts_with(own.as_bytes())) {
        after.extend_from_slice(line);
        after.push(b'\n');
    }
    let digits = Zeroizing::new(hash.expose().iter().map(|b| format!("{b:02x}")).collect::<String>());
    after.extend_from_slice(format!("{user}:nt-hash:").as_bytes());
    after.extend_from_slice(digits.as_bytes());
    after.push(b'\n');
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&after)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)
}

fn internal(text: String) -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, text)
}
