//! One protected IKE_SA: its channel, its window of one in each direction (RFC 7296 §2.3), and what its keys make.
//!
//! An [`Ike`](super::Ike) has one, and beside it for a short time those that it was rekeyed from or to (§2.8).

use core::time::Duration;

use adit_core::{Failure, Instant, Path, Secret};
use adit_isakmp::{ExchangeType, IkeSuite, Payload};

use super::paths::Echo;
use crate::api::{AskId, Timing};
use crate::channel::Channel;
use crate::linger::Answered;
use crate::request::{Request, Retry};
use crate::state::{Cx, Role};
use crate::task::{Job, Running};

/// RFC 7296 §2.2: Message IDs never wrap. From here on the IKE_SA is to be rekeyed.
const MANY_MESSAGES: u32 = 1 << 31;

/// RFC 7296 §2.1: a response may be forgotten after several minutes.
const REMEMBERED: Duration = Duration::from_secs(300);

/// One IKE_SA.
pub(crate) struct Sa {
    pub(crate) channel: Channel,
    pub(crate) suite: IkeSuite,
    /// SK_d: what CHILD_SAs' keys and the next IKE_SA's are made from.
    pub(crate) sk_d: Secret,
    /// Message ID of our next request.
    pub(crate) next_id: u32,
    /// Message ID of the peer's next request.
    pub(crate) expected: u32,
    pub(crate) current: Option<Box<Current>>,
    pub(crate) answering: Option<Box<Answering>>,
    pub(crate) answered: Option<(Answered, Instant)>,
    /// The last response may come again, over other paths.
    pub(super) echo: Option<Box<Echo>>,
}

/// What we are doing: one exchange at a time.
pub(crate) struct Current {
    pub(crate) running: Running,
    pub(crate) waits: Waits,
}

/// What it waits for.
pub(crate) enum Waits {
    /// The response to this request.
    Response(ExchangeType, Request),
    /// The answer to an Ask, until then.
    Answer(AskId, Instant),
}

/// What we are about to answer.
pub(crate) struct Answering {
    pub(crate) asked: Asked,
    pub(crate) job: Job,
    pub(crate) waits: AskId,
    /// Then the peer is told to come back later.
    pub(crate) until: Instant,
}

/// A request of the peer, as its response needs it.
pub(crate) struct Asked {
    pub(crate) message_id: u32,
    pub(crate) digest: [u8; 20],
    pub(crate) path: Path,
    pub(crate) exchange: ExchangeType,
}

impl Sa {
    /// One on which nothing has been said yet.
    pub(crate) const fn new(channel: Channel, suite: IkeSuite, sk_d: Secret) -> Self {
        // [7296:2.18-3]
        Self {
            channel,
            suite,
            sk_d,
            next_id: 0,
            expected: 0,
            current: None,
            answering: None,
            answered: None,
            echo: None,
        }
    }

    /// Our SPI.
    pub(crate) const fn our_spi(&self) -> u64 {
        match self.channel.role {
            Role::Initiator => self.channel.spi_i,
            Role::Responder => self.channel.spi_r,
        }
    }

    /// Whether its Message IDs are coming to an end.
    pub(crate) fn is_worn(&self) -> bool {
        // [7296:2.2-2]
        self.next_id.max(self.expected) >= MANY_MESSAGES
    }

    /// Whether they have.
    pub(crate) fn is_spent(&self) -> bool {
        // [7296:2.2-2]
        self.next_id.max(self.expected) == u32::MAX
    }

    /// Sends a request of ours.
    pub(crate) fn send(
        &mut self,
        cx: &mut Cx<'_>,
        running: Running,
        exchange: ExchangeType,
        payloads: Vec<Payload>,
        timing: &Timing,
    ) -> Result<(), Failure> {
        let what = (exchange, self.next_id);
        // [7296:1.4-2] [7296:1.4-3]
        let request = Request::seal_and_send(cx, &mut self.channel, what, payloads, timing)?;
        self.current = Some(Box::new(Current { running, waits: Waits::Response(exchange, request) }));
        Ok(())
    }

    /// Sends the response to `asked`, and keeps it.
    pub(crate) fn respond(
        &mut self,
        cx: &mut Cx<'_>,
        asked: &Asked,
        payloads: &[Payload],
    ) -> Result<(), Failure> {
        let response = self.channel.seal(cx, asked.exchange, asked.message_id, true, payloads)?;
        // [7296:1.4-4] [7296:4-5]
        response.transmit(cx, asked.path);
        // [7296:2.1-4] [7296:2.3-7]
        self.answered = Some((Answered::new(asked.message_id, asked.digest, response), cx.now));
        Ok(())
    }

