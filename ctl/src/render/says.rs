//! Lines that stand alone: what a command has done, what the agent tells of itself, and how a person is asked.

use std::path::Path;

use super::{Palette, clean};

/// What has become of a connection, or of a profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Became<'p> {
    Up,
    GoingDown,
    Down,
    TakenDown,
    Rekeying,
    Rekeyed,
    Unchanged,
    /// Its password is in that file.
    Known(&'p Path),
}

impl Became<'_> {
    /// In one word, for scripts.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Up => "connected",
            Self::GoingDown => "disconnecting",
            Self::Down | Self::TakenDown => "disconnected",
            Self::Rekeying => "rekeying",
            Self::Rekeyed => "rekeyed",
            Self::Unchanged => "unchanged",
            Self::Known(_) => "password-kept",
        }
    }
}

pub(crate) fn became(name: &str, what: Became<'_>, palette: Palette) -> String {
    let name = palette.bold(clean(name));
    match what {
        Became::Up => format!("{name} is up"),
        Became::GoingDown => format!("{name} is on its way down"),
        Became::Down => format!("{name} is down"),
        Became::TakenDown => format!("{name} was taken down"),
        Became::Rekeying => format!("{name} asks for new keys"),
        Became::Rekeyed => format!("{name} has new keys"),
        Became::Unchanged => format!("{name} is as it was"),
        Became::Known(file) => format!("{name} has its password in {}", file.display()),
    }
}

pub(crate) fn going_up(name: &str) -> String {
    format!("{name} is on its way up; see ctl status {name}")
}

/// A step that is over, on a terminal.
pub(crate) fn step_over(well: bool, step: &str, palette: Palette) -> String {
    let mark = if well { palette.green("✓") } else { palette.red("✗") };
    format!("{mark} {step}")
}

pub(crate) const CTRL_C_TAKES_IT_DOWN: &str = "Ctrl-C takes it down";
pub(crate) const CTRL_C_ENDS_THIS: &str = "Ctrl-C ends this";

pub(crate) fn interrupted(name: &str) -> String {
    format!("interrupted: taking {name} down")
}

pub(crate) fn added(name: &str, file: &Path, palette: Palette) -> String {
    format!("\nwrote {}; raise it: ctl up {}", file.display(), palette.bold(name))
}

pub(crate) fn deleted(file: &Path) -> String {
    format!("deleted {}", file.display())
}

/// `kept`: where it is as it was before.
pub(crate) fn edited(name: &str, kept: &Path, palette: Palette) -> String {
    format!("{} is saved; as it was before: {}", palette.bold(name), kept.display())
}

pub(crate) fn as_it_was(file: &Path) -> String {
    format!("{} is as it was", file.display())
}

/// A question at the end of a line.
pub(crate) const EDIT_AGAIN: &str = "edit it again? [Y/n] ";

pub(crate) fn good(file: &str, palette: Palette) -> String {
    format!("{}  {}", palette.green("ok"), clean(file))
}

/// Before a profile that is shown and not written.
pub(crate) fn would_be(file: &Path) -> String {
    format!("# {}", file.display())
}

/// After it, what would be written besides.
pub(crate) fn beside(file: &Path) -> String {
    format!("# beside it: {}", file.display())
}

pub(crate) fn nothing_happened(name: &str) -> String {
    format!("nothing has happened to {name} since aditd started")
}

pub(crate) const NOTHING_CONNECTED: &str = "nothing is connected; ctl list shows the profiles";
pub(crate) const NO_PROFILES: &str = "there are no profiles yet: write one to /etc/adit/profiles/NAME.toml";
pub(crate) const RELOADED: &str = "the configuration was read again";

pub(crate) fn no_runtime(why: &str) -> String {
    format!("ctl: no runtime: {why}")
}

/// Of `ctl agent`.
pub(crate) const fn ready(keyring: bool) -> &'static str {
    match keyring {
        true => "ready; there is a keyring",
        false => "ready; there is no keyring: nothing is kept",
    }
}

pub(crate) fn not_answered(name: &str, why: &str) -> String {
    format!("{}: not answered: {}", clean(name), clean(why))
}

pub(crate) fn not_taken(name: &str, why: &str) -> String {
    format!("{}: {}", clean(name), clean(why))
}

pub(crate) fn kept(name: &str, field: &str) -> String {
    format!("{}: kept its {}", clean(name), clean(field))
}

pub(crate) fn not_kept(name: &str, why: &str) -> String {
    format!("{}: the keyring: {}", clean(name), clean(why))
}

/// A notification's title, too.
pub(crate) fn has_failed(name: &str) -> String {
    format!("{} has failed", clean(name))
}

/// Titles a notification of a question.
pub(crate) const SECRET_NEEDED: &str = "A secret is needed";

/// What is asked for, in one line: whose it is, why, what. Parts that are empty are left out.
pub(crate) fn question(parts: [&str; 3]) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    one_line(&parts.join(": "))
}

/// A new password, for the second time.
pub(crate) fn question_again(question: &str) -> String {
    format!("{question} (the same again)")
}

/// The same where it is asked for in the line below.
pub(crate) const THE_SAME_AGAIN: &str = "The same again";
pub(crate) const THEY_DIFFER: &str = "They differ.";

/// Where an answer is typed.
pub(crate) fn prompt(question: &str) -> String {
    format!("{}: ", one_line(question))
}

/// Text from elsewhere, in one line, without what would drive a terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
