//! What a server may ask of us unasked: end this session, change it (RFC 5176).

use core::time::Duration;

use adit_core::Secret;

use super::attributes::{attribute, printable};
use super::packet::{Code, Packet, Writer};
use super::protect::{Unbelievable, believe_request, sign_answer};

/// What it wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Disconnect-Request: end it.
    Disconnect,
    /// CoA-Request: from now on these hold.
    Change {
        /// Session-Timeout.
        session: Option<Duration>,
        /// Idle-Timeout.
        idle: Option<Duration>,
        /// It wants more than that, which we do not do.
        others: bool,
    },
}

/// What a CoA-Request may hold that we do, or that says whom it is about (RFC 5176 §3) and how it came.
const KNOWN: [u8; 17] = [
    attribute::USER_NAME,
    attribute::NAS_IP_ADDRESS,
    attribute::NAS_IPV6_ADDRESS,
    attribute::NAS_IDENTIFIER,
    attribute::NAS_PORT,
    attribute::NAS_PORT_ID,
    attribute::NAS_PORT_TYPE,
    attribute::FRAMED_IP_ADDRESS,
    attribute::CALLED_STATION_ID,
    attribute::CALLING_STATION_ID,
    attribute::ACCT_SESSION_ID,
    attribute::EVENT_TIMESTAMP,
    attribute::MESSAGE_AUTHENTICATOR,
    attribute::PROXY_STATE,
    attribute::CLASS,
    attribute::SESSION_TIMEOUT,
    attribute::IDLE_TIMEOUT,
];

/// Which sessions it means: those to which everything fits that it names (RFC 5176 §3).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Whose {
    /// User-Name.
    pub user: Option<String>,
    /// Acct-Session-Id.
    pub session: Option<String>,
    /// Calling-Station-Id.
    pub calling: Option<String>,
    /// Framed-IP-Address.
    pub address: Option<core::net::Ipv4Addr>,
}

/// A request of a server, believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Whom it is about. Nothing named: nobody.
    pub whose: Whose,
    /// What is to be done.
    pub wish: Wish,
    code: Code,
    identifier: u8,
    authenticator: [u8; 16],
    proxies: Vec<Vec<u8>>,
}

/// How it went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done.
    Done,
    /// Error-Cause 503: there is no such session.
    NoSession,
    /// Error-Cause 401: something that we do not do.
    Unsupported,
}

impl Request {
    /// Reads a datagram of a server with which we share `secret`. `Ok(None)`: it is no such request.
    ///
    /// # Errors
    /// Whoever sent it does not have the secret, or has no proof of it.
    pub fn read(datagram: &[u8], secret: &Secret) -> Result<Option<Self>, Unbelievable> {
        let Ok(packet) = Packet::parse(datagram) else {
            return Ok(None);
        };
        if ![Code::DISCONNECT_REQUEST, Code::COA_REQUEST].contains(&packet.code()) {
            return Ok(None);
        }
        believe_request(&packet, secret)?;
        let text = |kind| packet.value(kind).map(printable);
        let number = |kind| packet.value(kind).and_then(|v| v.try_into().ok()).map(u32::from_be_bytes);
        let whose = Whose {
            user: text(attribute::USER_NAME),
            session: text(attribute::ACCT_SESSION_ID),
            calling: text(attribute::CALLING_STATION_ID),
            address: number(attribute::FRAMED_IP_ADDRESS).map(core::net::Ipv4Addr::from_bits),
        };
        let all = |kind: u8| packet.attributes().filter(move |(_, k, _)| *k == kind).map(|(_, _, v)| v);
        let seconds = |kind| number(kind).map(|n| Duration::from_secs(n.into()));
        let wish = match packet.code() {
            Code::DISCONNECT_REQUEST => Wish::Disconnect,
            _ => Wish::Change {
                session: seconds(attribute::SESSION_TIMEOUT),
                idle: seconds(attribute::IDLE_TIMEOUT),
                others: packet.attributes().any(|(_, kind, _)| !KNOWN.contains(&kind)),
            },
        };
        Ok(Some(Self {
            whose,
            wish,
            code: packet.code(),
            identifier: packet.identifier(),
            authenticator: packet.authenticator(),
            proxies: all(attribute::PROXY_STATE).map(<[u8]>::to_vec).collect(),
        }))
    }

    /// The answer.
    #[must_use]
    pub fn answer(&self, outcome: Outcome, secret: &Secret) -> Option<Vec<u8>> {
        let (code, cause) = match (self.code, outcome) {
            (Code::DISCONNECT_REQUEST, Outcome::Done) => (Code::DISCONNECT_ACK, None),
            (Code::DISCONNECT_REQUEST, Outcome::NoSession) => (Code::DISCONNECT_NAK, Some(503)),
            (Code::DISCONNECT_REQUEST, Outcome::Unsupported) => (Code::DISCONNECT_NAK, Some(401)),
            (_, Outcome::Done) => (Code::COA_ACK, None),
            (_, Outcome::NoSession) => (Code::COA_NAK, Some(503)),
            (_, Outcome::Unsupported) => (Code::COA_NAK, Some(401)),
        };
        let mut writer = Writer::new(code, self.identifier, self.authenticator);
        for proxy in &self.proxies {
            writer.attribute(attribute::PROXY_STATE, proxy);
        }
        if let Some(cause) = cause {
            writer.number(attribute::ERROR_CAUSE, cause);
        }
        let mut packet = writer.finish()?;
        sign_answer(&mut packet, secret);
        // Nothing in it is secret.
        Some(core::mem::take(&mut *packet))
    }
}

impl Whose {
    /// Whether it names anybody at all.
    #[must_use]
    pub fn names_somebody(&self) -> bool {
        *self != Self::default()
    }
}
