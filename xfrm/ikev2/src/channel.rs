//! The protected channel of an IKE_SA: keys, SPIs, path; sealing and opening of whole messages (RFC 7296 §3.14).

mod ciphers;

use core::fmt;

use adit_core::{Failure, FailureCode, Identity, Instant, Path, Secret, Step, TrafficSelector};
use adit_isakmp::crypto::SkCipher;
use adit_isakmp::keys::{Exchange, IkeKeys, skeyseed, skeyseed_rekey, skeyseed_resume};
use adit_isakmp::payload::Identification;
use adit_isakmp::sk::{self, OpenError, Opened};
use adit_isakmp::{ExchangeType, Flags, Header, IkeSuite, Message, Payload, PayloadType, Prf, VERSION_2};
use zeroize::Zeroizing;

use crate::api::{ResponderConfig, SaId};
use crate::fragments::{Assembly, Datagrams, Seen, least, limit};
use crate::intermediate::Intermediate;
use crate::linger::Answered;
use crate::natd::Nat;
use crate::ppk::Ppk;
use crate::selectors;
use crate::state::{Cx, Datagram, Role};
use crate::tickets::Name;
pub(crate) use ciphers::Ciphers;

/// What is needed to speak on an IKE_SA.
pub(crate) struct Channel {
    pub(crate) role: Role,
    pub(crate) spi_i: u64,
    pub(crate) spi_r: u64,
    pub(crate) path: Path,
    pub(crate) nat: Nat,
    /// When the last authentic message came.
    pub(crate) heard: Instant,
    /// Bytes of a message that the path takes; longer ones go in fragments. `None`: the peer can't put them together.
    limit: Option<u16>,
    /// A request and a response of the peer, of which fragments have come.
    assembling: [Option<Box<Assembly>>; 2],
    /// What a repetition of the message that was opened last is known by, if it came in fragments.
    pub(crate) fragmented: Option<[u8; 20]>,
    sealing: Box<dyn SkCipher>,
    opening: Box<dyn SkCipher>,
    /// What the peer's last request was opened with, where an additional key exchange has changed the keys since.
    previous: Option<Box<dyn SkCipher>>,
    counter: u64,
    /// SK_ei, SK_er, SK_ai and SK_ar, one after the other: for whoever goes on after this process.
    keys: Secret,
}

/// A message, and what IntAuth is made of (RFC 9242 §3.3.2).
pub(crate) struct Recorded {
    pub(crate) message: Message,
    pub(crate) whole: Zeroizing<Vec<u8>>,
}

/// What IKE_SA_INIT has agreed on, as both sides need it until AUTH is checked. It goes from state to state, boxed.
pub(crate) struct Handshake {
    pub(crate) channel: Channel,
    pub(crate) suite: IkeSuite,
    /// SK_d, SK_pi and SK_pr; the other keys are in the channel.
    pub(crate) keys: AuthKeys,
    pub(crate) nonce_i: Vec<u8>,
    pub(crate) nonce_r: Vec<u8>,
    /// The IKE_SA_INIT request as sent, which the initiator signs.
    pub(crate) message_i: Vec<u8>,
    /// The IKE_SA_INIT response as sent, which the responder signs.
    pub(crate) message_r: Vec<u8>,
    /// The peer's SIGNATURE_HASH_ALGORITHMS, if it sent any (RFC 7427 §4).
    pub(crate) peer_hashes: Option<Vec<u16>>,
    /// The authorities that the peer asks for a certificate of (CERTREQ).
    pub(crate) asked: Vec<[u8; 20]>,
    /// Which of our certificates we prove ourselves with.
    pub(crate) own: usize,
    /// The IKE_INTERMEDIATE exchanges so far.
    pub(crate) intermediate: Intermediate,
    /// Where the postquantum preshared key stands.
    pub(crate) ppk: Ppk,
    /// IDr, as an initiator has accepted it.
    pub(crate) responder: Option<Identification>,
    /// What it goes on from, where a session is resumed.
    pub(crate) resumed: Option<Box<Resumed>>,
    /// Exchanges of IKE_AUTH that are over: there are more than one only with EAP.
    pub(crate) rounds: u32,
}

/// What an IKE_SA has of the session that it resumes (RFC 5723).
pub(crate) struct Resumed {
    /// IDi and IDr as they were sent then.
    pub(crate) initiator: Identification,
    pub(crate) responder: Identification,
    /// A postquantum preshared key is in the keys.
    pub(crate) ppk: bool,
    /// When identities are to be proven again, of an initiator.
    pub(crate) reauthenticate_at: Option<Instant>,
    /// Of a responder: what it is to be.
    pub(crate) grant: Option<Grant>,
}

