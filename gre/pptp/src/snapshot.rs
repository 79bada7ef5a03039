//! A control connection whose calls are up as octets, for whoever goes on with it after this process.
//!
//! Big-endian: a version, which end we are, the last number that was given, and the calls. It holds no secret. Only one that
//! stands is handed on: nothing is set up or ended. Whether the peer is there is asked at once.

use adit_core::Instant;

use crate::api::{CallNumber, Config, Role};
use crate::control::{Call, CallState, Control, Phase};

/// What is known of this form. Any other is refused.
const VERSION: u8 = 1;
/// Octets of one call.
const CALL: usize = 12;

/// A call that goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RestoredCall {
    /// Which one.
    pub call: CallNumber,
    /// Our call ID.
    pub local: u16,
    /// The peer's.
    pub peer: u16,
}

impl Control {
    /// It as octets, for [`Control::restore`]. `None`: nobody could go on from here, also where a message has come in part only
    /// (see [`whole`](crate::wire::whole)).
    #[must_use]
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        let idle =
            self.asks.is_empty() && self.out.is_empty() && self.received.is_empty() && self.until.is_none();
        (self.phase == Phase::Established && idle && !self.calls.is_empty()).then_some(())?;
        let mut out = vec![VERSION, u8::from(self.config.role == Role::Pac)];
        out.extend(self.last.to_be_bytes());
        for (number, call) in &self.calls {
            let up = call.state == CallState::Up;
            let (local, peer) = (call.local.filter(|_| up)?, call.peer?);
            out.extend(number.0.to_be_bytes());
            out.extend(local.to_be_bytes());
            out.extend(peer.to_be_bytes());
        }
        Some(out)
    }

    /// Goes on with one that was left as these octets, under the same configuration.
    ///
    /// `None`: they are damaged, or of another form.
    #[must_use]
    pub fn restore(now: Instant, config: Config, octets: &[u8]) -> Option<(Self, Vec<RestoredCall>)> {
        let ([version, role], rest) = octets.split_first_chunk::<2>()?;
        let (last, rest) = rest.split_first_chunk::<8>()?;
        let last = u64::from_be_bytes(*last);
        let pac = u8::from(config.role == Role::Pac);
        (*version == VERSION && *role == pac).then_some(())?;
        let (calls, []) = rest.as_chunks::<CALL>() else { return None };
        let most = if config.role == Role::Pac { config.calls } else { 1 };
        ((1..=most).contains(&calls.len())).then_some(())?;
        let mut control = Self::new(config);
        let mut restored: Vec<RestoredCall> = Vec::new();
        for octets in calls {
            let (number, ids) = octets.split_first_chunk::<8>()?;
            let [l0, l1, p0, p1] = *<&[u8; 4]>::try_from(ids).ok()?;
            let (local, peer) = (u16::from_be_bytes([l0, l1]), u16::from_be_bytes([p0, p1]));
            let call = CallNumber(u64::from_be_bytes(*number));
            let known = restored.last().is_some_and(|before| before.call >= call)
                || restored.iter().any(|before| before.local == local || before.peer == peer);
            (local != 0 && call.0 <= last && !known).then_some(())?;
            let up = Call { state: CallState::Up, local: Some(local), peer: Some(peer), until: None };
            control.calls.insert(call, up);
            restored.push(RestoredCall { call, local, peer });
        }
        (control.phase, control.last, control.echo) = (Phase::Established, last, Some(now));
        Some((control, restored))
    }
}
