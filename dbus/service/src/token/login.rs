//! Who may use a token that is open. In PKCS#11 not a session is logged in but the whole process (PKCS#11 3.1 §5.6.8): once
//! one of our sessions is, the token asks the next one for nothing. So the PIN that opened it is kept, and asked for here.

use std::sync::{Mutex, PoisonError};

use adit_core::Secret;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;

use super::{Pin, Refused, absent, trouble, wrong_pin};

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
    /// Logs a session in. One after the other, so that nobody comes between the token's word and what is kept of it.
    pub(super) fn enter(&self, session: &Session, label: &str, pin: &Pin) -> Result<(), Refused> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let given = pin.secret();
        let text = given.map(|pin| core::str::from_utf8(pin.expose())).transpose();
        let text = text.map_err(|_| Refused::Pin(wrong_pin(label, "it is not UTF-8 text")))?;
        match session.login(UserType::User, text.map(|text| AuthPin::from(text.to_owned())).as_ref()) {
            Ok(()) => {
                *held = Held { pin: given.map(Secret::duplicate), guesses: 0 };
                Ok(())
            }
            Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => held.compare(label, given),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                Err(Refused::Pin(wrong_pin(label, "the token says so")))
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(Refused::Other(super::locked(label))),
            Err(e) => Err(Refused::Other(trouble("logging in", &e))),
        }
    }
}

impl Held {
    /// Whether it is the PIN that the token was opened with. Whoever gives none wants the token to ask, and it has asked.
    fn compare(&mut self, label: &str, given: Option<&Secret>) -> Result<(), Refused> {
        let Some(given) = given else { return Ok(()) };
        if self.guesses >= MOST_GUESSES {
            let text =
                format!("the token {label} is open, and {MOST_GUESSES} wrong PINs were tried meanwhile");
            let hint = "ctl down the connections that use it, and it asks for its PIN itself again";
            return Err(Refused::Other(absent(text).hint(hint)));
        }
        if self.pin.as_ref().is_some_and(|pin| pin.equals(given.expose())) {
            self.guesses = 0;
            return Ok(());
        }
        self.guesses = self.guesses.saturating_add(1);
        Err(Refused::Pin(wrong_pin(label, "it is open with another one")))
    }
}
