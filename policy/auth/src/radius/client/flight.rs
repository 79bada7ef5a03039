//! One question on its way.

use core::time::Duration;

use adit_core::{Entropy, Instant, Secret};
use zeroize::Zeroizing;

use super::{Query, QueryId, ServerId};
use crate::radius::attributes::{attribute, write_all};
use crate::radius::packet::{Code, Writer};
use crate::radius::protect::{begin_signed, hide_password, sign, sign_accounting};

enum Content {
    Query(Query),
    /// Status-Server.
    Probe(ServerId),
}

/// What to do when no answer came in time.
pub(super) enum Goes {
    /// The same packet again, bit for bit.
    Again(Zeroizing<Vec<u8>>),
    /// This server had its chances.
    Elsewhere,
}

pub(super) struct Flight {
    pub(super) id: QueryId,
    content: Content,
    begun: Instant,
    /// The Request Authenticator of the packet that is out.
    pub(super) authenticator: [u8; 16],
    /// When it is sent again.
    pub(super) again: Instant,
    packet: Zeroizing<Vec<u8>>,
    wait: Duration,
    tries: u32,
    asked: Vec<ServerId>,
    rounds: u32,
}

impl Flight {
    pub(super) fn new(now: Instant, id: QueryId, query: Query) -> Self {
        Self::with(now, id, Content::Query(query))
    }

    pub(super) fn probe(now: Instant, server: ServerId) -> Self {
        Self::with(now, QueryId(u64::MAX), Content::Probe(server))
    }

    fn with(now: Instant, id: QueryId, content: Content) -> Self {
        Self {
            id,
            content,
            begun: now,
            authenticator: [0; 16],
            again: now,
            packet: Zeroizing::default(),
            wait: Duration::ZERO,
            tries: 0,
            asked: Vec::new(),
            rounds: 0,
        }
    }

    pub(super) const fn is_probe(&self) -> bool {
        matches!(self.content, Content::Probe(_))
    }

    pub(super) const fn is_accounting(&self) -> bool {
        matches!(self.content, Content::Query(Query::Accounting { .. }))
    }

    pub(super) const fn is_interim(&self) -> bool {
        matches!(self.content, Content::Query(Query::Accounting { interim: true, .. }))
    }

    /// The one server that can answer it, if there is only one.
    pub(super) fn only(&self) -> Option<ServerId> {
        match &self.content {
            Content::Probe(server) => Some(*server),
            Content::Query(Query::Access { state, .. }) => state.as_ref().map(|(server, _)| *server),
            Content::Query(Query::Accounting { .. }) => None,
        }
    }

    pub(super) fn tried(&self, server: ServerId) -> bool {
        self.asked.contains(&server)
    }

    /// All servers may be tried again.
    pub(super) fn forget_tries(&mut self) {
        self.asked.clear();
    }

    /// How long an accounting record rests after every server was tried.
    pub(super) fn pause(&mut self, most: Duration) -> Duration {
        self.rounds = self.rounds.saturating_add(1);
        Duration::from_secs(1_u64.checked_shl(self.rounds.min(10)).unwrap_or(1024)).min(most)
    }

    /// Which answers it can have.
    pub(super) fn expects(&self, code: Code) -> bool {
        match self.content {
            Content::Query(Query::Access { .. }) => {
                [Code::ACCESS_ACCEPT, Code::ACCESS_REJECT, Code::ACCESS_CHALLENGE].contains(&code)
            }
            Content::Query(Query::Accounting { .. }) => code == Code::ACCOUNTING_RESPONSE,
            // RFC 5997 §3: an Access-Accept on the authentication port, an Accounting-Response on the other.
            Content::Probe(_) => [Code::ACCESS_ACCEPT, Code::ACCOUNTING_RESPONSE].contains(&code),
        }
    }

    /// Writes the packet for a server. `None`: it does not fit.
    pub(super) fn write(
        &mut self,
        now: Instant,
        identifier: u8,
        secret: &Secret,
        entropy: &mut dyn Entropy,
    ) -> Option<Zeroizing<Vec<u8>>> {
        let mut random = [0; 16];
        entropy.public(&mut random);
        let packet = match &self.content {
            Content::Query(Query::Accounting { attributes, .. }) => {
                let mut writer = Writer::new(Code::ACCOUNTING_REQUEST, identifier, [0; 16]);
                write_all(&mut writer, attributes);
                // RFC 2866 §5.2: it changes, and with it the packet and its identifier.
                let late = now.since(self.begun).as_secs();
                writer.number(attribute::ACCT_DELAY_TIME, u32::try_from(late).unwrap_or(u32::MAX));
                let mut packet = writer.finish()?;
                sign_accounting(&mut packet, secret);
                random = *packet.get(4..)?.first_chunk()?;
                packet
            }
            Content::Query(Query::Access { attributes, eap, password, state }) => {
                let mut writer = Writer::new(Code::ACCESS_REQUEST, identifier, random);
                let at = begin_signed(&mut writer);
                write_all(&mut writer, attributes);
                if let Some(password) = password {
                    writer.attribute(attribute::USER_PASSWORD, &hide_password(password, &random, secret)?);
                }
                if let Some((_, state)) = state {
                    writer.attribute(attribute::STATE, state);
                }
                writer.attribute(attribute::EAP_MESSAGE, eap.as_deref().unwrap_or_default());
                signed(writer, at, secret)?
            }
            Content::Probe(_) => {
                let mut writer = Writer::new(Code::STATUS_SERVER, identifier, random);
                let at = begin_signed(&mut writer);
                signed(writer, at, secret)?
            }
        };
        self.authenticator = random;
        self.packet = packet.clone();
        Some(packet)
    }

    pub(super) fn sent(&mut self, now: Instant, server: ServerId, wait: Duration) {
        self.asked.push(server);
        (self.tries, self.wait) = (1, wait);
        self.again = now + wait;
    }

    pub(super) fn goes_on(&mut self, most: u32) -> Goes {
        if self.tries >= most {
            return Goes::Elsewhere;
        }
        self.tries = self.tries.saturating_add(1);
        Goes::Again(self.packet.clone())
    }

    pub(super) fn again_after(&mut self, now: Instant) {
        self.wait = self.wait.saturating_mul(2);
        self.again = now + self.wait;
    }
}

fn signed(writer: Writer, at: usize, secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    let mut packet = writer.finish()?;
    sign(&mut packet, at, secret);
    Some(packet)
}