/// What a responder knows of a session that is being resumed.
pub(crate) struct Grant {
    pub(crate) ticket: Name,
    pub(crate) session: SaId,
    pub(crate) remote: Identity,
    pub(crate) config: Box<ResponderConfig>,
}

/// The keys that outlive IKE_SA_INIT.
pub(crate) struct AuthKeys {
    pub(crate) d: Secret,
    pub(crate) pi: Secret,
    pub(crate) pr: Secret,
}

/// What has been agreed in IKE_SA_INIT, in clear.
pub(crate) struct Agreed {
    pub(crate) role: Role,
    pub(crate) spi_i: u64,
    pub(crate) spi_r: u64,
    pub(crate) path: Path,
    pub(crate) nat: Nat,
    pub(crate) suite: IkeSuite,
    pub(crate) nonce_i: Vec<u8>,
    pub(crate) nonce_r: Vec<u8>,
    pub(crate) peer_hashes: Option<Vec<u16>>,
    /// Bytes of an IP packet that hold a fragment, where both sides do that (RFC 7383 §2.3).
    pub(crate) fragment_size: Option<u16>,
}

/// Why a datagram on an IKE_SA gave no message.
pub(crate) enum Unreadable {
    /// Not authentic, or not protected: as if it had never come.
    Forged,
    /// It is authentic, and a part of a message whose other parts are still to come.
    Incomplete,
    /// The peer itself made it, and it is malformed: INVALID_SYNTAX (RFC 7296 §2.21.3).
    Malformed(adit_core::DecodeError),
}

impl Handshake {
    /// Derives all keys (RFC 7296 §2.14). The messages are filled in by the caller.
    pub(crate) fn derive(cx: &Cx<'_>, agreed: Agreed, shared: &Secret) -> Result<Box<Self>, Failure> {
        let seed = skeyseed(&*cx.shared.crypto, agreed.suite.prf, &agreed.exchange(), shared);
        Self::from_seed(cx, agreed, &seed)
    }

    /// The same for an IKE_SA that replaces another (§2.18), whose prf and SK_d are `old`.
    pub(crate) fn succeed(
        cx: &Cx<'_>,
        agreed: Agreed,
        old: (Prf, &Secret),
        shared: &[Secret],
    ) -> Result<Box<Self>, Failure> {
        let seed = skeyseed_rekey(&*cx.shared.crypto, old.0, old.1, &agreed.exchange(), shared);
        Self::from_seed(cx, agreed, &seed)
    }

    /// The same for one that goes on from another's SK_d (RFC 5723 §5.1).
    pub(crate) fn resume(
        cx: &Cx<'_>,
        agreed: Agreed,
        old_sk_d: &Secret,
        resumed: Resumed,
    ) -> Result<Box<Self>, Failure> {
        let seed = skeyseed_resume(&*cx.shared.crypto, agreed.suite.prf, old_sk_d, &agreed.exchange());
        let mut handshake = Self::from_seed(cx, agreed, &seed)?;
        handshake.resumed = Some(Box::new(resumed));
        Ok(handshake)
    }

    /// Whether a postquantum preshared key is in its keys.
    pub(crate) fn has_ppk(&self) -> bool {
        matches!(self.ppk, Ppk::Mixed) || self.resumed.as_ref().is_some_and(|resumed| resumed.ppk)
    }

    fn from_seed(cx: &Cx<'_>, agreed: Agreed, seed: &Secret) -> Result<Box<Self>, Failure> {
        let crypto = &*cx.shared.crypto;
        let suite = agreed.suite;
        let keys = IkeKeys::derive(crypto, &suite, seed, &agreed.exchange()).map_err(internal)?;
        let (ciphers, auth) = Ciphers::of(crypto, &suite, agreed.role, keys).map_err(internal)?;
        let Ciphers { sealing, opening, keys } = ciphers;
        Ok(Box::new(Self {
            channel: Channel {
                role: agreed.role,
                spi_i: agreed.spi_i,
                spi_r: agreed.spi_r,
                path: agreed.path,
                nat: agreed.nat,
                heard: cx.now,
                // [7383:2.4-1]
                limit: agreed.fragment_size.map(|size| limit(agreed.path, size)),
                assembling: [None, None],
                fragmented: None,
                sealing,
                opening,
                previous: None,
                counter: 0,
                keys,
            },
            suite,
            keys: auth,
            nonce_i: agreed.nonce_i,
            nonce_r: agreed.nonce_r,
            message_i: Vec::new(),
            message_r: Vec::new(),
            peer_hashes: agreed.peer_hashes,
            asked: Vec::new(),
            own: 0,
            intermediate: Intermediate::default(),
            // [8784:3-14]
            ppk: Ppk::Off,
            responder: None,
            resumed: None,
            rounds: 0,
        }))
    }
}

