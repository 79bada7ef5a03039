//! A secret that a connection waits for: from a descriptor, typed at the terminal without being shown, or, where root has none,
//! by systemd's password agents.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::WantedParts;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::desktop::has_agent;
use crate::render::says::{self, one_line};

/// The longest secret, in bytes.
pub(crate) const LONGEST: usize = 1024;

/// Where secrets come from.
pub(crate) enum Secrets {
    /// Lines of a descriptor, one for each question.
    Lines(Arc<Mutex<File>>),
    /// A person.
    Terminal,
}

type Text = Zeroizing<Vec<u8>>;

impl Secrets {
    /// `--password-fd`, else the terminal.
    pub(crate) fn new(descriptor: Option<u32>) -> Result<Self, Failure> {
        let Some(number) = descriptor else { return Ok(Self::Terminal) };
        // By its name, so that nobody else's descriptor is closed by mistake.
        let file = File::open(format!("/proc/self/fd/{number}")).map_err(|e| {
            let text = format!("descriptor {number} cannot be read: {e}");
            Failure::new(FailureCode::ConfigurationInvalid, Step::Authenticate, text)
                .hint(format!("ctl up NAME --password-fd {number} {number}< FILE"))
        })?;
        Ok(Self::Lines(Arc::new(Mutex::new(file))))
    }

    /// Whether a person is asked, so that nothing else may write to the terminal.
    pub(crate) const fn at_terminal(&self) -> bool {
        matches!(self, Self::Terminal)
    }

    /// The secret that is wanted.
    ///
    /// # Errors
    /// There is nobody to ask, or nothing more to read.
    pub(crate) async fn get(&self, wanted: &WantedParts) -> Result<Text, Failure> {
        match self {
            Self::Lines(file) => {
                let file = Arc::clone(file);
                let read = move || line(&mut &*file.lock().unwrap_or_else(PoisonError::into_inner));
                let text = apart(read).await.filter(|text| !text.is_empty());
                text.ok_or_else(|| refused(wanted, "--password-fd  has no more lines"))
            }
            Self::Terminal => typed(wanted).await,
        }
    }
}

async fn typed((field, prompt, reason): &WantedParts) -> Result<Text, Failure> {
    let wanted = &(field.clone(), prompt.clone(), reason.clone());
    let Ok(tty) = File::options().read(true).write(true).open("/dev/tty") else {
        return by_agents(wanted).await;
    };
    let quiet = Quiet::new(&tty).map_err(|e| {
        refused(wanted, &format!("the terminal cannot be kept from showing what is typed: {e}"))
    })?;
    if !reason.is_empty() {
        say(&tty, &format!("{}\n", one_line(reason)));
    }
    loop {
        let first = ask(&tty, prompt).await;
        let Some(first) = first.filter(|text| !text.is_empty()) else {
            return Err(refused(wanted, "nothing was typed"));
        };
        if field != "new-password" {
            drop(quiet);
            return Ok(first);
        }
        match ask(&tty, says::THE_SAME_AGAIN).await {
            Some(second) if *second == *first => {
                drop(quiet);
                return Ok(first);
            }
            _ => say(&tty, &format!("{}\n", says::THEY_DIFFER)),
        }
    }
}

/// A unit's command has no terminal: whoever starts the unit at one is asked there, and at boot the boot screen asks. A command of
/// a session's (a menu, a shortcut) leaves it to the person's agent, if there is one.
async fn by_agents(wanted: &WantedParts) -> Result<Text, Failure> {
    if has_agent().await {
        // Told to the daemon by the agent, the question goes.
        return std::future::pending().await;
    }
    let no_way = "there is no terminal to ask at: use  --password-fd N, or  password-file  in the profile";
    if !nix::unistd::geteuid().is_root() || !Path::new("/run/systemd/ask-password").exists() {
        return Err(refused(wanted, no_way));
    }
    let answer = confirmed(wanted, "", async |asked: &str| by_password_agents(asked, Whose::System).await);
    answer.await.map_err(|why| refused(wanted, &why))
}

