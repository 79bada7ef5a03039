//! EAP-MD5 (RFC 3748 §5.4) and EAP-GTC (§5.6): methods without keys, and without proof of the server. They are for the
//! inside of TTLS and PEAP.

use adit_core::{Entropy, Failure, FailureCode, Secret, Step};
use md5::{Digest, Md5};

use super::authenticator::{AuthenticatorAsk, MethodStep as Ask, UserSecret};
use super::packet::Method;
use super::peer::{MethodStep, PeerAsk};

/// The longest text of a server that is shown, in characters.
const LONGEST_TEXT: usize = 512;

/// RFC 1994 §4.1: the identifier, the secret, the challenge.
fn md5_response(identifier: u8, password: &Secret, challenge: &[u8]) -> [u8; 16] {
    let mut hash = Md5::new();
    hash.update([identifier]);
    hash.update(password.expose());
    hash.update(challenge);
    hash.finalize().into()
}

/// Value-Size, Value, and a name (RFC 1994 §4.1).
fn value(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = data.split_first()?;
    rest.split_at_checked(usize::from(*size)).filter(|(value, _)| !value.is_empty())
}

fn write_value(value: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(value.len()).unwrap_or(u8::MAX)];
    out.extend_from_slice(value);
    out.extend_from_slice(name);
    out
}

fn failure(method: Method, text: &str) -> Failure {
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, format!("{method}: {text}"))
}

/// The peer's side.
pub(super) struct SimplePeer {
    method: Method,
    user: String,
    /// The identifier and challenge that wait for a person.
    asked: Option<(u8, Vec<u8>)>,
    answered: bool,
}

impl SimplePeer {
    pub(super) const fn new(method: Method, user: String) -> Self {
        Self { method, user, asked: None, answered: false }
    }

    /// A Request of this Type.
    pub(super) fn request(&mut self, identifier: u8, data: &[u8]) -> MethodStep {
        match self.method {
            Method::MD5 => {
                let Some((challenge, _name)) = value(data) else { return MethodStep::Ignore };
                self.asked = Some((identifier, challenge.to_vec()));
                MethodStep::Ask(PeerAsk::Password { again: None })
            }
            _ => {
                self.asked = Some((identifier, Vec::new()));
                let text = String::from_utf8_lossy(data);
                let message = text.chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect();
                MethodStep::Ask(PeerAsk::Token { message })
            }
        }
    }

    /// The person has answered.
    pub(super) fn answer(&mut self, secret: &Secret) -> MethodStep {
        let Some((identifier, challenge)) = self.asked.take() else { return MethodStep::Ignore };
        self.answered = true;
        MethodStep::Respond(match self.method {
            Method::MD5 => write_value(&md5_response(identifier, secret, &challenge), self.user.as_bytes()),
            _ => secret.expose().to_vec(),
        })
    }

    /// Whether success may come: the server proves nothing in these methods, but we must have been asked.
    pub(super) const fn answered(&self) -> bool {
        self.answered
    }

    /// EAP-Failure came.
    pub(super) fn refused(&self) -> Failure {
        failure(self.method, "the server refused: the name, or what was typed, is wrong").said("EAP-Failure")
    }
}

/// The authenticator's side.
pub(super) struct SimpleAuthenticator {
    method: Method,
    user: String,
    identifier: u8,
    challenge: Vec<u8>,
    response: Option<Secret>,
}

impl SimpleAuthenticator {
    /// Begins: the first Request's data. `identifier`: that Request's; `identity`: what the peer has called itself.
    pub(super) fn begin(
        entropy: &mut dyn Entropy,
        method: Method,
        identifier: u8,
        identity: &[u8],
        name: &str,
    ) -> (Self, Vec<u8>) {
        let mut challenge = vec![0; 16];
        entropy.public(&mut challenge);
        let data = match method {
            Method::MD5 => write_value(&challenge, name.as_bytes()),
            _ => b"Password: ".to_vec(),
        };
        let user = String::from_utf8_lossy(identity).into_owned();
        (Self { method, user, identifier, challenge, response: None }, data)
    }

    /// A Response of this Type.
    pub(super) fn response(&mut self, data: &[u8]) -> Ask {
        if self.response.is_some() {
            return Ask::Ignore;
        }
        self.response = Some(match self.method {
            Method::MD5 => match value(data) {
                Some((value, _name)) => Secret::from(value),
                None => return Ask::Ignore,
            },
            _ => Secret::from(data),
        });
        Ask::Ask(AuthenticatorAsk::User { identity: self.user.clone() })
    }

    /// What is known of the user.
    pub(super) fn user(
        &mut self,
        entropy: &mut dyn Entropy,
        known: Result<Option<UserSecret>, Failure>,
    ) -> Ask {
        let Some(response) = &self.response else { return Ask::Ignore };
        let mut known = match known {
            Ok(known) => known,
            Err(why) => return Ask::Fail(why),
        };
        let clear = known.as_mut().and_then(|user| user.clear.take());
        let (hash, expired, exists) = UserSecret::or_nobody(known, entropy);
        let user = &self.user;
        let right = match (self.method, clear) {
            (Method::MD5, None) if exists => {
                let text = format!("the password of {user} is kept as a hash, which this method can't use");
                return Ask::Fail(failure(self.method, &text));
            }
            (Method::MD5, clear) => {
                let password = clear.unwrap_or_else(|| Secret::from(&hash.expose()[..]));
                let expected = md5_response(self.identifier, &password, &self.challenge);
                Secret::from(&expected[..]).equals(response.expose())
            }
            _ => hash.is_of(response),
        };
        match (right, exists, expired) {
            (true, true, false) => Ask::Succeed { msk: None, identity: self.user.clone() },
            (true, true, true) => {
                Ask::Fail(failure(self.method, &format!("the password of {user} has expired")))
            }
            (_, false, _) => Ask::Fail(failure(self.method, &format!("{user}: a name that is not known"))),
            (false, true, _) => Ask::Fail(failure(self.method, &format!("{user}: a wrong password"))),
        }
    }
}
