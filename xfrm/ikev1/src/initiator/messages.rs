//! What an initiator reads and sends before there are keys.

use adit_core::{Identity, Path};
use adit_isakmp::ExchangeType;
use adit_isakmp::crypto::KeyExchange;
use adit_isakmp::v1::proposal::{ChosenIke, accept_ike};
use adit_isakmp::v1::{Identification, Kind, Message, Payload};

use super::{Initiator, Secrets, Stage, Theirs};
use crate::api::{Ask, Auth};
use crate::channel::Material;
use crate::natt::{self, Nat};
use crate::state::{Cx, Datagram, Next};
use crate::vendor;

type Pair = (Box<dyn KeyExchange>, Vec<u8>);

impl Initiator {
    /// Main Mode's second message: the choice.
    pub(super) fn second(mut self: Box<Self>, cx: &mut Cx<'_>, cookie: u64, message: &Message) -> Next {
        let chosen = match self.choice(message) {
            Ok(chosen) => chosen,
            Err(why) => {
                self.stage = Stage::First;
                return self.useless(cx, why);
            }
        };
        self.peer_cookie = cookie;
        self.peer.read(message);
        let ask = cx.ask(Ask::Generate(chosen.suite.ke));
        self.asked(cx, Stage::Generating { ask, chosen });
        self.stay()
    }

