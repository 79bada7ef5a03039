//! Reading configuration: the profiles, `server.toml`, and the files that they name, all under one fixed directory.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use adit_core::{Failure, FailureCode, Secret, Step};
use adit_profile::{
    Access, Block, CertSource, ConnectionRule, Directory, FileRef, KeySource, NameError, PasswordSource,
    PppServer, PppdSecrets, ProfileErrors, ProfileName, PskSource, ServerConfig, Source, SuiteCheck,
    SuiteKind, Users, check_secret_file, parse_password_file, parse_pppd_secrets, parse_profile,
    parse_psk_file, parse_server, parse_users_file,
};
use nix::unistd::Group;
use ring::digest;
use zeroize::Zeroizing;

use crate::rights::GROUP;

/// No configuration file is larger, in bytes.
const LARGEST: u64 = 1 << 20;

/// The configuration directory, `/etc/adit`.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
    credentials: Option<PathBuf>,
    /// Looked up when a file may be read by a group: the name service is large.
    adit_gid: OnceLock<Option<u32>>,
}

/// A mistake as D-Bus shows it: code, `file:line:column`, text, hint.
pub type Mistake = (String, String, String, String);

/// A profile as its file says, or what is wrong with it.
#[derive(Debug)]
pub struct ProfileFile {
    /// The file's name without `.toml`.
    pub name: String,
    /// What it says, or its mistakes.
    pub content: Result<adit_profile::Profile, Vec<Mistake>>,
    /// Whether nothing may leave in clear as long as it is there, also where it has mistakes. `None`: it can't be read.
    pub blocks_always: Option<bool>,
}

/// What a configuration is known by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint(Vec<u8>);

impl Fingerprint {
    /// In hexadecimal.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

struct Content {
    bytes: Zeroizing<Vec<u8>>,
    access: Access,
}

impl Files {
    /// The configuration under `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), credentials: None, adit_gid: OnceLock::new() }
    }

    /// With what the service manager has put into `folder` for the daemon alone: a secret or a private key that is there by its
    /// name is taken from there.
    #[must_use]
    pub fn with_credentials(self, folder: Option<&Path>) -> Self {
        Self { credentials: folder.map(Path::to_owned), ..self }
    }

