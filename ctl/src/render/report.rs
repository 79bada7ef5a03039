//! What frames a bug report: its parts are what other commands and programs print.

/// What stands at the top.
pub(crate) struct Head<'h> {
    /// When, as people read it.
    pub(crate) at: &'h str,
    /// Whether names and addresses stand as they are.
    pub(crate) with_names: bool,
    pub(crate) ctl: &'h str,
    pub(crate) aditd: &'h str,
    pub(crate) system: &'h str,
    pub(crate) kernel: &'h str,
}

impl Head<'_> {
    pub(crate) fn text(&self) -> String {
        let names = match self.with_names {
            true => "Secrets are left out. Names and addresses stand as they are.",
            false => "Secrets are left out. Names and addresses stand as tokens, the same one for the same.",
        };
        let Self { at, ctl, aditd, system, kernel, .. } = self;
        format!(
            "Adit's bug report of {at}\n{names}\n\nctl     {ctl}\naditd   {aditd}\nsystem  {system}\nkernel  {kernel}\n"
        )
    }
}

/// A part of it.
pub(crate) fn section(title: &str, text: &str) -> String {
    let text = text.trim_end();
    let text = if text.is_empty() { "(nothing)" } else { text };
    format!("\n== {title}\n{text}\n")
}

/// The daemon's version where there is no daemon.
pub(crate) fn not_reached(why: &str) -> String {
    format!("not reached: {why}")
}

/// What is to be said of a program that is not there, or of a file that can't be read.
pub(crate) fn nothing_of(error: &std::io::Error) -> String {
    format!("({error})")
}

/// A program took longer than this many seconds.
pub(crate) fn no_more_in(seconds: u64) -> String {
    format!("(nothing more in {seconds} s)")
}

/// Lines that are left out.
pub(crate) fn more_lines(count: usize) -> String {
    format!("({count} lines more)")
}
