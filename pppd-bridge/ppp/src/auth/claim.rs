use core::fmt;

use adit_auth::mschap::{
    self, Challenge, Exchange, MasterKeys, NtHash, PasswordChange, Refusal, authenticator_response,
};
use adit_core::Secret;
use md5::{Digest, Md5};

use crate::config::AuthMethod;

/// What a peer has said to prove who it is. [`Claim::verify`] judges it by what is known of the user; a RADIUS server may
/// do so instead.
pub struct Claim {
    /// The name that it gives.
    pub name: String,
    /// The proof.
    pub proof: Proof,
    /// Whether it may try again where this is wrong.
    pub retry: bool,
}

/// A proof.
pub enum Proof {
    /// PAP: the password itself.
    Pap(Secret),
    /// CHAP with MD5.
    ChapMd5 {
        /// Of our Challenge.
        identifier: u8,
        /// Our challenge.
        challenge: Vec<u8>,
        /// The digest.
        response: Vec<u8>,
    },
    /// MS-CHAPv1.
    MsChapV1 {
        /// Our challenge.
        challenge: [u8; 8],
        /// The peer's proof.
        nt_response: [u8; 24],
    },
    /// MS-CHAPv2.
    MsChapV2 {
        /// Our challenge.
        challenge: Challenge,
        /// The peer's.
        peer: Challenge,
        /// The peer's proof.
        nt_response: [u8; 24],
    },
    /// MS-CHAPv2: a new password, since the old one has expired.
    Change {
        /// Our challenge.
        challenge: Challenge,
        /// The peer's.
        peer: Challenge,
        /// The proof of the new password.
        nt_response: [u8; 24],
        /// The new password, encrypted with the old one.
        change: PasswordChange,
    },
}

/// What is known of a user.
pub struct KnownUser {
    /// The password, where it is kept as it is. CHAP with MD5 can't do without.
    pub password: Option<Secret>,
    /// Its hash.
    pub hash: NtHash,
    /// Whether it must be changed now.
    pub expired: bool,
}

impl KnownUser {
    /// A user with this password. `None`: it is no text.
    #[must_use]
    pub fn with_password(password: Secret) -> Option<Self> {
        let hash = NtHash::of(&password)?;
        Some(Self { password: Some(password), hash, expired: false })
    }
}

/// What is to be said to a peer.
pub enum Verdict {
    /// It is who it says it is.
    Accepted {
        /// Who that is.
        identity: String,
        /// Keys for MPPE, where the method makes some.
        keys: Option<MasterKeys>,
        /// What Success says: in MS-CHAPv2 the authenticator's proof.
        message: Vec<u8>,
        /// What is to be stored as the user's password from now on.
        new_password: Option<Secret>,
    },
    /// It is not, or may not come in.
    Refused {
        /// Why, for our log: who it was said to be and what was wrong.
        why: String,
        /// MS-CHAP's number (RFC 2759 §6): 691 for a wrong name or password.
        error: u32,
    },
}

impl Claim {
    /// How the claim is made.
    #[must_use]
    pub const fn method(&self) -> AuthMethod {
        match self.proof {
            Proof::Pap(_) => AuthMethod::Pap,
            Proof::ChapMd5 { .. } => AuthMethod::ChapMd5,
            Proof::MsChapV1 { .. } => AuthMethod::MsChapV1,
            Proof::MsChapV2 { .. } | Proof::Change { .. } => AuthMethod::MsChapV2,
        }
    }

    /// Judges it by what is known. A name that nobody knows costs the same messages as a wrong password.
    #[must_use]
    pub fn verify(&self, known: Option<&KnownUser>) -> Verdict {
        let Some(user) = known else {
            return self.refused(Refusal::WRONG, "a name that is not known");
        };
        match &self.proof {
            Proof::Pap(password) => {
                let right = match &user.password {
                    Some(known) => known.equals(password.expose()),
                    None => NtHash::of(password)
                        .is_some_and(|hash| Secret::from(&hash.expose()[..]).equals(user.hash.expose())),
                };
                self.judged(right, user, None, Vec::new())
            }
            Proof::ChapMd5 { identifier, challenge, response } => match &user.password {
                Some(password) => {
                    let digest = chap_md5(*identifier, password, challenge);
                    self.judged(Secret::from(&digest[..]).equals(response), user, None, Vec::new())
                }
                None => self.refused(Refusal::WRONG, "the password is not kept in clear, which CHAP needs"),
            },
            Proof::MsChapV1 { challenge, nt_response } => {
                let right =
                    Secret::from(&mschap::v1_response(&user.hash, *challenge)[..]).equals(nt_response);
                let keys = MasterKeys::derive_v1(&user.hash, *challenge);
                self.judged(right, user, Some(keys), Vec::new())
            }
            Proof::MsChapV2 { challenge, peer, nt_response } => {
                let exchange = Exchange { authenticator: challenge, peer, user: &self.name };
                let right = mschap::verify(&user.hash, exchange, nt_response);
                let keys = MasterKeys::derive(&user.hash, nt_response);
                let proof = authenticator_response(&user.hash, exchange, nt_response);
                self.judged(right, user, Some(keys), format!("{proof} M=Welcome").into_bytes())
            }
            Proof::Change { challenge, peer, nt_response, change } => self.changed(
                user,
                Exchange { authenticator: challenge, peer, user: &self.name },
                nt_response,
                change,
            ),
        }
    }

    fn judged(&self, right: bool, user: &KnownUser, keys: Option<MasterKeys>, message: Vec<u8>) -> Verdict {
        match right {
            false => self.refused(Refusal::WRONG, "a wrong password"),
            true if user.expired => self.refused(Refusal::EXPIRED, "the password has expired"),
            true => Verdict::Accepted { identity: self.name.clone(), keys, message, new_password: None },
        }
    }

    fn changed(
        &self,
        user: &KnownUser,
        exchange: Exchange<'_>,
        nt_response: &[u8; 24],
        change: &PasswordChange,
    ) -> Verdict {
        let read = change.decrypt(&user.hash).ok().and_then(|new| Some((NtHash::of(&new)?, new)));
        match read {
            Some((hash, new)) if mschap::verify(&hash, exchange, nt_response) => {
                let proof = authenticator_response(&hash, exchange, nt_response);
                Verdict::Accepted {
                    identity: self.name.clone(),
                    keys: Some(MasterKeys::derive(&hash, nt_response)),
                    message: proof.into_bytes(),
                    new_password: Some(new),
                }
            }
            _ => self.refused(709, "the new password can't be read or is not proven"),
        }
    }

    fn refused(&self, error: u32, what: &str) -> Verdict {
        Verdict::Refused { why: format!("{}: {what}", self.name.escape_debug()), error }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("name", &self.name)
            .field("method", &self.method())
            .finish_non_exhaustive()
    }
}

/// The response of CHAP with MD5 (RFC 1994 §4.1). [1994:4.1-2]
pub(crate) fn chap_md5(identifier: u8, password: &Secret, challenge: &[u8]) -> [u8; 16] {
    let mut md5 = Md5::new();
    md5.update([identifier]);
    md5.update(password.expose());
    md5.update(challenge);
    md5.finalize().into()
}
