//! The files that a connection names, read with the rights of whoever it belongs to: what is one person's is read as that
//! person, by a process of its own (CVE-2025-9615). What they hold beside PEM goes nowhere.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use adit_core::{Failure, FailureCode, Step};
use nix::fcntl::OFlag;
use nix::unistd::User;
use zeroize::Zeroizing;

use crate::draft::What;
use crate::settings::Settings;

/// The longest file, in bytes.
const LONGEST: u64 = 64 * 1024;
/// What the process that reads as somebody else is started with, before the file.
pub(crate) const READ: &str = "--read";

/// The PEM of a file.
///
/// # Errors
/// It can't be read by those that the connection belongs to, or holds no such PEM.
pub(crate) fn pem(settings: &Settings, file: &str, what: What) -> Result<Zeroizing<String>, Failure> {
    let content = match settings.users.as_slice() {
        [] => read(file).map_err(|error| refused(file, &error)),
        [user] => read_as(user, file),
        _ => Err(mistake("a connection of several persons names a file: nobody knows whose".to_owned())),
    }?;
    blocks(&content, what).ok_or_else(|| {
        let wanted = match what {
            What::Certificates => "certificate",
            What::Key => "private key",
        };
        mistake(format!("{} holds no {wanted} (PEM, -----BEGIN …)", file.escape_debug()))
    })
}

/// Writes a file to standard output: the whole work of a process that was started as its owner.
///
/// # Errors
/// It can't be read.
pub(crate) fn show(file: &str) -> std::io::Result<()> {
    std::io::stdout().write_all(&read(file)?)
}

fn read(file: &str) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // A pipe without a writer does not hold us up.
    let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(file)?;
    let metadata = opened.metadata()?;
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err(std::io::Error::other("not a regular file of at most 64 KiB"));
    }
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(LONGEST).unwrap_or(0)));
    opened.take(LONGEST).read_to_end(&mut content)?;
    Ok(content)
}

fn read_as(user: &str, file: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let known = User::from_name(user).ok().flatten();
    let known = known.ok_or_else(|| mistake(format!("there is no user {}", user.escape_debug())))?;
    let done = std::env::current_exe().and_then(|program| {
        // With that user's rights, and no group beside the first one.
        let mut command = Command::new(program);
        command.args([READ, file]).uid(known.uid.as_raw()).gid(known.gid.as_raw());
        command.env_clear().current_dir("/").stdin(Stdio::null()).stderr(Stdio::piped()).output()
    });
    let done = done.map_err(|error| refused(file, &error))?;
    let content = Zeroizing::new(done.stdout);
    match done.status.success() {
        true => Ok(content),
        false => {
            let why = String::from_utf8_lossy(&done.stderr).trim().chars().take(200).collect::<String>();
            Err(mistake(format!("{} can't be read by {user}: {why}", file.escape_debug())))
        }
    }
}

/// The blocks of that kind, each from its first line to its last.
fn blocks(content: &[u8], what: What) -> Option<Zeroizing<String>> {
    let text = std::str::from_utf8(content).ok()?;
    let fits = |label: &str| match what {
        What::Certificates => label == "CERTIFICATE",
        What::Key => label.ends_with("PRIVATE KEY"),
    };
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let mut end: Option<String> = None;
    for line in text.lines().map(str::trim_end) {
        let begins = line.strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        if let Some(label) = begins.filter(|label| fits(label)) {
            end = Some(format!("-----END {label}-----"));
        }
        if let Some(last) = &end {
            out.push_str(line);
            out.push('\n');
            if line == last {
                end = None;
            }
        }
    }
    // What begins and does not end is no block.
    (end.is_none() && !out.is_empty()).then_some(out)
}

fn refused(file: &str, error: &std::io::Error) -> Failure {
    mistake(format!("{}: {error}", file.escape_debug()))
}

fn mistake(text: String) -> Failure {
    Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_file_comes_out_but_what_is_meant() {
        let certificate = "-----BEGIN CERTIFICATE-----\r\nAAAA\r\n-----END CERTIFICATE-----\r\n";
        let key = "-----BEGIN EC PRIVATE KEY-----\nBBBB\n-----END EC PRIVATE KEY-----\n";
        let file = format!("root:x:0\n{certificate}secret\n{key}more\n");
        let out = |what| blocks(file.as_bytes(), what).map(|pem| pem.to_string());
        assert_eq!(out(What::Certificates).unwrap(), certificate.replace('\r', ""));
        assert_eq!(out(What::Key).unwrap(), key);
        assert_eq!(blocks(b"root:x:0\n", What::Key), None);
        assert_eq!(blocks(b"-----BEGIN PRIVATE KEY-----\nroot:x:0\n", What::Key), None);
    }

    #[test]
    fn only_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pem");
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n").unwrap();
        let settings = Settings::default();
        let path = file.to_str().unwrap();
        assert!(pem(&settings, path, What::Certificates).is_ok());
        let failure = pem(&settings, path, What::Key).unwrap_err();
        assert!(failure.text.ends_with("holds no private key (PEM, -----BEGIN …)"), "{failure}");
        assert!(pem(&settings, folder.path().to_str().unwrap(), What::Key).is_err());
        assert!(pem(&settings, "/nowhere", What::Key).is_err());
        let somebody = Settings { users: vec!["no such user".into()], ..Settings::default() };
        assert!(pem(&somebody, path, What::Certificates).unwrap_err().text.contains("there is no user"));
    }
}
