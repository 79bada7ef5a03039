//! What a host asks of DHCPv6 servers that keep no state (RFC 8415 §18.2.6): DNS servers, where a router says that there is more
//! to know. It does not say who it is (RFC 7844): whoever answers needs not know.

use core::net::Ipv6Addr;
use core::time::Duration;

use adit_core::{Entropy, Instant};

use crate::router::share;
use crate::wire::Dhcpv6Message;

/// INF_MAX_DELAY, INF_TIMEOUT, INF_MAX_RT (RFC 8415 §7.6).
const MOST_DELAY: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: u32 = 3600;
/// What a server may make of INF_MAX_RT, in seconds (§21.25).
const LAST_PAUSES: core::ops::RangeInclusive<u32> = 60..=86_400;
/// IRT_DEFAULT and IRT_MINIMUM: what was told is asked again after so long (§21.23).
const REFRESH: u32 = 86_400;
const LEAST_REFRESH: u32 = 600;
/// It never changes.
const FOR_EVER: u32 = u32::MAX;

/// One question after the other.
#[derive(Debug)]
pub(super) struct Information {
    transaction: [u8; 3],
    /// When this question was first asked. `None`: it has been answered, or is still to come.
    begun: Option<Instant>,
    /// When it is asked again. `None`: never.
    at: Option<Instant>,
    /// What it has waited last, and waits at most, the latter in seconds.
    pause: Duration,
    most: u32,
}

impl Information {
    /// The first question comes a little later: others may have heard the same router. [8415:18.2.6-1]
    pub(super) fn new(now: Instant, entropy: &mut dyn Entropy) -> Self {
        let at = Some(now + share(entropy, MOST_DELAY));
        Self { transaction: [0; 3], begun: None, at, pause: FIRST_PAUSE, most: LAST_PAUSE }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.at
    }

    /// The question, if it is time to ask. [8415:15-1]
    pub(super) fn wake(&mut self, now: Instant, entropy: &mut dyn Entropy) -> Option<Vec<u8>> {
        self.at.filter(|at| *at <= now)?;
        let wait = match self.begun {
            None => {
                entropy.public(&mut self.transaction);
                FIRST_PAUSE
            }
            Some(_) => (self.pause * 2).min(Duration::from_secs(self.most.into())),
        };
        let begun = *self.begun.get_or_insert(now);
        // A tenth more or less, so that not all come at once.
        self.pause = wait - wait / 10 + share(entropy, wait / 5);
        self.at = Some(now + self.pause);
        Some(self.request(now.since(begun)))
    }

    /// [8415:18.2.6-2] [8415:18.2.6-3]
    fn request(&self, elapsed: Duration) -> Vec<u8> {
        type Message<'a> = Dhcpv6Message<'a>;
        let hundredths = u16::try_from(elapsed.as_millis() / 10).unwrap_or(u16::MAX).to_be_bytes();
        let wanted = [Message::DNS_SERVERS, Message::REFRESH_TIME, Message::INF_MAX_RT];
        let wanted: Vec<u8> = wanted.iter().flat_map(|code| code.to_be_bytes()).collect();
        let options = vec![(Message::OPTION_REQUEST, &*wanted), (Message::ELAPSED_TIME, &hundredths)];
        Message { kind: Message::INFORMATION_REQUEST, transaction: self.transaction, options }.emit()
    }

    /// The DNS servers that an answer names, if it is one to what is asked. [8415:16.10-1]
    pub(super) fn told(&mut self, now: Instant, octets: &[u8]) -> Option<Vec<Ipv6Addr>> {
        type Message<'a> = Dhcpv6Message<'a>;
        self.begun?;
        let said = Message::parse(octets).ok()?;
        let ours = said.kind == Message::REPLY && said.transaction == self.transaction;
        // What names a client answers somebody else.
        if !ours || said.option(Message::SERVER_ID).is_none() || said.option(Message::CLIENT_ID).is_some() {
            return None;
        }
        let seconds = |code| Some(u32::from_be_bytes(<[u8; 4]>::try_from(said.option(code)?).ok()?));
        if let Some(most) = seconds(Message::INF_MAX_RT).filter(|most| LAST_PAUSES.contains(most)) {
            self.most = most;
        }
        let refresh = seconds(Message::REFRESH_TIME).unwrap_or(REFRESH);
        self.begun = None;
        self.at =
            (refresh != FOR_EVER).then(|| now + Duration::from_secs(u64::from(refresh.max(LEAST_REFRESH))));
        let servers = said.option(Message::DNS_SERVERS).unwrap_or_default();
        Some(servers.as_chunks::<16>().0.iter().map(|octets| Ipv6Addr::from(*octets)).collect())
    }
}
