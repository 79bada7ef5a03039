use crate::automaton::{STATES, State, dot};

/// The picture in docs is the table. `ADIT_WRITE=1 cargo test -p adit-ppp` writes it anew. [1661:4.1-1]
#[test]
#[allow(clippy::disallowed_methods)]
fn the_picture_in_docs_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ppp-automaton.dot");
    if std::env::var("ADIT_WRITE").is_ok() {
        std::fs::write(path, dot()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), dot());
}

/// RFC 1661 §4.1, as it is printed: each row an event, `-` where nothing is said.
const RFC: &str = "
Up    |2|irc,scr/6|-|-|-|-|-|-|-|-
Down  |-|-|0|tls/1|0|1|1|1|1|tld/1
Open  |tls/1|1|irc,scr/6|3|5|5|6|7|8|9
Close |0|tlf/0|2|2|4|4|irc,str/4|irc,str/4|irc,str/4|tld,irc,str/4
TO+   |-|-|-|-|str/4|str/5|scr/6|scr/6|scr/8|-
TO-   |-|-|-|-|tlf/2|tlf/3|tlf/3|tlf/3|tlf/3|-
RCR+  |-|-|sta/2|irc,scr,sca/8|4|5|sca/8|sca,tlu/9|sca/8|tld,scr,sca/8
RCR-  |-|-|sta/2|irc,scr,scn/6|4|5|scn/6|scn/7|scn/6|tld,scr,scn/6
RCA   |-|-|sta/2|sta/3|4|5|irc/7|scr/6|irc,tlu/9|tld,scr/6
RCN   |-|-|sta/2|sta/3|4|5|irc,scr/6|scr/6|irc,scr/8|tld,scr/6
RTR   |-|-|sta/2|sta/3|sta/4|sta/5|sta/6|sta/6|sta/6|tld,zrc,sta/5
RTA   |-|-|2|3|tlf/2|tlf/3|6|6|8|tld,scr/6
RUC   |-|-|scj/2|scj/3|scj/4|scj/5|scj/6|scj/7|scj/8|scj/9
RXJ+  |-|-|2|3|4|5|6|6|8|9
RXJ-  |-|-|tlf/2|tlf/3|tlf/2|tlf/3|tlf/3|tlf/3|tlf/3|tld,irc,str/5
RXR   |-|-|2|3|4|5|6|7|8|ser/9
";

/// [1661:4.1-1]
#[test]
fn the_table_is_that_of_the_rfc() {
    use crate::automaton::Event as E;
    let events = [
        E::Up,
        E::Down,
        E::Open,
        E::Close,
        E::TimeoutAgain,
        E::TimeoutLast,
        E::ReceiveGoodRequest,
        E::ReceiveBadRequest,
        E::ReceiveAck,
        E::ReceiveNak,
        E::ReceiveTerminateRequest,
        E::ReceiveTerminateAck,
        E::ReceiveUnknownCode,
        E::ReceivePermittedReject,
        E::ReceiveCatastrophicReject,
        E::ReceiveEcho,
    ];
    let rows: Vec<&str> = RFC.lines().filter(|l| !l.is_empty()).collect();
    assert_eq!(rows.len(), events.len());
    for (row, event) in rows.iter().zip(events) {
        for (cell, state) in row.split('|').skip(1).zip(STATES) {
            assert_eq!(state.after(event).map(short), parse(cell), "{event:?} in {state:?}");
        }
    }
}

fn parse(cell: &str) -> Option<(Vec<String>, State)> {
    let (actions, state) = cell.rsplit_once('/').unwrap_or(("", cell));
    let state = STATES[state.parse::<usize>().ok()?];
    Some((actions.split(',').filter(|a| !a.is_empty()).map(str::to_owned).collect(), state))
}

fn short((actions, state): (&[crate::automaton::Action], State)) -> (Vec<String>, State) {
    use crate::automaton::Action as A;
    let word = |a: &A| match a {
        A::LayerUp => "tlu",
        A::LayerDown => "tld",
        A::LayerStarted => "tls",
        A::LayerFinished => "tlf",
        A::InitRestartCount => "irc",
        A::ZeroRestartCount => "zrc",
        A::SendConfigureRequest => "scr",
        A::SendConfigureAck => "sca",
        A::SendConfigureNak => "scn",
        A::SendTerminateRequest => "str",
        A::SendTerminateAck => "sta",
        A::SendCodeReject => "scj",
        A::SendEchoReply => "ser",
    };
    (actions.iter().map(|a| word(a).to_owned()).collect(), state)
}

/// [1661:4.2-1]
#[test]
fn the_restart_timer_runs_where_an_answer_is_awaited() {
    let waiting: Vec<State> = STATES.into_iter().filter(|s| s.waits()).collect();
    use State::{AckReceived, AckSent, Closing, RequestSent, Stopping};
    assert_eq!(waiting, [Closing, Stopping, RequestSent, AckReceived, AckSent]);
}