    /// Every profile, by name. A file that cannot be read is reported, not left out.
    #[must_use]
    pub fn profiles(&self) -> Vec<ProfileFile> {
        let directory = self.root.join("profiles");
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(e) => {
                tracing::warn!(directory = %directory.display(), error = %e, "no profiles");
                return Vec::new();
            }
        };
        let mut names: Vec<String> = entries
            .filter_map(|e| e.ok()?.file_name().into_string().ok()?.strip_suffix(".toml").map(str::to_owned))
            .collect();
        names.sort_unstable();
        let file = |name: String| {
            let content = self.read_profile(&name).map_err(Unread::mistakes);
            let blocks_always = match &content {
                Ok(profile) => Some(profile.block == Block::Always),
                Err(_) => self.says_always(&name),
            };
            ProfileFile { name, content, blocks_always }
        };
        names.into_iter().map(file).collect()
    }

    fn says_always(&self, name: &str) -> Option<bool> {
        let content = self.read(&self.root.join("profiles").join(format!("{name}.toml"))).ok()?;
        Some(Block::is_always_in(&String::from_utf8_lossy(&content.bytes)))
    }

    /// Whether [`Self::profiles`] are all that there are: their folder can be read, or there is none.
    pub(crate) fn lists_profiles(&self) -> bool {
        match std::fs::read_dir(self.root.join("profiles")) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }

    /// One profile, as its file is now.
    ///
    /// # Errors
    /// It is not there, cannot be read, or has mistakes.
    pub fn profile(&self, name: &str) -> Result<adit_profile::Profile, Failure> {
        self.read_profile(name).map_err(|unread| match unread {
            Unread::Failure(failure) => failure,
            Unread::Mistakes(errors) => errors.into(),
        })
    }

    fn read_profile(&self, name: &str) -> Result<adit_profile::Profile, Unread> {
        let checked: ProfileName = name.parse().map_err(|e: NameError| {
            let text = format!("there is no profile of that name: {}", e.why);
            Failure::new(FailureCode::NotFound, Step::Profile, text).hint("ctl list  shows the profiles")
        })?;
        let path = self.root.join("profiles").join(format!("{checked}.toml"));
        let content = self.read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                let text = format!("there is no profile {checked}: {} does not exist", path.display());
                Failure::new(FailureCode::NotFound, Step::Profile, text).hint("ctl list  shows the profiles")
            }
            _ => not_read(&path, &e),
        })?;
        let file = path.display().to_string();
        let source = Source { file: &file, text: text(&path, &content.bytes)?, access: Some(content.access) };
        parse_profile(&checked, &source, &check_suite).map_err(Unread::Mistakes)
    }

    /// What a profile's file is known by. `None`: it can't be read.
    #[must_use]
    pub fn print_of_profile(&self, name: &str) -> Option<String> {
        let checked: ProfileName = name.parse().ok()?;
        let content = self.read(&self.root.join("profiles").join(format!("{checked}.toml"))).ok()?;
        let sum = digest::digest(&digest::SHA256, &content.bytes);
        Some(sum.as_ref().iter().map(|octet| format!("{octet:02x}")).collect())
    }

    /// A profile whose content a caller handed over.
    ///
    /// # Errors
    /// Its mistakes.
    pub fn profile_from_content(&self, name: &str, toml: &str) -> Result<adit_profile::Profile, Failure> {
        let name: ProfileName = name.parse().map_err(|e: NameError| {
            Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, e.why).hint(e.allowed)
        })?;
        let source = Source { file: "(from ctl)", text: toml, access: None };
        parse_profile(&name, &source, &check_suite).map_err(Failure::from)
    }

    /// `server.toml`, if there is one, and a fingerprint of it and of every file that it names: the same fingerprint
    /// is the same configuration.
    ///
    /// # Errors
    /// It cannot be read or has mistakes.
    pub fn server(&self) -> Result<Option<(ServerConfig, Fingerprint)>, Failure> {
        let path = self.root.join("server.toml");
        let content = match self.read(&path) {
            Ok(content) => content,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(not_read(&path, &e)),
        };
        let file = path.display().to_string();
        let text = text(&path, &content.bytes)?;
        let source = Source { file: &file, text, access: Some(content.access) };
        let config = parse_server(&source, &check_suite).map_err(Failure::from)?;
        let mut digest = digest::Context::new(&digest::SHA256);
        digest.update(&content.bytes);
        for file in config.files() {
            // A file that is missing or exposed is reported by whoever uses it.
            if let Ok(content) = self.read(&self.path(file)) {
                digest.update(&content.bytes);
            }
            digest.update(b"\0next\0");
        }
        Ok(Some((config, Fingerprint(digest.finish().as_ref().to_vec()))))
    }

    /// What the clients of a connection are let in by, and where to: the same fingerprint is the same connection.
    #[must_use]
    pub fn connection_fingerprint(&self, config: &ServerConfig, rule: &ConnectionRule) -> Fingerprint {
        let mut digest = digest::Context::new(&digest::SHA256);
        let addresses = rule.pool.as_deref().and_then(|name| config.pool(name));
        let addresses = addresses.map(|p| (&p.ranges, &p.ranges6, &p.on_subnet));
        let users = rule.users.as_ref().map(FileRef::path);
        let who =
            (&rule.matches, &rule.addresses, rule.auth, (rule.eap, rule.eap_only), users, rule.server_auth);
        let who = (who, rule.revocation, rule.ppk);
        let what = (&rule.subnets, &rule.remote_subnets, rule.transport, &rule.pool, addresses);
        digest.update(format!("{who:?} {what:?}").as_bytes());
        // A file that is missing or exposed is reported by whoever uses it.
        if let Some(Ok(psk)) = rule.psk.as_ref().or(config.ikev2.psk.as_ref()).map(|psk| self.psk(psk)) {
            digest.update(psk.expose());
        }
        if let Ok(ca) = self.certificates(&rule.ca) {
            digest.update(b"\0ca\0");
            digest.update(&ca);
        }
        Fingerprint(digest.finish().as_ref().to_vec())
    }

    /// What a server of PPP is, its certificates and its users aside, which are read anew without it: the same fingerprint is
    /// the same server.
    #[must_use]
    pub fn ppp_fingerprint(&self, config: &ServerConfig, ppp: &PppServer) -> Fingerprint {
        let mut digest = digest::Context::new(&digest::SHA256);
        let around = (config.pool(&ppp.pool), &config.network, config.limits, &config.aaa);
        digest.update(format!("{ppp:?} {around:?}").as_bytes());
        for file in config.aaa.servers.iter().flat_map(|server| server.security.files()) {
            // A file that is missing or exposed is reported by whoever uses it.
            if let Ok(content) = self.read(&self.path(file)) {
                digest.update(&content.bytes);
            }
            digest.update(b"\0next\0");
        }
        Fingerprint(digest.finish().as_ref().to_vec())
    }

    /// The key of a file, a PSK or a postquantum preshared key.
    ///
    /// # Errors
    /// As [`Files::psk`].
    pub fn key_of(&self, file: &FileRef) -> Result<Secret, Failure> {
        let path = self.path(file);
        let content = self.read(&path).map_err(|e| not_read(&path, &e))?;
        parse_psk_file(&path.display().to_string(), &content.bytes, content.access).map_err(Failure::from)
    }

    /// A pre-shared key.
    ///
    /// # Errors
    /// Its file cannot be read, holds none, or is open to others.
    pub fn psk(&self, source: &PskSource) -> Result<Secret, Failure> {
        match source {
            PskSource::Inline(secret) => Ok(secret.duplicate()),
            PskSource::File(file) => self.key_of(file),
        }
    }

    /// The password of a client for a server; where it has a file of its own, that one's, whoever they are.
    ///
    /// # Errors
    /// Its file cannot be read, holds none, or is open to others.
    pub fn password(&self, source: &PasswordSource, client: &str, server: &str) -> Result<Secret, Failure> {
        match source {
            PasswordSource::Inline(secret) => Ok(secret.duplicate()),
            PasswordSource::File(file) if file.directory == Directory::Ppp => {
                let path = self.path(file);
                let why = |why| {
                    let text = format!("{}: {why}", path.display());
                    let hint = "write a line  CLIENT SERVER SECRET *  there, where SERVER is the profile's server, or *";
                    Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text).hint(hint)
                };
                self.pppd_secrets(file)?.secret(client, server).map_err(why)
            }
            PasswordSource::File(file) => self.secret(file),
        }
    }

    fn pppd_secrets(&self, file: &FileRef) -> Result<PppdSecrets, Failure> {
        let path = self.path(file);
        let content = self.read(&path).map_err(|e| not_read(&path, &e))?;
        parse_pppd_secrets(&path.display().to_string(), &content.bytes, content.access).map_err(Failure::from)
    }

    /// What a file of `/etc/adit/secrets` holds on its one line, as it is.
    ///
    /// # Errors
    /// It cannot be read, holds nothing, or is open to others.
    pub fn secret(&self, file: &FileRef) -> Result<Secret, Failure> {
        let path = self.path(file);
        let content = self.read(&path).map_err(|e| not_read(&path, &e))?;
        parse_password_file(&path.display().to_string(), &content.bytes, content.access)
            .map_err(Failure::from)
    }

    /// Users, of a server that calls itself `server`.
    ///
    /// # Errors
    /// Their file cannot be read, has mistakes, or is open to others.
    pub fn users(&self, file: &FileRef, server: &str) -> Result<Users, Failure> {
        match file.directory {
            Directory::Ppp => Ok(self.pppd_secrets(file)?.users(server)),
            _ => self.users_at(&self.path(file)),
        }
    }

    /// Users of a file that is not the administrator's own.
    ///
    /// # Errors
    /// As [`Files::users`].
    pub fn users_at(&self, path: &Path) -> Result<Users, Failure> {
        let content = self.read(path).map_err(|e| not_read(path, &e))?;
        parse_users_file(&path.display().to_string(), &content.bytes, content.access).map_err(Failure::from)
    }

    /// Certificates, PEM, all sources one after the other.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn certificates(&self, sources: &[CertSource]) -> Result<Vec<u8>, Failure> {
        let mut pem = Vec::new();
        for source in sources {
            match source {
                CertSource::Inline(text) => pem.extend_from_slice(text.as_bytes()),
                CertSource::File(file) => {
                    let path = self.path(file);
                    pem.extend_from_slice(&self.read(&path).map_err(|e| not_read(&path, &e))?.bytes);
                }
            }
            pem.push(b'\n');
        }
        Ok(pem)
    }

    /// A private key, as its file has it.
    ///
    /// # Errors
    /// Its file cannot be read, or is open to others.
    pub fn key(&self, source: &KeySource) -> Result<Secret, Failure> {
        match source {
            KeySource::Inline(secret) => Ok(secret.duplicate()),
            KeySource::Token(token) => {
                let text = format!("{token} never leaves its token");
                Err(Failure::new(FailureCode::Internal, Step::Profile, text))
            }
            KeySource::File(file) => {
                let path = self.path(file);
                let mut content = self.read(&path).map_err(|e| not_read(&path, &e))?;
                check_secret_file(&path.display().to_string(), content.access)?;
                Ok(Secret::new(std::mem::take(&mut *content.bytes)))
            }
        }
    }

    /// Where the modules of PKCS#11 tokens are.
    #[must_use]
    pub fn modules(&self) -> PathBuf {
        self.root.join("pkcs11")
    }

    /// The password of a private key: the one line of its file.
    ///
    /// # Errors
    /// Its file cannot be read, or is open to others.
    pub fn key_password(&self, file: &FileRef) -> Result<Secret, Failure> {
        let path = self.path(file);
        let content = self.read(&path).map_err(|e| not_read(&path, &e))?;
        check_secret_file(&path.display().to_string(), content.access)?;
        let line = content.bytes.strip_suffix(b"\n").unwrap_or(&content.bytes);
        Ok(Secret::from(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    fn path(&self, file: &FileRef) -> PathBuf {
        let directory = match file.directory {
            Directory::Secrets => "secrets",
            Directory::Certs => "certs",
            Directory::Private => "private",
            // Beside ours: /etc/ppp.
            Directory::Ppp => return self.root.with_file_name("ppp").join(file.name.as_str()),
        };
        if let (Directory::Secrets | Directory::Private, Some(folder)) = (file.directory, &self.credentials) {
            let handed_over = folder.join(file.name.as_str());
            if handed_over.exists() {
                return handed_over;
            }
        }
        self.root.join(directory).join(file.name.as_str())
    }

    fn read(&self, path: &Path) -> std::io::Result<Content> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(std::io::Error::other("not a regular file of at most 1 MiB"));
        }
        // Room for everything at once, so that no half of a secret is left behind in memory by a growing buffer.
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1));
        file.take(LARGEST).read_to_end(&mut bytes)?;
        let adit_gid = if metadata.mode() & 0o070 == 0 { None } else { self.adit_gid() };
        let mut access = Access { mode: metadata.mode(), gid: metadata.gid(), adit_gid };
        if self.credentials.as_deref().is_some_and(|folder| path.parent() == Some(folder)) {
            // systemd lets the service in by an access list, whose mask stands where a group's rights would.
            access.mode &= !0o070;
        }
        Ok(Content { bytes, access })
    }

    fn adit_gid(&self) -> Option<u32> {
        *self.adit_gid.get_or_init(|| Group::from_name(GROUP).ok().flatten().map(|g| g.gid.as_raw()))
    }
}

