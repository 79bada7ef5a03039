use adit_core::{Entropy, Failure, Secret};
use proptest::prelude::*;

use super::*;
use crate::mschap::NtHash;

struct Counting(u8);

impl Entropy for Counting {
    fn public(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }

    fn secret(&mut self, out: &mut [u8]) {
        self.public(out);
    }
}

/// A server with one user, and a client whose person types these passwords in turn.
struct Talk {
    user: &'static str,
    typed: Vec<&'static str>,
    stored: &'static str,
    expired: bool,
    retries: u32,
    asked: Vec<PeerAsk>,
    /// What the server would keep.
    changed: Option<String>,
    /// Whether the person goes away instead of typing more than that.
    gives_up: bool,
}

impl Talk {
    fn new(typed: &[&'static str]) -> Self {
        Self {
            user: "CORP\\ann",
            typed: typed.iter().rev().copied().collect(),
            stored: "secret",
            expired: false,
            retries: 2,
            asked: Vec::new(),
            changed: None,
            gives_up: false,
        }
    }

    fn secret(password: &str) -> Secret {
        Secret::from(password.as_bytes())
    }

    fn known(&self, identity: &str) -> Option<UserSecret> {
        let hash = NtHash::of(&Self::secret(self.stored)).unwrap();
        (identity == "CORP\\ann").then_some(UserSecret { hash, expired: self.expired, clear: None })
    }

    /// Both verdicts: the peer's and the authenticator's.
    fn run(&mut self) -> (Verdict, Verdict) {
        let mut entropy = Counting(0);
        let mut peer = Peer::new(PeerConfig {
            identity: "ann@example.com".into(),
            user: self.user.into(),
            methods: vec![Method::MSCHAPV2],
            inner: InnerConfig::default(),
        });
        let (mut server, mut packet) = Authenticator::begin(
            &mut entropy,
            AuthenticatorConfig { retries: self.retries, ..AuthenticatorConfig::new("vpn") },
        );
        for _ in 0..40 {
            let mut step = peer.packet(&packet);
            while let PeerStep::Ask(ask) = step {
                // Meanwhile the server sends it again.
                assert!(matches!(peer.packet(&packet), PeerStep::Ignore));
                self.asked.push(ask);
                let typed = self.typed.pop();
                assert!(typed.is_some() || self.gives_up, "a question too many");
                step = peer.answer(&mut entropy, typed.map(Self::secret).ok_or_else(nobody));
            }
            let response = match step {
                PeerStep::Send(response) => response,
                PeerStep::Ended(verdict) => return (verdict, Err(nobody())),
                other => panic!("{other:?}"),
            };
            // The same request gets the same response.
            assert!(matches!(peer.packet(&packet), PeerStep::Send(again) if again == response));
            let mut step = server.packet(&mut entropy, &response);
            while let AuthenticatorStep::Ask(ask) = step {
                // Meanwhile the client sends it again.
                assert!(matches!(server.packet(&mut entropy, &response), AuthenticatorStep::Ignore));
                step = match ask {
                    AuthenticatorAsk::User { identity } => {
                        server.user(&mut entropy, Ok(self.known(&identity)))
                    }
                    AuthenticatorAsk::StorePassword { password, .. } => {
                        self.changed = Some(String::from_utf8(password.expose().to_vec()).unwrap());
                        server.stored(&mut entropy, Ok(()))
                    }
                };
            }
            packet = match step {
                AuthenticatorStep::Send(packet) => packet,
                AuthenticatorStep::Ended(last, verdict) => {
                    let PeerStep::Ended(ours) = peer.packet(&last) else { panic!("the peer goes on") };
                    return (ours, verdict);
                }
                other => panic!("{other:?}"),
            };
        }
        panic!("no end");
    }
}

fn nobody() -> Failure {
    Failure::new(adit_core::FailureCode::Cancelled, adit_core::Step::Authenticate, "not heard of")
}

// [7296:3.16-1] [7296:3.16-3] [7296:3.16-4]
#[test]
fn the_right_password_gives_both_the_same_msk() {
    let mut talk = Talk::new(&["secret"]);
    let (peer, server) = talk.run();
    let (peer, server) = (peer.unwrap(), server.unwrap());
    let (ours, theirs) = (peer.msk.unwrap(), server.msk.unwrap());
    assert!(ours.len() == 64 && ours.equals(theirs.expose()));
    assert_eq!((server.identity.as_str(), server.method), ("CORP\\ann", Method::MSCHAPV2));
    assert_eq!(talk.asked, [PeerAsk::Password { again: None }]);
}

#[test]
fn a_wrong_password_may_be_typed_again_with_a_new_challenge() {
    let mut talk = Talk::new(&["secert", "secret"]);
    let (peer, server) = talk.run();
    assert!(peer.is_ok() && server.is_ok());
    assert_eq!(talk.asked.len(), 2);
    assert_eq!(talk.asked[1], PeerAsk::Password { again: Some("Authentication failed".into()) });
}

#[test]
fn in_the_end_a_wrong_password_is_told_as_one() {
    let mut talk = Talk::new(&["a", "b", "c"]);
    let (peer, server) = talk.run();
    let peer = peer.unwrap_err();
    assert!(peer.text.contains("the name or the password is wrong"), "{peer}");
    assert_eq!(peer.peer.as_deref(), Some("E=691 Authentication failed"));
    assert!(server.unwrap_err().text.contains("a wrong password"));
    assert_eq!(talk.asked.len(), 3);
}

#[test]
fn who_does_not_try_again_says_so_and_the_server_knows_why_it_ended() {
    let mut talk = Talk { gives_up: true, ..Talk::new(&["a"]) };
    let (peer, server) = talk.run();
    assert_eq!(peer.unwrap_err(), nobody());
    assert!(server.unwrap_err().text.contains("EAP-MSCHAPv2: CORP\\ann: a wrong password"));
    let mut talk = Talk { gives_up: true, expired: true, ..Talk::new(&["secret"]) };
    let (peer, server) = talk.run();
    assert_eq!(peer.unwrap_err(), nobody());
    assert!(server.unwrap_err().text.contains("the password of CORP\\ann has expired"));
    // Nobody has been refused yet: there is nothing to answer.
    let mut talk = Talk { gives_up: true, ..Talk::new(&[]) };
    assert_eq!(talk.run().0.unwrap_err(), nobody());
}

#[test]
fn a_refusal_that_nobody_answers_is_known() {
    let mut entropy = Counting(0);
    let (mut server, first) = Authenticator::begin(&mut entropy, AuthenticatorConfig::new("vpn"));
    let identity = emit(Code::Response, first[1], Some(Method::IDENTITY), b"bob");
    assert!(matches!(server.packet(&mut entropy, &identity), AuthenticatorStep::Send(_)));
    assert_eq!(server.refusal(), None);
    let response = [&[2, 1, 0, 57, 49][..], &[7; 49], b"bob"].concat();
    let response = emit(Code::Response, server.last()[1], Some(Method::MSCHAPV2), &response);
    assert!(matches!(server.packet(&mut entropy, &response), AuthenticatorStep::Ask(_)));
    assert!(matches!(server.user(&mut entropy, Ok(None)), AuthenticatorStep::Send(_)));
    assert_eq!(server.refusal().unwrap().text, "EAP-MSCHAPv2: bob: a name that is not known");
}

#[test]
fn an_unknown_name_looks_like_a_wrong_password() {
    let mut known = Talk { retries: 0, ..Talk::new(&["x"]) };
    let mut unknown = Talk { retries: 0, user: "CORP\\bob", ..Talk::new(&["x"]) };
    let (known, unknown) = (known.run(), unknown.run());
    assert_eq!(known.0.unwrap_err(), unknown.0.unwrap_err());
    assert!(unknown.1.unwrap_err().text.contains("not known"));
}

#[test]
fn an_expired_password_is_changed() {
    let mut talk = Talk { expired: true, ..Talk::new(&["secret", "next"]) };
    let (peer, server) = talk.run();
    let (peer, server) = (peer.unwrap(), server.unwrap());
    assert!(peer.msk.unwrap().equals(server.msk.unwrap().expose()));
    assert_eq!(talk.changed.as_deref(), Some("next"));
    assert_eq!(talk.asked[1], PeerAsk::NewPassword { message: "The password has expired".into() });
}

fn peer() -> Peer {
    let methods = vec![Method::MSCHAPV2];
    Peer::new(PeerConfig {
        identity: "ann".into(),
        user: "ann".into(),
        methods,
        inner: InnerConfig::default(),
    })
}

#[test]
fn success_without_proof_is_nobodys_word() {
    let mut peer = peer();
    let success = emit(Code::Success, 9, None, &[]);
    assert!(matches!(peer.packet(&success), PeerStep::Ignore));
    assert!(matches!(peer.link_up(), PeerStep::Ignore));
    let challenge = [&[1, 5, 0, 21, 16][..], &[7; 16]].concat();
    assert!(matches!(
        peer.packet(&emit(Code::Request, 5, Some(Method::MSCHAPV2), &challenge)),
        PeerStep::Ask(_)
    ));
    let answered = peer.answer(&mut Counting(0), Ok(Secret::from(&b"secret"[..])));
    assert!(matches!(answered, PeerStep::Send(_)));
    assert!(matches!(peer.packet(&success), PeerStep::Ignore));
    assert!(matches!(peer.link_up(), PeerStep::Ignore));
    // A server that does not know the password can't pretend to.
    let lie = [&[3, 5, 0, 46][..], b"S=0000000000000000000000000000000000000000"].concat();
    let PeerStep::Ended(Err(why)) = peer.packet(&emit(Code::Request, 6, Some(Method::MSCHAPV2), &lie)) else {
        panic!("believed");
    };
    assert!(why.text.contains("could not prove"), "{why}");
}

#[test]
fn other_methods_are_declined_by_name() {
    let mut peer = peer();
    let PeerStep::Send(nak) = peer.packet(&emit(Code::Request, 1, Some(Method::MD5), &[1, 2])) else {
        panic!("no answer");
    };
    let nak = Packet::parse(&nak).unwrap();
    assert_eq!((nak.method, nak.data), (Some(Method::NAK), &[26][..]));
    let notification = peer.packet(&emit(Code::Request, 2, Some(Method::NOTIFICATION), b"Hello"));
    assert!(matches!(notification, PeerStep::Send(_)));
}

proptest! {
    #[test]
    fn packets_round_trip(code in 1_u8..=2, identifier: u8, kind: u8, data: Vec<u8>) {
        let code = if code == 1 { Code::Request } else { Code::Response };
        let bytes = emit(code, identifier, Some(Method(kind)), &data);
        let packet = Packet::parse(&bytes).unwrap();
        prop_assert_eq!(packet, Packet { code, identifier, method: Some(Method(kind)), data: &data });
    }

    #[test]
    fn nothing_from_the_network_panics(packets: Vec<Vec<u8>>, tail: Vec<u8>) {
        let mut peer = peer();
        let mut entropy = Counting(0);
        let (mut server, _) = Authenticator::begin(&mut entropy, AuthenticatorConfig::new("vpn"));
        for (n, data) in packets.iter().enumerate() {
            let identifier = u8::try_from(n % 256).unwrap();
            peer.packet(data);
            server.packet(&mut entropy, data);
            let request = emit(Code::Request, identifier, Some(Method::MSCHAPV2), data);
            if let PeerStep::Ask(_) = peer.packet(&request) {
                peer.answer(&mut entropy, Ok(Secret::from(&tail[..])));
            }
            let response = emit(Code::Response, identifier, Some(Method::MSCHAPV2), data);
            if let AuthenticatorStep::Ask(_) = server.packet(&mut entropy, &response) {
                server.user(&mut entropy, Ok(None));
            }
        }
    }
}
