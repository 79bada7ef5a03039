/// Colours, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Palette {
    pub(crate) colour: bool,
}

impl Palette {
    pub(crate) fn bold(self, text: impl AsRef<str>) -> String {
        self.paint("1", text.as_ref())
    }

    pub(crate) fn dim(self, text: impl AsRef<str>) -> String {
        self.paint("2", text.as_ref())
    }

    pub(crate) fn red(self, text: impl AsRef<str>) -> String {
        self.paint("31", text.as_ref())
    }

    pub(crate) fn green(self, text: impl AsRef<str>) -> String {
        self.paint("32", text.as_ref())
    }

    pub(crate) fn yellow(self, text: impl AsRef<str>) -> String {
        self.paint("33", text.as_ref())
    }

    /// A connection's state in its colour.
    pub(crate) fn state(self, state: &str, text: impl AsRef<str>) -> String {
        match state {
            "connected" => self.green(text),
            "connecting" | "waiting" | "dormant" | "standby" | "disconnecting" => self.yellow(text),
            "failed" | "invalid" => self.red(text),
            _ => text.as_ref().to_owned(),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