enum Unread {
    Failure(Failure),
    Mistakes(ProfileErrors),
}

impl From<Failure> for Unread {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Unread {
    fn mistakes(self) -> Vec<Mistake> {
        match self {
            Self::Failure(f) => {
                vec![(f.code.to_string(), String::new(), f.text, f.hint.unwrap_or_default())]
            }
            Self::Mistakes(errors) => errors
                .all()
                .iter()
                .map(|e| (e.code.to_string(), e.place(), e.message.clone(), e.help.clone()))
                .collect(),
        }
    }
}

fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, Failure> {
    std::str::from_utf8(bytes).map_err(|e| {
        let text = format!("{}: byte {} is not UTF-8 text", path.display(), e.valid_up_to());
        Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text)
    })
}

fn not_read(path: &Path, error: &std::io::Error) -> Failure {
    let (code, hint) = match error.kind() {
        std::io::ErrorKind::NotFound => (
            FailureCode::ConfigurationInvalid,
            "the configuration names this file: put it there, or correct the name".to_owned(),
        ),
        std::io::ErrorKind::PermissionDenied => (
            FailureCode::ConfigurationInvalid,
            format!("the daemon runs as user adit:  chown root:adit {0} && chmod 0640 {0}", path.display()),
        ),
        _ => (FailureCode::ConfigurationInvalid, String::new()),
    };
    let failure = Failure::new(code, Step::Profile, format!("{}: {error}", path.display()));
    if hint.is_empty() { failure } else { failure.hint(hint) }
}

