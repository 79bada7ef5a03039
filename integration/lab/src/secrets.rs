//! No log of ours has a secret of the scenario: not as it is, not in hexadecimal, not in Base64.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use adit_lab::scenario::Scenario;
use base64ct::{Base64Unpadded, Encoding};

/// Shorter ones are found by chance.
const SHORTEST: usize = 6;

/// Searches the logs of our daemons below `logs`.
///
/// # Errors
/// In which log which secret stands, and how.
pub(crate) fn absent(scenario: &Scenario, logs: &Path) -> Result<(), String> {
    let secrets = used(scenario);
    for log in files(logs).into_iter().filter(|log| is_ours(log)) {
        let text = fs::read(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        for secret in &secrets {
            let found = forms(secret.as_bytes()).into_iter().find(|(_, form)| holds(&text, form));
            if let Some((how, _)) = found {
                let name = log.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Err(format!("the log {name} has the secret {secret:?} {how}"));
            }
        }
    }
    Ok(())
}

fn is_ours(log: &Path) -> bool {
    log.file_name().is_some_and(|name| name.to_string_lossy().ends_with("aditd.log"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            out.extend(files(&path));
        } else {
            out.push(path);
        }
    }
    out.sort();
    out
}

/// What the scenario says is secret, and what its hosts' files give away: `/etc/adit/secrets`, and `psk`, `password` and
/// `secret` anywhere.
fn used(scenario: &Scenario) -> BTreeSet<String> {
    let mut out: BTreeSet<String> = scenario.secret.iter().cloned().collect();
    for file in scenario.host.keys().flat_map(|host| files(&scenario.folder.join(host))) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let whole = file.parent().is_some_and(|folder| folder.ends_with("etc/adit/secrets"));
        for line in text.lines() {
            out.extend(if whole { of_secret_file(line) } else { of_setting(line) });
        }
    }
    out.retain(|secret| secret.len() >= SHORTEST);
    out
}

/// A secret on a line of its own, or a user's: `NAME:KIND:SECRET`.
fn of_secret_file(line: &str) -> Option<String> {
    let kinds = ["password", "nt-hash", "password-expired", "nt-hash-expired"];
    let mut parts = line.splitn(3, ':');
    let secret = match (parts.next(), parts.next(), parts.next()) {
        (_, Some(kind), Some(secret)) if kinds.contains(&kind) => secret,
        _ if line.starts_with('#') => return None,
        _ => line,
    };
    Some(secret.to_owned())
}

/// `secret = "…"`.
fn of_setting(line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let is_secret = ["psk", "secret", "password"].contains(&key.trim());
    is_secret.then(|| value.trim().trim_matches(['"', '\'']).to_owned())
}

/// The ways in which it could be written.
fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = |upper: bool| -> Vec<u8> {
        let digit = |b: &u8| if upper { format!("{b:02X}") } else { format!("{b:02x}") };
        secret.iter().map(digit).collect::<String>().into_bytes()
    };
    let mut out =
        vec![("as it is", secret.to_vec()), ("in hexadecimal", hex(false)), ("in hexadecimal", hex(true))];
    // Wherever it begins in a longer text, these digits are the same.
    for before in 0..3 {
        let padded = [&vec![0; before][..], secret].concat();
        let digits = Base64Unpadded::encode_string(&padded).into_bytes();
        let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        out.push(("in Base64", digits.get(from..to).unwrap_or_default().to_vec()));
    }
    out
}

fn holds(text: &[u8], form: &[u8]) -> bool {
    !form.is_empty() && text.windows(form.len()).any(|window| window == form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        let secret = b"correct horse";
        let found =
            |text: &[u8]| forms(secret).into_iter().find(|(_, form)| holds(text, form)).map(|(how, _)| how);
        assert_eq!(found(b"password correct horse, or"), Some("as it is"));
        assert_eq!(found(b"x636f727265637420686f727365x"), Some("in hexadecimal"));
        assert_eq!(found(b"636F727265637420686F727365"), Some("in hexadecimal"));
        for before in ["", "a", "ab", "abc"] {
            let text = [before.as_bytes(), secret, b" battery"].concat();
            assert_eq!(found(Base64Unpadded::encode_string(&text).as_bytes()), Some("in Base64"), "{before}");
        }
        assert_eq!(found(b"correct house"), None);
    }

    #[test]
    fn files_give_their_secrets_away() {
        assert_eq!(of_secret_file("ann:password:a:b"), Some("a:b".into()));
        assert_eq!(of_secret_file("a psk"), Some("a psk".into()));
        assert_eq!(of_secret_file("# people"), None);
        assert_eq!(of_setting("    secret = \"x y\""), Some("x y".into()));
        assert_eq!(of_setting("psk-file = \"corp.psk\""), None);
    }
}
