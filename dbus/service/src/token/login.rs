//! Who may use a token that is open. In PKCS#11 not a session is logged in but the whole process (PKCS#11 3.1 §5.6.8): once
//! one of our sessions is, the token asks the next one for nothing. So the PIN that opened it is kept, and asked for here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use adit_core::Secret;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use super::{Pin, Refused, absent, locked, not_working, wrong_pin};

/// Wrong PINs in a row that an open token's is compared with. The token counts those that it sees; it sees none of these.
const MOST_GUESSES: u32 = 3;

/// What one token was opened with. It stands for as long as a session of ours does.
#[derive(Default)]
pub(super) struct Login(Mutex<Held>);

#[derive(Default)]
struct Held {
    /// `None`: the token has asked for it itself.
    pin: Option<Secret>,
    guesses: u32,
}

impl Login {
    /// Logs a session in to the token of that serial number and label. One after the other, so that nobody comes between the
    /// token's word and what is kept of it.
    pub(super) fn enter(
        &self,
        session: &Session,
        token: (&str, &str),
        pin: &Pin,
        refused: &RefusedPins,
    ) -> Result<(), Refused> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = refused.has(token, pin);
        if known && matches!(pin, Pin::File(_)) {
            let why = "the token has refused the one in the file, and is not given it again";
            let hint = "correct the file that key-password-file names; if the token has that PIN by now, restart aditd";
            return Err(Refused::Other(wrong_pin(token.1, pin, why).hint(hint)));
        }
        let entered = held.enter(session, token.1, pin);
        match (&entered, pin) {
            (Err(Refused::Pin(_)), Pin::File(pin)) => refused.keep(token, pin),
            // The token has been given that PIN since.
            (Ok(()), _) if known => refused.forget(token),
            _ => {}
        }
        entered
    }
}

impl Held {
    fn enter(&mut self, session: &Session, label: &str, pin: &Pin) -> Result<(), Refused> {
        let given = pin.secret();
        let text = given.map(|pin| core::str::from_utf8(pin.expose())).transpose();
        let text = text.map_err(|_| Refused::Pin(wrong_pin(label, pin, "it is not UTF-8 text")))?;
        match session.login(UserType::User, text.map(|text| AuthPin::from(text.to_owned())).as_ref()) {
            Ok(()) => {
                *self = Self { pin: given.map(Secret::duplicate), guesses: 0 };
                Ok(())
            }
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => self.compare(label, pin),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                Err(Refused::Pin(wrong_pin(label, pin, "the token says so")))
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(Refused::Other(locked(label))),
            Err(e) => Err(Refused::Other(not_working(label, &e))),
        }
    }

    /// Whether it is the PIN that the token was opened with. Whoever gives none wants the token to ask, and it has asked.
    fn compare(&mut self, label: &str, pin: &Pin) -> Result<(), Refused> {
        let Some(given) = pin.secret() else { return Ok(()) };
        if self.guesses >= MOST_GUESSES {
            let text =
                format!("the token {label} is open, and {MOST_GUESSES} wrong PINs were tried meanwhile");
            let hint = "ctl down the connections that use it, and it asks for its PIN itself again";
            return Err(Refused::Other(absent(text).hint(hint)));
        }
        if self.pin.as_ref().is_some_and(|kept| kept.equals(given.expose())) {
            self.guesses = 0;
            return Ok(());
        }
        self.guesses = self.guesses.saturating_add(1);
        Err(Refused::Pin(wrong_pin(label, pin, "it is open with another one")))
    }
}

/// PINs of files that tokens have refused. A token locks itself after a few wrong ones, and a connection that comes back by
/// itself would try the same one again and again.
#[derive(Default)]
pub(super) struct RefusedPins(Mutex<BTreeMap<(String, String), Secret>>);

impl RefusedPins {
    fn has(&self, token: (&str, &str), pin: &Pin) -> bool {
        let all = self.all();
        let refused = all.get(&named(token));
        refused.zip(pin.secret()).is_some_and(|(refused, pin)| refused.equals(pin.expose()))
    }

    fn keep(&self, token: (&str, &str), pin: &Secret) {
        self.all().insert(named(token), pin.duplicate());
    }

    fn forget(&self, token: (&str, &str)) {
        self.all().remove(&named(token));
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<(String, String), Secret>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn named((serial, label): (&str, &str)) -> (String, String) {
    (serial.to_owned(), label.to_owned())
}
