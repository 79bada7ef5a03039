//! Who may begin: a first message has no cookie of ours, and nothing proves who has sent it.

use std::sync::Arc;

use core::time::Duration;

use adit_core::{Failure, Instant, Path, Transmit};
use adit_isakmp::v1::proposal::{ChosenIke, choose_ike};
use adit_isakmp::v1::{Message, NotifyKind, Payload, flags};
use adit_isakmp::{ExchangeType, Flags};

use super::Endpoint;
use crate::api::{Event, Output, ResponderDefaults, SaId};
use crate::channel::{clear, header};
use crate::dialled::{self, Dialled};
use crate::explain;
use crate::responder::{Responder, error};
use crate::state::{Datagram, Next, State};

/// A first message is kept until its sender has proven itself; what is longer is none.
const MAX_FIRST: usize = 8 * 1024;
/// A first message that nobody can use is told of so often.
const REFUSAL: Duration = Duration::from_secs(1);

impl Endpoint {
    /// A message without a responder's cookie: of a client, or of somebody whom we have dialled.
    pub(super) fn first_message(&mut self, now: Instant, datagram: Datagram) {
        let (header, path) = (datagram.header, datagram.path);
        let heard = |d: &Arc<ResponderDefaults>| {
            d.addresses.is_empty() || d.addresses.contains(&path.local.ip().to_canonical())
        };
        let defaults = self.responder.clone().filter(heard);
        // What we have said ourselves may come back.
        let own = self.cookies.contains_key(&header.initiator_spi);
        let known = self.dialled(path).filter(|_| !own);
        if defaults.is_none() && known.is_none() {
            return self.stray();
        }
        // [2409:5.4-2] [2408:5.2-3]
        if header.exchange != ExchangeType::IDENTITY_PROTECTION || header.flags.contains(flags::ENCRYPTION) {
            return self.refused();
        }
        let address = path.remote.ip();
        if let Some(key) = self.half_open.find(header.initiator_spi, address) {
            return self.step(now, key, |state, cx| state.datagram(cx, datagram));
        }
        let crowd = self.half_open.of(address);
        let defaults = defaults.filter(|d| crowd < d.half_open_per_address && self.up < d.limit);
        let known = known.filter(|_| crowd < dialled::MOST);
        if datagram.bytes.len() > MAX_FIRST || (defaults.is_none() && known.is_none()) {
            return self.refused();
        }
        let Ok(message) = Message::parse(&datagram.bytes, false) else {
            return self.stray();
        };
        let sa = message.iter().find_map(|p| if let Payload::Sa(sa) = p { Some(sa) } else { None });
        let Some(sa) = sa else {
            return self.stray();
        };
        let choose = |d: &ResponderDefaults| choose_ike(&d.ike, &d.auths, sa);
        let no = match defaults.map(|d| (choose(&d), d)) {
            Some((Ok(chosen), defaults)) => {
                return self.let_in(now, (&datagram, &message), (defaults, None), chosen);
            }
            Some((Err(no), _)) => Some(explain::no_ike_proposal(path.remote, &no)),
            None => None,
        };
        if let Some((sa, known)) = known {
            let defaults = known.defaults();
            if let Ok(chosen) = choose(&defaults) {
                let meets = (Arc::new(defaults), Some((sa, known)));
                return self.let_in(now, (&datagram, &message), meets, chosen);
            }
        }
        self.no_proposal(now, &datagram, no);
    }

    /// The connection that whoever dials by this path may make a new ISAKMP SA for: of several, the one whose turn it is.
    fn dialled(&self, path: Path) -> Option<(SaId, Dialled)> {
        let (there, here) = (path.remote.ip(), path.local.ip());
        let all = self.dialled.range((there, 0)..=(there, usize::MAX));
        let found = all.filter_map(|(_, key)| {
            let slot = self.slots.get(*key)?;
            let State::Up(up) = slot.state.as_ref()? else { return None };
            let (since, known) = up.dialled(here)?;
            let renewed = self.heirs.range((slot.sa, 0)..=(slot.sa, usize::MAX)).next().is_some();
            Some(((renewed, since), (slot.sa, known)))
        });
        found.min_by_key(|(turn, _)| *turn).map(|(_, found)| found)
    }

    fn let_in(
        &mut self,
        now: Instant,
        first: (&Datagram, &Message),
        (defaults, known): (Arc<ResponderDefaults>, Option<(SaId, Dialled)>),
        chosen: ChosenIke,
    ) {
        let limit = self.responder.as_ref().map(|d| d.half_open_limit);
        if limit.is_some_and(|limit| !self.make_room(now, limit)) {
            return self.refused();
        }
        let whose = (first.0.header.initiator_spi, first.0.path.remote.ip());
        let (heir_of, known) = known.unzip();
        let (key, cookie) = self.open(Some(whose), heir_of);
        self.run(now, key, |cx| Responder::begin(cx, (defaults, known), first, (chosen, cookie)));
    }

    /// Where there are too many half-open ones, the oldest goes whose peer has not answered.
    fn make_room(&mut self, now: Instant, limit: usize) -> bool {
        if self.half_open.len() < limit {
            return true;
        }
        let Some(oldest) = self.half_open.oldest() else {
            return false;
        };
        self.shared.counters.evicted = self.shared.counters.evicted.saturating_add(1);
        self.step(now, oldest, |_, _| Next::failed(explain::half_open(adit_core::Step::IkeInit)));
        true
    }

    /// Nothing of an offer is acceptable: the peer hears it, and so does whoever reads the log, once a second.
    fn no_proposal(&mut self, now: Instant, datagram: &Datagram, failure: Option<Failure>) {
        self.refused();
        let cookies = (datagram.header.initiator_spi, self.shared.entropy.public_u64().max(1));
        let header = header(cookies, ExchangeType::INFORMATIONAL_V1, Flags(0), 0);
        // [2408:5.4-1]
        if let Ok(payload) = clear(&header, &[error(NotifyKind::NO_PROPOSAL_CHOSEN)])
            && payload.len() <= datagram.bytes.len()
        {
            let path = datagram.path;
            self.shared.out.push_back(Output::Transmit(Transmit { path, payload }));
        }
        if let Some(failure) = failure
            && self.refused_at.is_none_or(|at| now.since(at) >= REFUSAL)
        {
            self.refused_at = Some(now);
            let sa = SaId(self.shared.fresh_id(usize::MAX));
            self.shared.out.push_back(Output::Event { sa, event: Event::Closed(Err(failure)) });
        }
    }
}
