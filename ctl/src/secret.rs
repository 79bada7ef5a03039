//! A secret that a connection waits for: from a descriptor, or typed at the terminal without being shown.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::WantedParts;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

/// The longest secret, in bytes.
const LONGEST: usize = 1024;

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
    let tty = File::options().read(true).write(true).open("/dev/tty").map_err(|_| {
        refused(
            wanted,
            "there is no terminal to ask at: use  --password-fd N, or  password-file  in the profile",
        )
    })?;
    let quiet = Quiet::new(&tty).map_err(|e| {
        refused(wanted, &format!("the terminal cannot be kept from showing what is typed: {e}"))
    })?;
    if !reason.is_empty() {
        say(&tty, &format!("{}\n", shown(reason)));
    }
    loop {
        let first = ask(&tty, &shown(prompt)).await;
        let Some(first) = first.filter(|text| !text.is_empty()) else {
            return Err(refused(wanted, "nothing was typed"));
        };
        if field != "new-password" {
            drop(quiet);
            return Ok(first);
        }
        match ask(&tty, "The same again").await {
            Some(second) if *second == *first => {
                drop(quiet);
                return Ok(first);
            }
            _ => say(&tty, "They differ.\n"),
        }
    }
}

async fn ask(tty: &File, prompt: &str) -> Option<Text> {
    say(tty, &format!("{prompt}: "));
    let mut copy = tty.try_clone().ok()?;
    let text = apart(move || line(&mut copy)).await;
    say(tty, "\n");
    text
}

fn say(mut tty: &File, text: &str) {
    let _ = tty.write_all(text.as_bytes());
}

fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Runs what may wait for ever on a thread that nobody waits for.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.await.ok().flatten()
}

/// One line, byte by byte: what follows belongs to the next question, or to somebody else.
fn line(from: &mut impl Read) -> Option<Text> {
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
struct Quiet {
    tty: File,
    before: Termios,
}

impl Quiet {
    fn new(tty: &File) -> std::io::Result<Self> {
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
        true => format!("it needs a secret: {}", shown(prompt)),
        false => format!("it needs a secret: {}: {}", shown(reason), shown(prompt)),
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
