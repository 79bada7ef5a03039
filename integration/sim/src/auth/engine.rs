//! A TLS engine that hides nothing: flights and a key that both ends make of what both have said. What counts is when it
//! answers, whom it refuses, and what it lets through.

use adit_auth::eap::{TlsAnswer, TlsAsk, TlsVersion, Tunnel};
use adit_core::{Failure, FailureCode, Secret, Step};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A client's first words, a server's first, a client's last, a server's last, and what is inside.
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CLIENT_DONE: u8 = 3;
const SERVER_DONE: u8 = 4;
const INSIDE: u8 = 23;
const ALERT: u8 = 21;

/// One end of a TLS session.
pub(super) struct Engine {
    server: bool,
    version: TlsVersion,
    /// The name in our certificate; a client may have none.
    name: Option<&'static str>,
    /// The name that the other end must have, if it must have any.
    trusted: Option<&'static str>,
    begun: bool,
    /// What both ends have said, in order.
    transcript: Vec<u8>,
    shown: Vec<String>,
    complete: bool,
    over: bool,
}

impl Engine {
    pub(super) fn new(
        server: bool,
        version: TlsVersion,
        name: Option<&'static str>,
        trusted: Option<&'static str>,
    ) -> Self {
        let (transcript, shown) = (Vec::new(), Vec::new());
        Self { server, version, name, trusted, begun: false, transcript, shown, complete: false, over: false }
    }

    /// Does what is asked; `refused`: the certificate that comes, if one does, is not believed.
    pub(super) fn act(&mut self, ask: &TlsAsk, refused: bool) -> TlsAnswer {
        let mut answer = TlsAnswer::default();
        if self.over {
            return self.fail(answer, "TLS is over", false);
        }
        if !self.server && !self.begun {
            self.begun = true;
            self.say(&mut answer, CLIENT_HELLO, b"hello");
        }
        let mut records = &ask.records[..];
        while let Some((kind, body, rest)) = read(records) {
            records = rest;
            if let Err(why) = self.take(kind, body, refused, &mut answer) {
                return self.fail(answer, why, kind != ALERT);
            }
        }
        if let (Some(plain), true) = (&ask.write, self.complete) {
            record(&mut answer.records, INSIDE, plain.expose());
        }
        if self.complete {
            answer.exported = ask.export.iter().map(|e| self.export(e.label, e.context, e.length)).collect();
            answer.tunnel = Some(Tunnel { version: self.version, names: self.shown.clone() });
        }
        answer
    }

    fn take(
        &mut self,
        kind: u8,
        body: &[u8],
        refused: bool,
        answer: &mut TlsAnswer,
    ) -> Result<(), &'static str> {
        let next = match (self.server, kind) {
            (true, CLIENT_HELLO) => SERVER_HELLO,
            (false, SERVER_HELLO) => CLIENT_DONE,
            (true, CLIENT_DONE) => SERVER_DONE,
            (false, SERVER_DONE) if self.version == TlsVersion::Tls12 => 0,
            (_, INSIDE) if self.complete => {
                answer.plaintext.push(Secret::from(body));
                return Ok(());
            }
            (_, ALERT) => return Err("the other side refuses the certificate"),
            _ => return Err("a record that nobody waits for"),
        };
        self.transcript.push(kind);
        self.transcript.extend_from_slice(body);
        if matches!(kind, SERVER_HELLO | CLIENT_DONE) && !body.is_empty() {
            self.shown = vec![String::from_utf8_lossy(body).into_owned()];
        }
        let judged = matches!((self.server, kind), (false, SERVER_HELLO) | (true, CLIENT_DONE));
        let trusted = self.trusted.is_none_or(|name| self.shown.first().is_some_and(|s| s == name));
        if judged && (refused || !trusted) {
            return Err("the certificate is not believed");
        }
        let tls13 = self.version == TlsVersion::Tls13;
        match next {
            SERVER_HELLO | CLIENT_DONE => self.say(answer, next, self.name.unwrap_or_default().as_bytes()),
            SERVER_DONE if !tls13 => self.say(answer, next, b"done"),
            _ => {}
        }
        // In TLS 1.3 the client's last words end it for both, in 1.2 the server's.
        self.complete = match next {
            CLIENT_DONE => tls13,
            SERVER_DONE | 0 => true,
            _ => false,
        };
        Ok(())
    }

    fn say(&mut self, answer: &mut TlsAnswer, kind: u8, body: &[u8]) {
        record(&mut answer.records, kind, body);
        self.transcript.push(kind);
        self.transcript.extend_from_slice(body);
    }

    fn fail(&mut self, mut answer: TlsAnswer, why: &str, alert: bool) -> TlsAnswer {
        if alert && !self.over {
            record(&mut answer.records, ALERT, &[]);
        }
        self.over = true;
        answer.failure = Some(Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, why));
        answer
    }

    fn export(&self, label: &str, context: Option<u8>, length: usize) -> Secret {
        let mut out = Vec::with_capacity(length.next_multiple_of(32));
        while out.len() < length {
            let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.transcript) else { break };
            mac.update(label.as_bytes());
            mac.update(&context.map_or([0, 0], |c| [1, c]));
            mac.update(&out);
            out.extend_from_slice(&mac.finalize().into_bytes());
        }
        out.truncate(length);
        Secret::new(out)
    }
}

fn record(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(body);
}

fn read(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([kind, high, low], rest) = bytes.split_first_chunk::<3>()?;
    let (body, rest) = rest.split_at_checked(u16::from_be_bytes([*high, *low]).into())?;
    Some((*kind, body, rest))
}