    /// Whether a response with this Message ID and of this exchange is what we wait for.
    pub(crate) fn awaits(&self, message_id: u32, exchange: ExchangeType) -> bool {
        let waits = self.current.as_deref().map(|c| &c.waits);
        message_id == self.next_id && matches!(waits, Some(Waits::Response(ours, _)) if *ours == exchange)
    }

    /// When our request was sent first.
    pub(crate) fn asked_at(&self) -> Option<Instant> {
        match self.current.as_deref()?.waits {
            Waits::Response(_, ref request) => Some(request.first_sent()),
            Waits::Answer(..) => None,
        }
    }

    /// The request on its way.
    fn request(&mut self) -> Option<&mut Request> {
        match &mut self.current.as_deref_mut()?.waits {
            Waits::Response(_, request) => Some(request),
            Waits::Answer(..) => None,
        }
    }

    /// Sends the request on its way over the path in use, as if it were new. `false`: there is none.
    pub(super) fn resend(&mut self, cx: &mut Cx<'_>, timing: &Timing) -> bool {
        let path = self.channel.path;
        self.request().map(|request| request.resend(cx, path, timing)).is_some()
    }

    /// Sends it over these paths too. `false`: there is none.
    pub(super) fn also(&mut self, cx: &mut Cx<'_>, paths: &[Path]) -> bool {
        let Some(request) = self.request() else { return false };
        paths.iter().for_each(|path| request.also(cx, *path));
        true
    }

    /// It is not sent again by itself.
    pub(super) fn rest(&mut self) {
        if let Some(request) = self.request() {
            request.rest();
        }
    }

    /// Whether that is so.
    pub(super) fn rests(&mut self) -> bool {
        self.request().is_some_and(|request| request.rests())
    }

    /// Whether it will not be sent again soon, and has been before.
    pub(super) fn hesitates(&mut self, now: Instant, timing: &Timing) -> bool {
        self.request().is_some_and(|request| request.hesitates(now, timing))
    }

    /// Over which paths it went, and when.
    pub(super) fn sent_over(&mut self) -> Vec<(Path, Instant)> {
        self.request().map(|request| request.over().to_vec()).unwrap_or_default()
    }

    /// How often it was sent, the first time included.
    pub(super) fn times_sent(&mut self) -> u32 {
        self.request().map_or(0, |request| request.sent())
    }

    /// The response that we wait for has come.
    pub(crate) fn answered_by_peer(&mut self) -> Option<Running> {
        self.next_id = self.next_id.wrapping_add(1);
        self.current.take().map(|c| c.running)
    }

    /// Sends the request again if that is due. `true`: it was sent.
    pub(crate) fn wake(&mut self, cx: &mut Cx<'_>) -> (Retry, bool) {
        self.answered.take_if(|(_, at)| *at + REMEMBERED <= cx.now);
        self.channel.tidy(cx);
        match self.current.as_deref_mut() {
            Some(Current { waits: Waits::Response(_, request), .. }) => {
                let before = request.sent();
                let retry = request.wake_on(cx, &mut self.channel);
                (retry, request.sent() != before)
            }
            _ => (Retry::Waiting, false),
        }
    }

    /// What we do, if it waits for this answer, or for one that did not come in time.
    pub(crate) fn take_current(&mut self, which: impl Fn(AskId, Instant) -> bool) -> Option<Running> {
        let waits = |c: &mut Box<Current>| matches!(c.waits, Waits::Answer(id, until) if which(id, until));
        self.current.take_if(waits).map(|c| c.running)
    }

    /// What we answer, likewise.
    pub(crate) fn take_answering(
        &mut self,
        which: impl Fn(AskId, Instant) -> bool,
    ) -> Option<Box<Answering>> {
        self.answering.take_if(|a| which(a.waits, a.until))
    }

    /// When an Ask, or the rest of a message, has taken too long.
    pub(crate) fn gives_up_at(&self) -> Option<Instant> {
        let current = match self.current.as_deref().map(|c| &c.waits) {
            Some(Waits::Answer(_, until)) => Some(*until),
            Some(Waits::Response(..)) | None => None,
        };
        let answering = self.answering.as_ref().map(|a| a.until);
        [current, answering, self.channel.tidy_at()].into_iter().flatten().min()
    }

    /// When the request is to be sent again.
    pub(crate) fn retransmits_at(&self) -> Option<Instant> {
        match self.current.as_deref()?.waits {
            Waits::Response(_, ref request) => Some(request.deadline()),
            Waits::Answer(..) => None,
        }
    }
}