/// Asks by `once`, in one line: `lead`, why it is asked, what for. A new password is asked for twice.
///
/// # Errors
/// Those of `once`; or the two differ.
pub(crate) async fn confirmed(
    (field, prompt, reason): &WantedParts,
    lead: &str,
    once: impl AsyncFn(&str) -> Result<Text, String>,
) -> Result<Text, String> {
    let asked = says::question([lead, reason, prompt]);
    let first = once(&asked).await?;
    if field != "new-password" || *once(&says::question_again(&asked)).await? == *first {
        return Ok(first);
    }
    Err("the two differ".to_owned())
}

/// Whose password agents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whose {
    /// The host's, for root.
    System,
    /// Those of a person's session.
    Session,
}

/// systemd's own program puts the question where its agents find it, and takes it away again when it is told to end.
struct Asking(Child);

impl Drop for Asking {
    fn drop(&mut self) {
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
}

/// Asks by systemd's password agents. Dropped, the question is taken back.
///
/// # Errors
/// Nobody answered, or systemd is not there: why.
pub(crate) async fn by_password_agents(asked: &str, whose: Whose) -> Result<Text, String> {
    let why = |e: std::io::Error| format!("systemd-ask-password: {e}");
    let mut command = Command::new("systemd-ask-password");
    if whose == Whose::Session {
        command.arg("--user");
    }
    command.args(["--no-tty", "--timeout=0", "--icon=network-vpn", "-n", "--", asked]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(why)?;
    let mut asking = Asking(child);
    // Room for all of it at once: no half of it is left behind by a buffer that grows.
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    if let Some(out) = asking.0.stdout.take() {
        out.take(LONGEST as u64).read_to_end(&mut text).await.map_err(why)?;
    }
    let ended = asking.0.wait().await.map_err(why)?;
    match ended.success() && !text.is_empty() {
        true => Ok(text),
        false => Err(format!("systemd-ask-password brought no answer ({ended})")),
    }
}

async fn ask(tty: &File, prompt: &str) -> Option<Text> {
    say(tty, &says::prompt(prompt));
    let mut copy = tty.try_clone().ok()?;
    let text = apart(move || line(&mut copy)).await;
    say(tty, "\n");
    text
}

pub(crate) fn say(mut tty: &File, text: &str) {
    let _ = tty.write_all(text.as_bytes());
}

/// Runs what may wait for ever on a thread that nobody waits for.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.await.ok().flatten()
}

/// One line, byte by byte: what follows belongs to the next question, or to somebody else.
pub(crate) fn line(from: &mut impl Read) -> Option<Text> {
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut byte = Zeroizing::new([0]);
    while text.len() < LONGEST {
        match from.read(&mut *byte) {
            Ok(0) => break,
            Ok(_) if *byte == *b"\n" => return Some(text),
            Ok(_) => text.extend_from_slice(&*byte),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    (!text.is_empty()).then_some(text)
}

/// The terminal shows nothing that is typed, until this is dropped.
pub(crate) struct Quiet {
    tty: File,
    before: Termios,
}

impl Quiet {
    pub(crate) fn new(tty: &File) -> std::io::Result<Self> {
        let tty = tty.try_clone()?;
        let before = tcgetattr(&tty)?;
        let mut now = before.clone();
        now.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&tty, SetArg::TCSAFLUSH, &now)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.tty, SetArg::TCSAFLUSH, &self.before);
    }
}

fn refused((_, prompt, reason): &WantedParts, why: &str) -> Failure {
    let text = match reason.is_empty() {
        true => format!("it needs a secret: {}", one_line(prompt)),
        false => format!("it needs a secret: {}: {}", one_line(reason), one_line(prompt)),
    };
    let code = if reason.is_empty() { FailureCode::NoSecret } else { FailureCode::AuthenticationFailed };
    Failure::new(code, Step::Authenticate, text).hint(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_no_more() {
        let mut from = &b"one\n\ntwo"[..];
        let read = |from: &mut &[u8]| line(from).map(|text| String::from_utf8(text.to_vec()).unwrap());
        assert_eq!(read(&mut from).as_deref(), Some("one"));
        assert_eq!(read(&mut from).as_deref(), Some(""));
        assert_eq!(read(&mut from).as_deref(), Some("two"));
        assert_eq!(read(&mut from), None);
        let long = vec![b'x'; 5000];
        assert_eq!(line(&mut &long[..]).map(|text| text.len()), Some(LONGEST));
    }
}
