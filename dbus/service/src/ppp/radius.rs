//! RADIUS servers decide about who dials (RFC 2865, RFC 2548): what a peer proves itself by goes to them, and their verdict
//! comes back.

use std::sync::Arc;

use adit_auth::eap::{Code, Method, Packet, emit};
use adit_auth::mschap::{MasterKeys, Refusal};
use adit_auth::radius::{Attribute, Granted, ServerId, Verdict as Said, attribute, chap};
use adit_core::{Failure, FailureCode, Path, Step};
use adit_ppp::{Claim, EapStep, Proof, Verdict};

use crate::radius::{Grant, Radius};
use crate::server::{LONGEST_NAME, msk, proves_another_name};

/// Framed-Protocol: PPP.
const PPP: u32 = 1;

/// The servers, and what they know one peer by.
pub(super) struct Remote {
    radius: Arc<Radius>,
    /// Acct-Session-Id.
    session: String,
    path: Path,
    talk: tokio::sync::Mutex<Talk>,
}

/// A conversation by EAP.
#[derive(Default)]
struct Talk {
    /// What the peer calls itself.
    identity: Vec<u8>,
    /// By which method it proves itself.
    method: Option<Method>,
    /// State, for the server to know the conversation by.
    state: Option<(ServerId, Vec<u8>)>,
}

impl Remote {
    pub(super) fn new(radius: &Arc<Radius>, path: Path) -> Self {
        Self::again(radius, path, &radius.session_id())
    }

    /// The same of a session that has begun.
    pub(super) fn again(radius: &Arc<Radius>, path: Path, session: &str) -> Self {
        let (radius, session) = (Arc::clone(radius), session.to_owned());
        Self { radius, session, path, talk: tokio::sync::Mutex::default() }
    }

    pub(super) const fn path(&self) -> Path {
        self.path
    }

    /// What accounting goes by.
    pub(super) fn grant(&self, granted: Granted, user: String) -> Grant {
        Grant { radius: Arc::clone(&self.radius), granted, user, session: self.session.clone() }
    }

    /// Takes a peer's Response to the servers (RFC 3579 §2); with who is let in comes what is granted.
    pub(super) async fn eap(&self, packet: Vec<u8>) -> Result<(EapStep, Option<Granted>), Failure> {
        let mut talk = self.talk.lock().await;
        let read = Packet::parse(&packet).ok();
        let identifier = read.as_ref().map(|packet| packet.identifier).unwrap_or_default();
        // It begins: perhaps anew, on a link that is negotiated again.
        if let Some(Packet { method: Some(Method::IDENTITY), data, .. }) = read {
            let identity = data.get(..data.len().min(LONGEST_NAME)).unwrap_or_default().to_vec();
            *talk = Talk { identity, ..Talk::default() };
        }
        let mut asked = self.radius.about(&talk.identity, &self.session, self.path);
        asked.push((attribute::FRAMED_PROTOCOL, PPP.to_be_bytes().to_vec()));
        match self.radius.access(asked, packet, talk.state.take()).await {
            Said::Challenge { eap: Some(eap), state, .. } => {
                talk.state = Some(state);
                talk.method = Packet::parse(&eap).ok().and_then(|packet| packet.method).or(talk.method);
                Ok((EapStep::Send(eap), None))
            }
            Said::Accept(granted) => {
                let mut granted = *granted;
                let identity = proven(&talk, &granted);
                let keys = granted.keys.take().map(|(send, receive)| msk(&send, &receive));
                let success = || emit(Code::Success, identifier, None, &[]);
                let packet = granted.eap.take().unwrap_or_else(success);
                let keys = keys.as_ref().and_then(MasterKeys::of_msk);
                Ok((EapStep::Accepted { packet, identity, keys }, Some(granted)))
            }
            Said::Reject { eap, message } => {
                let said = message.map(|m| format!(": {m}")).unwrap_or_default();
                let name = String::from_utf8_lossy(&talk.identity).escape_debug().to_string();
                let text = format!("{name}: the RADIUS server refused{said}");
                let why = Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text);
                let failure = || emit(Code::Failure, identifier, None, &[]);
                Ok((EapStep::Refused { packet: eap.unwrap_or_else(failure), why }, None))
            }
            Said::None(why) => Err(why),
            Said::Challenge { eap: None, .. } | Said::Noted => {
                Err(nonsense("the RADIUS server speaks no EAP"))
            }
        }
    }

    /// Asks about a claim; with who is let in comes what is granted.
    pub(super) async fn verify(&self, claim: &Claim) -> Result<(Verdict, Option<Granted>), Failure> {
        let Some(proof) = attributes(claim) else {
            return Ok((refused(claim, Refusal::WRONG, "its password can't be changed here"), None));
        };
        let mut asked = self.radius.about(claim.name.as_bytes(), &self.session, self.path);
        asked.push((attribute::FRAMED_PROTOCOL, PPP.to_be_bytes().to_vec()));
        asked.extend(proof);
        match self.radius.proven(asked).await {
            Said::Accept(granted) => {
                let mut granted = *granted;
                let verdict = accepted(claim, &mut granted)?;
                Ok((verdict, Some(granted)))
            }
            Said::Reject { message, .. } => {
                let said = message.unwrap_or_default();
                // 0: it gives no reason of MS-CHAP's.
                let error = Some(Refusal::read(said.as_bytes()).error).filter(|error| *error != 0);
                let why =
                    format!("the RADIUS server refused{}{said}", if said.is_empty() { "" } else { ": " });
                Ok((refused(claim, error.unwrap_or(Refusal::WRONG), &why), None))
            }
            Said::None(why) => Err(why),
            Said::Challenge { .. } | Said::Noted => {
                Err(nonsense("the RADIUS server asks for more, which a PPP peer can't answer"))
            }
        }
    }
}