impl Agreed {
    fn exchange(&self) -> Exchange<'_> {
        Exchange {
            initiator_nonce: &self.nonce_i,
            responder_nonce: &self.nonce_r,
            initiator_spi: self.spi_i,
            responder_spi: self.spi_r,
        }
    }
}

pub(crate) fn internal(error: impl fmt::Display) -> Failure {
    Failure::new(
        FailureCode::Internal,
        Step::IkeInit,
        format!("deriving the keys of the IKE_SA failed: {error}"),
    )
}

impl Channel {
    /// Our traffic selectors for transport mode, ours and the peer's: its packets have the two addresses of the IKE_SA, whatever
    /// was written.
    pub(crate) fn outer(
        &self,
        ours: &[TrafficSelector],
        theirs: &[TrafficSelector],
    ) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
        // [7296:2.23.1-2]
        let ours = selectors::at(ours, self.path.local.ip());
        // [7296:2.23.1-3]
        let theirs = selectors::at(theirs, self.path.remote.ip());
        (ours, theirs)
    }

    /// The peer's traffic selectors for transport mode, ours and its own, as they are on this side of a NAT (RFC 7296
    /// §2.23.1). `None`: it names several addresses on a side that has a NAT in front.
    pub(crate) fn translate(
        &self,
        ours: Vec<TrafficSelector>,
        theirs: Vec<TrafficSelector>,
    ) -> Option<(Vec<TrafficSelector>, Vec<TrafficSelector>)> {
        // [7296:2.23.1-2]
        let theirs = match self.nat.remote {
            true => selectors::translated(&theirs, self.path.remote.ip())?,
            false => theirs,
        };
        // [7296:2.23.1-3]
        let ours = match self.nat.local {
            true => selectors::translated(&ours, self.path.local.ip())?,
            false => ours,
        };
        Some((ours, theirs))
    }

    /// Protects a message of ours.
    pub(crate) fn seal(
        &mut self,
        cx: &mut Cx<'_>,
        exchange: ExchangeType,
        message_id: u32,
        response: bool,
        payloads: &[Payload],
    ) -> Result<Datagrams, Failure> {
        let header = self.header(exchange, message_id, response);
        let limit = self.limit.map_or(usize::MAX, usize::from);
        let (sealing, counter) = (&*self.sealing, &mut self.counter);
        let iv = || {
            let mut iv = vec![0; sealing.iv_len()];
            // [7296:3.14-3]
            if sealing.iv_is_random() {
                cx.shared.entropy.public(&mut iv);
            } else {
                *counter = counter.wrapping_add(1);
                for (to, from) in iv.iter_mut().rev().zip(counter.to_le_bytes()) {
                    *to = from;
                }
            }
            iv
        };
        sk::seal_within(&header, payloads, sealing, limit, iv).map(Datagrams::new).map_err(|error| {
            Failure::new(
                FailureCode::Internal,
                Step::Established,
                format!("a message could not be written: {error}"),
            )
            .hint("certificates and traffic selectors of one message must fit in 64 kB")
        })
    }

    const fn header(&self, exchange: ExchangeType, message_id: u32, response: bool) -> Header {
        Header {
            initiator_spi: self.spi_i,
            responder_spi: self.spi_r,
            // [7296:2.5-4] [7296:3.1-4] [7296:3.1-7]
            version: VERSION_2,
            exchange,
            // [7296:3.1-10] [7296:3.1-13]
            flags: Flags::of(matches!(self.role, Role::Initiator), response),
            message_id,
        }
    }

    /// What IntAuth is made of, of a message of ours.
    pub(crate) fn whole(
        &self,
        exchange: ExchangeType,
        message_id: u32,
        response: bool,
        payloads: &[Payload],
    ) -> Zeroizing<Vec<u8>> {
        let header = self.header(exchange, message_id, response);
        sk::payloads_as_whole(&header, payloads).unwrap_or_default()
    }

    /// Goes on with other keys. Those until now are still good for knowing a request that was answered.
    pub(crate) fn change_keys(&mut self, new: Ciphers) {
        self.sealing = new.sealing;
        self.previous = Some(core::mem::replace(&mut self.opening, new.opening));
        self.keys = new.keys;
        self.counter = 0;
        self.assembling = [None, None];
    }

    /// Opens a message of the peer, or takes a part of one. Only what this returns may be believed to come from who has
    /// the keys. The caller has checked that the Message ID is the one whose turn it is.
    pub(crate) fn open(&mut self, cx: &mut Cx<'_>, datagram: &mut Datagram) -> Result<Message, Unreadable> {
        self.open_recorded(cx, datagram).map(|recorded| recorded.message)
    }

    /// [`Self::open`], with what the message was made of.
    pub(crate) fn open_recorded(
        &mut self,
        cx: &mut Cx<'_>,
        datagram: &mut Datagram,
    ) -> Result<Recorded, Unreadable> {
        self.fragmented = None;
        let digest =
            (sk::fragment_number(&datagram.bytes) == Some(1)).then(|| Answered::digest(cx, &datagram.bytes));
        let seen = Seen { digest, longest: datagram.bytes.len() };
        let opened = self.open_any(cx, datagram)?;
        let [requests, responses] = &mut self.assembling;
        let place = if datagram.is_response { responses } else { requests };
        let fragment = match opened {
            // Whole messages win (RFC 7383 §2.6).
            Opened::Message(message, inner) => {
                *place = None;
                let content = datagram.bytes.get(inner.content).unwrap_or_default();
                return Ok(recorded(message, inner.first, inner.reserved, content));
            }
            Opened::Fragment(fragment) => fragment,
        };
        let whole = Assembly::add(place, cx.now, fragment, seen).ok_or(Unreadable::Incomplete)?;
        self.fragmented = whole.seen.digest;
        // What came through is a hint at what goes through.
        let through = u16::try_from(whole.seen.longest).unwrap_or(u16::MAX).max(least(self.path));
        self.limit = self.limit.map(|limit| limit.min(through));
        sk::read(whole.header, whole.first, &whole.content, 0)
            .map(|message| recorded(message, whole.first, whole.reserved, &whole.content))
            .map_err(Unreadable::Malformed)
    }

    fn open_any(&mut self, cx: &mut Cx<'_>, datagram: &mut Datagram) -> Result<Opened, Unreadable> {
        match sk::open_any(&mut datagram.bytes, &*self.opening) {
            Ok(opened) => {
                self.heard = cx.now;
                self.previous = None;
                Ok(opened)
            }
            Err(OpenError::Inner(error)) => {
                self.heard = cx.now;
                self.previous = None;
                Err(Unreadable::Malformed(error))
            }
            // [7383:2.6-1] [7383:2.6-3]
            Err(OpenError::Outer(_) | OpenError::Crypto(_)) => {
                cx.shared.counters.forged = cx.shared.counters.forged.saturating_add(1);
                Err(Unreadable::Forged)
            }
        }
    }

    /// Whether this is, authentically, the first fragment of a message: of one that was answered it brings the answer
    /// again, also where the peer has cut it anew (RFC 7383 §2.6.1).
    pub(crate) fn is_first_fragment(&mut self, cx: &mut Cx<'_>, datagram: &mut Datagram) -> bool {
        // [7383:2.6.1-1] [7383:2.6.1-2]
        if sk::fragment_number(&datagram.bytes) != Some(1) {
            return false;
        }
        match self.previous.take() {
            Some(previous) => {
                let opened = sk::open_any(&mut datagram.bytes, &*previous);
                self.previous = Some(previous);
                matches!(opened, Ok(Opened::Fragment(_)))
            }
            None => matches!(self.open_any(cx, datagram), Ok(Opened::Fragment(_))),
        }
    }

    /// Cuts messages smaller from now on, as small as makes sense. `false`: they were already, or are never cut.
    pub(crate) fn cut_smaller(&mut self) -> bool {
        let least = least(self.path);
        // [7383:2.5.2-2] [7383:2.5.2-4]
        match &mut self.limit {
            Some(limit) if *limit > least => {
                *limit = least;
                true
            }
            _ => false,
        }
    }

    /// Goes over another path from now on; what is cut fits there too.
    pub(crate) fn go_over(&mut self, path: Path) {
        if self.path.remote.is_ipv4() && path.remote.is_ipv6() {
            let longer = limit(self.path, u16::MAX).saturating_sub(limit(path, u16::MAX));
            self.limit = self.limit.map(|limit| limit.saturating_sub(longer).max(least(path)));
        }
        self.path = path;
    }

    /// What was found out about the path and the peer goes on (RFC 7383 §2.3: once for an IKE_SA and all its rekeys).
    pub(crate) const fn inherit(&mut self, old: &Self) {
        self.limit = old.limit;
    }

    /// Forgets fragments whose others have not come in time.
    pub(crate) fn tidy(&mut self, cx: &Cx<'_>) {
        for place in &mut self.assembling {
            // [7383:2.6-5]
            place.take_if(|a| a.until() <= cx.now);
        }
    }

    /// When that is due.
    pub(crate) fn tidy_at(&self) -> Option<Instant> {
        self.assembling.iter().flatten().map(|a| a.until()).min()
    }

    /// The peer's SPI.
    pub(crate) const fn peer_spi(&self) -> u64 {
        match self.role {
            Role::Initiator => self.spi_r,
            Role::Responder => self.spi_i,
        }
    }
}

/// A message that could be read fits its length fields.
fn recorded(message: Message, first: PayloadType, reserved: u8, content: &[u8]) -> Recorded {
    let whole = sk::as_whole(&message.header, first, reserved, content).unwrap_or_default();
    Recorded { message, whole }
}
