use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::args::When;
use crate::ended::Ended;
use crate::exit::Status;
use crate::json::{self, FailureJson};
use crate::render::says::{self, Became};
use crate::render::{self, Palette};

/// Where text goes, and how it may look there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) live: bool,
    pub(crate) out: Palette,
    pub(crate) err: Palette,
    pub(crate) width: usize,
}

impl Output {
    pub(crate) fn new(json: bool, when: When) -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
        let plain = set("NO_COLOR").is_some() || set("TERM").is_some_and(|t| t == "dumb");
        let colour = |terminal: bool| match when {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && !plain,
        };
        let width = terminal_width().unwrap_or(80).clamp(40, 120);
        Self {
            json,
            live: out && !json && set("TERM").is_none_or(|t| t != "dumb"),
            out: Palette { colour: colour(out) },
            err: Palette { colour: colour(err) },
            width,
        }
    }

    /// Text to standard output. Whoever closed it wants no more: the command ends.
    pub(crate) fn say(&self, text: &str) -> Result<(), Ended> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|_| Ended::Said(Status::UNKNOWN))
    }

    /// A line to standard output.
    pub(crate) fn line(&self, text: &str) -> Result<(), Ended> {
        self.say(&format!("{text}\n"))
    }

    /// What has become of a connection.
    pub(crate) fn became(&self, name: &str, what: Became<'_>) -> Result<(), Ended> {
        if self.json {
            let became = serde_json::json!({ "name": name, "state": what.word() });
            return self.line(&json::document("connection", &became));
        }
        self.line(&says::became(name, what, self.out))
    }

    /// Text to standard error; if that is closed, to nobody.
    pub(crate) fn complain(&self, text: &str) {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    /// A line to standard error.
    pub(crate) fn remark(&self, text: &str) {
        self.complain(&format!("{text}\n"));
    }

    /// Says why the command ended, and with what status.
    pub(crate) fn end(&self, ended: &Ended) -> Status {
        match ended {
            Ended::Said(status) => *status,
            Ended::Failure { about, failure, status } => {
                self.complain(&render::failure(about, failure, *status, self.err, self.width));
                if self.json {
                    let _ = self.line(&json::document("failure", &FailureJson::new(about, failure, *status)));
                }
                *status
            }
        }
    }
}

/// Seconds since 1970-01-01 UTC.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn terminal_width() -> Option<usize> {
    terminal_size::terminal_size().map(|(columns, _)| usize::from(columns.0))
}
