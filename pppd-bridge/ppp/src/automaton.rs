//! The option negotiation automaton (RFC 1661 §4.1) as one table, for LCP and every NCP. `docs/ppp-automaton.dot` is
//! [`dot`], and a test holds it to that.

use Action::{
    InitRestartCount as Irc, LayerDown as Tld, LayerFinished as Tlf, LayerStarted as Tls, LayerUp as Tlu,
    SendCodeReject as Scj, SendConfigureAck as Sca, SendConfigureNak as Scn, SendConfigureRequest as Scr,
    SendEchoReply as Ser, SendTerminateAck as Sta, SendTerminateRequest as Str, ZeroRestartCount as Zrc,
};
use State::{
    AckReceived, AckSent, Closed, Closing, Initial, Opened, RequestSent, Starting, Stopped, Stopping,
};

/// A state (RFC 1661 §4.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// The lower layer is down, and nobody wants this one.
    Initial,
    /// The lower layer is down, and this one is wanted.
    Starting,
    /// The lower layer is up, and nobody wants this one.
    Closed,
    /// Negotiation came to an end; the peer may begin again.
    Stopped,
    /// We are ending it.
    Closing,
    /// The peer is ending it.
    Stopping,
    /// Our request is out.
    RequestSent,
    /// The peer has agreed to ours.
    AckReceived,
    /// We have agreed to the peer's.
    AckSent,
    /// Both have agreed.
    Opened,
}

/// Something that happens (RFC 1661 §4.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Event {
    /// The lower layer is up.
    Up,
    /// The lower layer is down.
    Down,
    /// This layer is wanted.
    Open,
    /// This layer is not wanted any more.
    Close,
    /// The restart timer ran out, and there are tries left.
    TimeoutAgain,
    /// The restart timer ran out, and there are none.
    TimeoutLast,
    /// A good Configure-Request.
    ReceiveGoodRequest,
    /// A Configure-Request that is to be answered by Nak or Reject.
    ReceiveBadRequest,
    /// A Configure-Ack.
    ReceiveAck,
    /// A Configure-Nak or Configure-Reject.
    ReceiveNak,
    /// A Terminate-Request.
    ReceiveTerminateRequest,
    /// A Terminate-Ack.
    ReceiveTerminateAck,
    /// A packet with an unknown code.
    ReceiveUnknownCode,
    /// A Code-Reject or Protocol-Reject that can be lived with.
    ReceivePermittedReject,
    /// One that can't.
    ReceiveCatastrophicReject,
    /// An Echo-Request, Echo-Reply or Discard-Request.
    ReceiveEcho,
}

/// Something to do (RFC 1661 §4.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Action {
    /// Tell the upper layers that this one is up.
    LayerUp,
    /// Tell them that it is down.
    LayerDown,
    /// Tell the lower layer that it is needed.
    LayerStarted,
    /// Tell it that it is not.
    LayerFinished,
    /// The restart counter begins at its maximum.
    InitRestartCount,
    /// The restart counter is zero: wait once, and send nothing.
    ZeroRestartCount,
    /// Send a Configure-Request.
    SendConfigureRequest,
    /// Send a Configure-Ack.
    SendConfigureAck,
    /// Send a Configure-Nak or Configure-Reject.
    SendConfigureNak,
    /// Send a Terminate-Request.
    SendTerminateRequest,
    /// Send a Terminate-Ack.
    SendTerminateAck,
    /// Send a Code-Reject.
    SendCodeReject,
    /// Send an Echo-Reply.
    SendEchoReply,
}

