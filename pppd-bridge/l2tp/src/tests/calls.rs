use adit_core::FailureCode;

use super::pair::{Pair, dial, listen, secret};
use crate::wire::{Avp, Connected, Control, IncomingCall, Message};
use crate::{Answer, Call, Dial, Input, Listen, Takes};

/// [2661:6.6-1] [2661:6.7-1] [2661:7.2.1-1]
#[test]
fn a_call_comes_up_with_each_ends_own_ids() {
    let pair = Pair::up();
    let [(ours, lac_is_lns)] = pair.lac.carried[..] else { panic!("{:?}", pair.lac.carried) };
    let [(theirs, lns_is_lns)] = pair.lns.carried[..] else { panic!("{:?}", pair.lns.carried) };
    assert_eq!((ours.tunnel, ours.session), (theirs.peer_tunnel, theirs.peer_session));
    assert_eq!((ours.peer_tunnel, ours.peer_session), (theirs.tunnel, theirs.session));
    assert!(![ours.tunnel, ours.session, theirs.tunnel, theirs.session].contains(&0));
    assert_eq!((lac_is_lns, lns_is_lns), (false, true));
    assert_eq!((pair.lac.up.len(), pair.lns.up.len()), (1, 1));
}

/// [2661:6.9-1]
#[test]
fn an_lns_has_an_lac_dial() {
    // Who has dialled the tunnel is the LNS.
    let takes = Takes { incoming: false, outgoing: true };
    let call = Some(Call::Outgoing { called: "42".into() });
    let mut pair = Pair::of(Listen { takes, ..listen(None) }, Dial { call, ..dial(None) });
    pair.exchange();
    assert_eq!((pair.lac.up.len(), pair.lns.up.len()), (1, 1));
    assert!(pair.lac.carried[0].1 && !pair.lns.carried[0].1);
}

/// The kernel may be slower than the peer's OCCN.
#[test]
fn an_outgoing_call_may_be_connected_before_the_kernel_is_ready() {
    let takes = Takes { incoming: false, outgoing: true };
    let call = Some(Call::Outgoing { called: String::new() });
    let mut pair = Pair::of(Listen { takes, ..listen(None) }, Dial { call, ..dial(None) });
    pair.lac.holds = true;
    pair.exchange();
    assert!(pair.lac.up.is_empty() && pair.lns.up.len() == 1);
    let id = pair.lac.held[0];
    pair.lac_does(Input::Answer { id, answer: Answer::Carried(Ok(())) });
    assert_eq!(pair.lac.up.len(), 1);
}

#[test]
fn a_tunnel_has_several_sessions_up_to_a_limit() {
    let mut pair = Pair::up();
    let tunnel = pair.lac.tunnels[0];
    for _ in 0..3 {
        pair.lac_does(Input::Place { tunnel, call: Call::Incoming });
        pair.exchange();
    }
    assert_eq!((pair.lac.up.len(), pair.lns.up.len()), (3, 3));
    let [(_, Err(why))] = &pair.lac.sessions_down[..] else { panic!("{:?}", pair.lac.sessions_down) };
    assert_eq!(why.code, FailureCode::PeerBusy);
    // One ends, the others stay.
    let session = pair.lac.up[0].0;
    pair.lac_does(Input::Clear { session });
    pair.exchange();
    assert_eq!((pair.lac.sessions_down.len(), pair.lns.sessions_down.len()), (2, 1));
    assert!(pair.lac.down.is_empty() && pair.lns.down.is_empty());
}

/// [2661:5.6-2]
#[test]
fn either_end_ends_a_session() {
    let mut pair = Pair::up();
    let session = pair.lns.up[0].0;
    pair.lns_does(Input::Clear { session });
    pair.exchange();
    assert!(matches!(&pair.lns.sessions_down[..], [(_, Ok(()))]));
    let [(_, Err(why))] = &pair.lac.sessions_down[..] else { panic!() };
    assert_eq!((why.code, why.peer.as_deref()), (FailureCode::PeerClosed, Some("result 3")));
    assert!(pair.lac.down.is_empty());
}

/// [2661:5.6-1]
#[test]
fn a_call_that_was_not_answered_yet_is_ended_by_its_own_id() {
    let mut pair = Pair::of(listen(None), dial(None));
    pair.lns.holds = true;
    pair.exchange();
    pair.sleep(core::time::Duration::from_secs(31), true);
    // Neither end has it any more, and the tunnel stands.
    assert!(matches!(&pair.lac.sessions_down[..], [(_, Err(_))]));
    assert!(matches!(&pair.lns.sessions_down[..], [(_, Err(_))]));
    assert!(pair.lac.down.is_empty() && pair.lac.up.is_empty());
    // An answer that comes later does no harm.
    let id = pair.lns.held[0];
    pair.lns_does(Input::Answer { id, answer: Answer::Carried(Ok(())) });
    assert!(pair.lns.up.is_empty() && pair.link.is_empty());
}