fn check_suite(kind: SuiteKind, text: &str) -> SuiteCheck {
    match kind {
        SuiteKind::Ike => crate::suites::check_ike(text),
        SuiteKind::Esp => crate::suites::check_esp(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path());
        let failure = files.profile("corp").unwrap_err();
        assert_eq!(failure.code, FailureCode::NotFound);
        assert!(failure.text.starts_with("there is no profile corp"), "{failure}");

        std::fs::create_dir_all(folder.path().join("profiles")).unwrap();
        let toml = "server = \"vpn\"\nauth = \"psk\"\nlocal-id = \"a@b\"\npsk-file = \"corp.psk\"\n";
        std::fs::write(folder.path().join("profiles/corp.toml"), toml).unwrap();
        let profile = files.profile("corp").unwrap();
        let failure = files.psk(profile.psk.as_ref().unwrap()).unwrap_err();
        assert_eq!(failure.code, FailureCode::ConfigurationInvalid);
        assert!(failure.hint.unwrap().contains("the configuration names this file"));
    }

    #[test]
    fn what_the_service_manager_hands_over_is_taken_from_there() {
        use std::os::unix::fs::PermissionsExt;

        let (folder, handed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(folder.path().join("profiles")).unwrap();
        let toml = "server = \"vpn\"\nauth = \"psk\"\nlocal-id = \"a@b\"\npsk-file = \"corp.psk\"\n";
        std::fs::write(folder.path().join("profiles/corp.toml"), toml).unwrap();
        let credential = handed.path().join("corp.psk");
        std::fs::write(&credential, "correct horse battery staple\n").unwrap();
        // As an access list's mask looks.
        std::fs::set_permissions(&credential, std::fs::Permissions::from_mode(0o440)).unwrap();
        let psk = |files: Files| files.psk(files.profile("corp").unwrap().psk.as_ref().unwrap());
        assert!(psk(Files::new(folder.path())).is_err());
        let with = || Files::new(folder.path()).with_credentials(Some(handed.path()));
        assert_eq!(psk(with()).unwrap().expose(), b"correct horse battery staple");
        // What anybody can read is exposed, wherever it is.
        std::fs::set_permissions(&credential, std::fs::Permissions::from_mode(0o444)).unwrap();
        assert_eq!(psk(with()).unwrap_err().code, FailureCode::SecretExposed);
    }

    #[test]
    fn proposals_of_old_peers_are_read_and_need_a_word() {
        let legacy = |kind, text| check_suite(kind, text).unwrap();
        assert!(legacy(SuiteKind::Ike, "aes256-sha256-modp2048").is_empty());
        assert_eq!(legacy(SuiteKind::Ike, "3des-sha1-modp1024"), ["3des", "modp1024"]);
        assert_eq!(legacy(SuiteKind::Esp, "3des-sha1"), ["3des"]);
        let why = check_suite(SuiteKind::Ike, "aes256-sha256-rot13").unwrap_err();
        assert!(why.contains("modp2048") && !why.contains("modp1024"), "{why}");
    }
}