/// What to do, and the state afterwards. `None`: it can't happen, or does not count there.
type Cell = Option<(&'static [Action], State)>;

const fn to(actions: &'static [Action], state: State) -> Cell {
    Some((actions, state))
}

/// All states, in the RFC's order: the columns of the table.
pub const STATES: [State; 10] =
    [Initial, Starting, Closed, Stopped, Closing, Stopping, RequestSent, AckReceived, AckSent, Opened];

/// The rows, in the RFC's order. [1661:4.1-1]
#[rustfmt::skip]
const TABLE: [(Event, [Cell; 10]); 16] = [
    (Event::Up, [
        to(&[], Closed), to(&[Irc, Scr], RequestSent), None, None, None, None, None, None, None, None]),
    (Event::Down, [
        None, None, to(&[], Initial), to(&[Tls], Starting), to(&[], Initial), to(&[], Starting),
        to(&[], Starting), to(&[], Starting), to(&[], Starting), to(&[Tld], Starting)]),
    (Event::Open, [
        to(&[Tls], Starting), to(&[], Starting), to(&[Irc, Scr], RequestSent), to(&[], Stopped), to(&[], Stopping),
        to(&[], Stopping), to(&[], RequestSent), to(&[], AckReceived), to(&[], AckSent), to(&[], Opened)]),
    (Event::Close, [
        to(&[], Initial), to(&[Tlf], Initial), to(&[], Closed), to(&[], Closed), to(&[], Closing), to(&[], Closing),
        to(&[Irc, Str], Closing), to(&[Irc, Str], Closing), to(&[Irc, Str], Closing), to(&[Tld, Irc, Str], Closing)]),
    (Event::TimeoutAgain, [
        None, None, None, None, to(&[Str], Closing), to(&[Str], Stopping),
        to(&[Scr], RequestSent), to(&[Scr], RequestSent), to(&[Scr], AckSent), None]),
    (Event::TimeoutLast, [
        None, None, None, None, to(&[Tlf], Closed), to(&[Tlf], Stopped),
        to(&[Tlf], Stopped), to(&[Tlf], Stopped), to(&[Tlf], Stopped), None]),
    (Event::ReceiveGoodRequest, [
        None, None, to(&[Sta], Closed), to(&[Irc, Scr, Sca], AckSent), to(&[], Closing), to(&[], Stopping),
        to(&[Sca], AckSent), to(&[Sca, Tlu], Opened), to(&[Sca], AckSent), to(&[Tld, Scr, Sca], AckSent)]),
    (Event::ReceiveBadRequest, [
        None, None, to(&[Sta], Closed), to(&[Irc, Scr, Scn], RequestSent), to(&[], Closing), to(&[], Stopping),
        to(&[Scn], RequestSent), to(&[Scn], AckReceived), to(&[Scn], RequestSent), to(&[Tld, Scr, Scn], RequestSent)]),
    (Event::ReceiveAck, [
        None, None, to(&[Sta], Closed), to(&[Sta], Stopped), to(&[], Closing), to(&[], Stopping),
        to(&[Irc], AckReceived), to(&[Scr], RequestSent), to(&[Irc, Tlu], Opened), to(&[Tld, Scr], RequestSent)]),
    (Event::ReceiveNak, [
        None, None, to(&[Sta], Closed), to(&[Sta], Stopped), to(&[], Closing), to(&[], Stopping),
        to(&[Irc, Scr], RequestSent), to(&[Scr], RequestSent), to(&[Irc, Scr], AckSent), to(&[Tld, Scr], RequestSent)]),
    (Event::ReceiveTerminateRequest, [
        None, None, to(&[Sta], Closed), to(&[Sta], Stopped), to(&[Sta], Closing), to(&[Sta], Stopping),
        to(&[Sta], RequestSent), to(&[Sta], RequestSent), to(&[Sta], RequestSent), to(&[Tld, Zrc, Sta], Stopping)]),
    (Event::ReceiveTerminateAck, [
        None, None, to(&[], Closed), to(&[], Stopped), to(&[Tlf], Closed), to(&[Tlf], Stopped),
        to(&[], RequestSent), to(&[], RequestSent), to(&[], AckSent), to(&[Tld, Scr], RequestSent)]),
    (Event::ReceiveUnknownCode, [
        None, None, to(&[Scj], Closed), to(&[Scj], Stopped), to(&[Scj], Closing), to(&[Scj], Stopping),
        to(&[Scj], RequestSent), to(&[Scj], AckReceived), to(&[Scj], AckSent), to(&[Scj], Opened)]),
    (Event::ReceivePermittedReject, [
        None, None, to(&[], Closed), to(&[], Stopped), to(&[], Closing), to(&[], Stopping),
        to(&[], RequestSent), to(&[], RequestSent), to(&[], AckSent), to(&[], Opened)]),
    (Event::ReceiveCatastrophicReject, [
        None, None, to(&[Tlf], Closed), to(&[Tlf], Stopped), to(&[Tlf], Closed), to(&[Tlf], Stopped),
        to(&[Tlf], Stopped), to(&[Tlf], Stopped), to(&[Tlf], Stopped), to(&[Tld, Irc, Str], Stopping)]),
    (Event::ReceiveEcho, [
        None, None, to(&[], Closed), to(&[], Stopped), to(&[], Closing), to(&[], Stopping),
        to(&[], RequestSent), to(&[], AckReceived), to(&[], AckSent), to(&[Ser], Opened)]),
];

impl State {
    /// What `event` means here: what to do, in order, and the state afterwards. `None`: nothing.
    #[must_use]
    pub fn after(self, event: Event) -> Cell {
        let row = TABLE.iter().find(|(e, _)| *e == event)?;
        let column = STATES.iter().position(|s| *s == self)?;
        row.1.get(column).copied().flatten()
    }

    /// Whether the restart timer runs in it.
    // [1661:4.2-1]
    #[must_use]
    pub const fn waits(self) -> bool {
        matches!(self, Closing | Stopping | RequestSent | AckReceived | AckSent)
    }
}

/// The table as a picture in Graphviz's language: a state each node, an edge for each pair of states, with the events
/// that lead there and what they do.
#[must_use]
pub fn dot() -> String {
    let mut out = String::from(
        "// The automaton of RFC 1661, written by a test from pppd-bridge/ppp/src/automaton.rs.\n\
         digraph automaton {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n",
    );
    for from in STATES {
        for into in STATES {
            let led = |(event, _): &(Event, [Cell; 10])| {
                let (actions, state) = from.after(*event)?;
                (state == into && !(actions.is_empty() && from == into)).then(|| word(*event, actions))
            };
            let words: Vec<String> = TABLE.iter().filter_map(led).collect();
            if !words.is_empty() {
                out.push_str(&format!("  {from:?} -> {into:?} [label=\"{}\"];\n", words.join("\\n")));
            }
        }
    }
    out.push_str("}\n");
    out
}

fn word(event: Event, actions: &[Action]) -> String {
    let actions: Vec<String> = actions.iter().map(|a| format!("{a:?}")).collect();
    match actions.is_empty() {
        true => format!("{event:?}"),
        false => format!("{event:?} / {}", actions.join(", ")),
    }
}