#[test]
fn what_the_kernel_refuses_is_refused() {
    let mut pair = Pair::of(listen(None), dial(None));
    pair.lns.refuses = true;
    pair.exchange();
    let [(_, Err(why))] = &pair.lac.sessions_down[..] else { panic!() };
    assert_eq!((why.code, why.peer.as_deref()), (FailureCode::PeerBusy, Some("result 2, error 4")));
    let mut pair = Pair::of(listen(None), dial(None));
    pair.lac.refuses = true;
    pair.exchange();
    assert!(pair.lns.up.is_empty() && pair.lns.sessions_down.len() == 1);
}

#[test]
fn a_call_that_is_not_taken_is_refused() {
    let mut pair = Pair::of(Listen { takes: Takes::default(), ..listen(None) }, dial(None));
    pair.exchange();
    let [(_, Err(why))] = &pair.lac.sessions_down[..] else { panic!() };
    assert_eq!(why.peer.as_deref(), Some("result 3"));
    assert!(pair.lns.carried.is_empty());
}

/// Says something as the LAC, beside what its endpoint says; the numbers are those that come next.
pub(super) fn forge(pair: &mut Pair, ns: u16, session: u16, avps: &[Avp]) {
    let ids = pair.lac.carried.first().map(|c| c.0).unwrap();
    let body = Avp::emit_all(avps);
    let control = Control { tunnel: ids.peer_tunnel, session, ns, nr: 2, body: &body };
    let path = dial(None).path;
    pair.deliver(adit_core::Transmit { path, payload: control.emit() });
    // The LAC's own endpoint knows nothing of it.
    pair.link.clear();
}

/// [2661:4.1-4]
#[test]
fn an_unknown_mandatory_avp_of_a_session_ends_the_session_alone() {
    let mut pair = Pair::up();
    let mut avps = Message::Icrq(IncomingCall { session: 7, serial: 1, called: None, calling: None }).avps();
    avps.push(Avp { vendor: 9, ..Avp::new(true, 1, vec![1]) });
    forge(&mut pair, 4, 0, &avps);
    assert!(
        matches!(pair.last(), Message::Cdn { result, .. } if (result.result, result.error) == (2, Some(8)))
    );
    assert!(pair.lns.down.is_empty() && pair.lns.sessions_down.is_empty());
    let session = pair.lns.carried[0].0.session;
    let mut avps = Message::Sli { send: 0, receive: 0 }.avps();
    avps.push(Avp::new(true, 999, Vec::new()));
    forge(&mut pair, 5, session, &avps);
    assert!(
        matches!(pair.last(), Message::Cdn { result, .. } if (result.result, result.error) == (2, Some(8)))
    );
    assert!(
        matches!(&pair.lns.sessions_down[..], [(_, Err(why))] if why.code == FailureCode::PeerMisbehaved)
    );
    assert!(pair.lns.down.is_empty());
}

/// [2661:4.1-2]
#[test]
fn an_unknown_avp_that_nobody_needs_is_ignored() {
    let mut pair = Pair::up();
    let mut avps = Message::Icrq(IncomingCall { session: 7, serial: 1, called: None, calling: None }).avps();
    avps.push(Avp { vendor: 9, ..Avp::new(false, 1, vec![1]) });
    avps.push(Avp { reserved: 0x0400, ..Avp::new(false, 7, vec![1]) });
    forge(&mut pair, 4, 0, &avps);
    assert!(matches!(pair.last(), Message::Icrp { .. }));
}

/// What an LAC says of its line and of what it has negotiated is taken, and nothing comes of it.
#[test]
fn line_errors_link_info_and_proxies_are_accepted() {
    let mut pair = Pair::of(listen(secret("s")), dial(secret("s")));
    pair.exchange();
    let session = pair.lns.carried[0].0.session;
    forge(&mut pair, 4, session, &Message::Wen(Default::default()).avps());
    forge(&mut pair, 5, session, &Message::Sli { send: u32::MAX, receive: 0 }.avps());
    let call = IncomingCall { session: 7, serial: 1, called: Some("1".into()), calling: Some("2".into()) };
    forge(&mut pair, 6, 0, &Message::Icrq(call).avps());
    let session = pair.lns.carried[1].0.session;
    let mut connected = Connected { speed: 64_000, framing: 2, sequencing: true, ..Connected::default() };
    connected.proxy.authen_type = Some(2);
    connected.proxy.authen_name = Some(b"ann".to_vec());
    connected.proxy.last_sent_lcp = Some(vec![1, 4, 5, 220]);
    forge(&mut pair, 7, session, &Message::Iccn(connected).avps());
    assert_eq!(pair.lns.up.iter().map(|u| u.1).collect::<Vec<_>>(), [false, true]);
    assert!(pair.lns.down.is_empty() && pair.lns.sessions_down.is_empty());
}