/// Who has come in. Inside of TLS a peer may have proven another name than it has called itself: then only the server knows.
fn proven(talk: &Talk, granted: &Granted) -> String {
    let said = String::from_utf8_lossy(&talk.identity);
    match (&granted.user, talk.method.is_some_and(proves_another_name)) {
        (Some(user), _) => user.clone(),
        (None, false) => said.into_owned(),
        (None, true) => {
            tracing::warn!(
                user = %said.escape_debug(),
                "the RADIUS server has not said who it let in (User-Name): the name is what the peer calls itself"
            );
            format!("{said} (not proven)")
        }
    }
}

fn attributes(claim: &Claim) -> Option<Vec<Attribute>> {
    match &claim.proof {
        Proof::MsChapV2 { challenge, peer, nt_response } => {
            Some(chap::ms_chap_v2(challenge, peer, nt_response))
        }
        Proof::ChapMd5 { identifier, challenge, response } => {
            Some(chap::chap_md5(*identifier, challenge, response))
        }
        // The configuration offers neither of the first two; the last comes where the server says that a password has
        // expired, and few servers could store another.
        Proof::Pap(_) | Proof::MsChapV1 { .. } | Proof::Change { .. } => None,
    }
}

/// In MS-CHAPv2 the server proves itself too, or the peer would let anybody be it.
fn accepted(claim: &Claim, granted: &mut Granted) -> Result<Verdict, Failure> {
    let message = match claim.proof {
        Proof::MsChapV2 { .. } => {
            let success = granted.chap2_success.take().unwrap_or_default();
            let message = chap::success_message(&success);
            message.ok_or_else(|| nonsense("the RADIUS server sends no proof (MS-CHAP2-Success)"))?.to_vec()
        }
        _ => Vec::new(),
    };
    let keys = granted.keys.take().and_then(|(send, receive)| MasterKeys::of_authenticator(send, receive));
    let identity = granted.user.clone().unwrap_or_else(|| claim.name.clone());
    Ok(Verdict::Accepted { identity, keys, message, new_password: None })
}

fn refused(claim: &Claim, error: u32, why: &str) -> Verdict {
    Verdict::Refused { why: format!("{}: {why}", claim.name.escape_debug()), error }
}

fn nonsense(text: &str) -> Failure {
    Failure::new(FailureCode::PeerMisbehaved, Step::Authenticate, text)
}

#[cfg(test)]
mod tests {
    use adit_core::Secret;

    use super::*;

    fn claim() -> Claim {
        let proof = Proof::MsChapV2 { challenge: [1; 16], peer: [2; 16], nt_response: [3; 24] };
        Claim { name: "ann".into(), proof, retry: true }
    }

    fn granted(success: &[u8], key: usize) -> Granted {
        let key = || Secret::new(vec![7; key]);
        Granted { chap2_success: Some(success.to_vec()), keys: Some((key(), key())), ..Granted::default() }
    }

    #[test]
    fn who_is_accepted_without_a_proof_of_the_server_is_not_let_in() {
        let proof = [b"\0S=".as_slice(), &[b'A'; 40]].concat();
        let verdict = accepted(&claim(), &mut granted(&proof, 16)).unwrap();
        let Verdict::Accepted { identity, keys, message, .. } = verdict else { panic!() };
        assert_eq!((identity.as_str(), &message[..]), ("ann", &proof[1..]));
        assert!(keys.is_some());
        assert!(accepted(&claim(), &mut granted(b"\0Welcome", 16)).is_err());
        assert!(accepted(&claim(), &mut Granted::default()).is_err());
    }

    #[test]
    fn short_keys_are_none() {
        let proof = [b"\0S=".as_slice(), &[b'A'; 40]].concat();
        let Ok(Verdict::Accepted { keys, .. }) = accepted(&claim(), &mut granted(&proof, 8)) else {
            panic!()
        };
        assert!(keys.is_none());
    }
}