    fn choice(&self, message: &Message) -> Result<Box<ChosenIke>, &'static str> {
        let sa = message.iter().find_map(|p| if let Payload::Sa(sa) = p { Some(sa) } else { None });
        accept_ike(&self.offered, sa.ok_or("it has no SA payload")?).map(Box::new)
    }

    pub(super) fn send_third(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        chosen: Box<ChosenIke>,
        key: Box<dyn KeyExchange>,
    ) -> Next {
        let ni = cx.nonce();
        let mut payloads = vec![Payload::Ke(key.public().to_vec()), Payload::Nonce(ni.clone())];
        let cookies = (self.cookie, self.peer_cookie);
        let how = (self.peer, self.config.force_encapsulation);
        payloads.extend(natt::payloads(&*cx.shared.crypto, chosen.suite.prf, cookies, self.path, how));
        self.stage = Stage::Third { chosen, key, ni };
        match self.send_clear(cx, ExchangeType::IDENTITY_PROTECTION, &payloads) {
            Ok(()) => self.stay(),
            Err(failure) => Next::failed(failure),
        }
    }

    /// Main Mode's fourth message: the peer's public value.
    pub(super) fn fourth(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        (chosen, key, ni): (Box<ChosenIke>, Box<dyn KeyExchange>, Vec<u8>),
        message: &Message,
    ) -> Next {
        let Some((xr, nr)) =
            value_and_nonce(message).filter(|(xr, _)| xr.len() == chosen.suite.ke.answer_len())
        else {
            self.stage = Stage::Third { chosen, key, ni };
            return self.useless(cx, "it lacks a public value or a nonce");
        };
        self.peer.read(message);
        let nat = self.detect(cx, &chosen, message);
        self.secrets(cx, (chosen, nat), (key, ni), (xr, nr), (message, None, Vec::new()))
    }

    /// Sends Aggressive Mode's first message.
    pub(super) fn send_aggressive(mut self: Box<Self>, cx: &mut Cx<'_>, key: Box<dyn KeyExchange>) -> Next {
        let ni = cx.nonce();
        let mut payloads = vec![
            Payload::Sa(self.offered.clone()),
            Payload::Ke(key.public().to_vec()),
            Payload::Nonce(ni.clone()),
            Payload::Id(Identification::of(self.local())),
        ];
        payloads.extend(self.certificate_requests());
        payloads.extend(vendor::ours());
        self.stage = Stage::AggressiveSent { key, ni };
        match self.send_clear(cx, ExchangeType::AGGRESSIVE, &payloads) {
            Ok(()) => self.stay(),
            Err(failure) => Next::failed(failure),
        }
    }

    /// Aggressive Mode's second message: the choice, the public value, and the peer's proof.
    pub(super) fn aggressive(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        pair: Pair,
        datagram: Datagram,
        message: &Message,
    ) -> Next {
        let back = |mut this: Box<Self>, cx: &mut Cx<'_>, (key, ni): Pair, why| {
            this.stage = Stage::AggressiveSent { key, ni };
            this.useless(cx, why)
        };
        let chosen = match self.choice(message) {
            Ok(chosen) if chosen.suite.ke == pair.0.method() => chosen,
            Ok(_) => return back(self, cx, pair, "its group is none of those that were offered"),
            Err(why) => return back(self, cx, pair, why),
        };
        let fits = |xr: &Vec<u8>| xr.len() == chosen.suite.ke.answer_len();
        let Some((xr, nr)) = value_and_nonce(message).filter(|(xr, _)| fits(xr)) else {
            return back(self, cx, pair, "it lacks a public value or a nonce");
        };
        let Some(theirs) = Theirs::of(message, &datagram.bytes) else {
            return back(self, cx, pair, "it lacks an identity or a proof of it");
        };
        self.peer_cookie = datagram.header.responder_spi;
        self.peer.read(message);
        let nat = self.detect(cx, &chosen, message);
        self.secrets(cx, (chosen, nat), pair, (xr, nr), (message, Some(theirs), datagram.bytes))
    }

    fn detect(&mut self, cx: &Cx<'_>, chosen: &ChosenIke, message: &Message) -> Nat {
        if self.peer.natt.is_none() {
            return Nat::default();
        }
        let cookies = (self.cookie, self.peer_cookie);
        let found = Nat::detect(&*cx.shared.crypto, chosen.suite.prf, cookies, self.path, message);
        let nat = found.map(|nat| Nat { forced: self.config.force_encapsulation, ..nat }).unwrap_or_default();
        if nat.encapsulates() && self.path == self.config.path {
            // [3947:4-1]
            let Path { mut local, mut remote } = self.path;
            local.set_port(self.config.local_nat_port);
            remote.set_port(self.config.nat_port);
            self.path = Path { local, remote };
        }
        nat
    }

    /// Asks for g^xy and for the pre-shared key.
    fn secrets(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        (chosen, nat): (Box<ChosenIke>, Nat),
        (key, ni): Pair,
        (xr, nr): (Vec<u8>, Vec<u8>),
        (message, theirs, datagram): (&Message, Option<Theirs>, Vec<u8>),
    ) -> Next {
        let material = Material {
            cookies: (self.cookie, self.peer_cookie),
            ni,
            nr,
            xi: key.public().to_vec(),
            xr: xr.clone(),
            sa: self.sai.clone(),
        };
        let agree = cx.ask(Ask::Agree { key, peer: xr });
        let psk_ask = match self.config.auth {
            Auth::Psk => {
                let remote = self.config.remote_id.clone();
                let remote = remote.unwrap_or(Identity::Address(self.config.path.remote.ip()));
                Some(cx.ask(Ask::Psk { local: self.local().clone(), remote }))
            }
            Auth::Signature { .. } => None,
        };
        let wanted = wanted_authorities(message);
        let secrets = Secrets {
            chosen,
            material,
            nat,
            agree,
            shared: None,
            psk_ask,
            psk: None,
            wanted,
            theirs,
            datagram,
        };
        self.asked(cx, Stage::Secrets(Box::new(secrets)));
        self.stay()
    }
}

/// KE and NONCE.
pub(crate) fn value_and_nonce(message: &Message) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut value, mut nonce) = (None, None);
    for payload in message.iter() {
        match payload {
            Payload::Ke(bytes) => value = Some(bytes.clone()),
            Payload::Nonce(bytes) => nonce = Some(bytes.clone()),
            _ => {}
        }
    }
    value.zip(nonce)
}

/// The authorities whose certificates the peer asks for; an empty name: any.
pub(crate) fn wanted_authorities(message: &Message) -> Vec<Vec<u8>> {
    let requests = message.iter().filter(|p| p.kind() == Kind::CERTREQ);
    requests
        .filter_map(|p| match p {
            Payload::CertReq(c) if c.encoding == adit_isakmp::v1::X509_SIGNATURE => Some(c.data.clone()),
            _ => None,
        })
        .collect()
}
