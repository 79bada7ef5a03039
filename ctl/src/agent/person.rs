//! The person: asked at the terminal where the agent has one, else by systemd's password agents of their session; told by
//! desktop notifications.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use adit_dbus_api::WantedParts;
use tokio::sync::{Mutex, mpsc};
use zbus::{Connection, Variant, proxy};
use zeroize::Zeroizing;

use crate::render::says::{self, one_line};
use crate::secret::{Quiet, Whose, by_password_agents, confirmed, line, say};

#[proxy(
    interface = "org.freedesktop.Notifications",
    default_service = "org.freedesktop.Notifications",
    default_path = "/org/freedesktop/Notifications"
)]
trait Notifications {
    #[expect(clippy::too_many_arguments, reason = "the specification's")]
    fn notify(
        &self,
        app_name: &str,
        replaces_id: u32,
        app_icon: &str,
        summary: &str,
        body: &str,
        actions: &[&str],
        hints: HashMap<&str, Variant<'_>>,
        expire_timeout: i32,
    ) -> zbus::Result<u32>;
}

/// What was typed, or why nothing was.
pub(super) type Answer = Result<Zeroizing<Vec<u8>>, String>;

/// How to reach them.
#[derive(Clone)]
pub(super) struct Person {
    terminal: Option<Arc<Terminal>>,
    session: Option<Connection>,
}

/// A terminal whose lines are read by one thread for as long as there are any: what is typed while nothing is asked is nothing.
struct Terminal {
    tty: File,
    lines: Mutex<mpsc::UnboundedReceiver<Zeroizing<Vec<u8>>>>,
}

impl Person {
    /// Whoever is at the terminal, or in the session on that bus.
    pub(super) fn new(session: Option<Connection>) -> Self {
        Self { terminal: Terminal::open().map(Arc::new), session }
    }

    /// Asks them. Dropped, the question is taken back.
    pub(super) async fn ask(&self, name: &str, wanted: &WantedParts) -> Answer {
        confirmed(wanted, name, async |asked: &str| self.once(asked).await).await
    }

    async fn once(&self, asked: &str) -> Answer {
        match &self.terminal {
            Some(terminal) => terminal.ask(asked).await,
            None => {
                self.tell(says::SECRET_NEEDED, asked).await;
                by_password_agents(asked, Whose::Session).await
            }
        }
    }

    /// Shows a notification, where the desktop does that.
    pub(super) async fn tell(&self, summary: &str, body: &str) {
        let Some(session) = &self.session else { return };
        let shown = async {
            let hints = HashMap::from([("desktop-entry", Variant::from("adit"))]);
            let desktop = NotificationsProxy::new(session).await?;
            desktop.notify("Adit", 0, "network-vpn", summary, &escaped(body), &[], hints, -1).await
        };
        // Whoever has no desktop has the agent's log.
        let _ = shown.await;
    }
}

/// Bodies of notifications are a little of HTML, and parts of them are a server's words.
fn escaped(text: &str) -> String {
    one_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Terminal {
    fn open() -> Option<Self> {
        let tty = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let mut from = tty.try_clone().ok()?;
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            while let Some(text) = line(&mut from) {
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
        Some(Self { tty, lines: Mutex::new(lines) })
    }

    async fn ask(&self, asked: &str) -> Answer {
        let mut lines = self.lines.lock().await;
        while lines.try_recv().is_ok() {}
        let quiet = Quiet::new(&self.tty)
            .map_err(|e| format!("the terminal cannot be kept from showing what is typed: {e}"))?;
        say(&self.tty, &says::prompt(asked));
        let text = lines.recv().await;
        say(&self.tty, "\n");
        drop(quiet);
        text.filter(|text| !text.is_empty()).ok_or_else(|| "nothing was typed".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_no_markup() {
        assert_eq!(escaped("<a href=\"x\">\u{7} & co"), "&lt;a href=\"x\"&gt;\u{fffd} &amp; co");
    }
}
