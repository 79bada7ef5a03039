//! IKE_SAs in place of others (RFC 7296 §1.3.2, §2.8.2, §2.18, §2.25.2), ours against ours.

use super::rekey_child::agree;
use super::*;

fn at(n: u64) -> Instant {
    Instant::ZERO + seconds(n)
}

/// Both are up, agree, and can still do everything; of old IKE_SAs nothing is left.
pub(super) fn well(now: Instant, client: &mut Node, server: &mut Node) {
    agree(client, server);
    assert!(client.closed().is_none() && server.closed().is_none());
    let children = client.children.len();
    client.rekey(now);
    carry(now, client, server);
    server.rekey(now);
    carry(now, client, server);
    assert_eq!((agree(client, server).len(), client.children.len()), (1, children + 2));
    let later = now + seconds(25);
    live(client, server, later);
    assert_eq!((client.endpoint.spis(), server.endpoint.spis()), (1, 1));
    let sa = client.sa();
    client.give(later, Input::Close { sa });
    carry(later, client, server);
    assert_eq!(client.closed(), Some(&Ok(())));
    assert!(server.closed().is_some() && client.endpoint.is_empty() && server.endpoint.is_empty());
    assert_eq!((client.up().len(), server.up().len()), (0, 0));
    live(client, server, later + seconds(60));
    assert_eq!((client.endpoint.spis(), server.endpoint.spis()), (0, 0));
    assert_eq!((client.endpoint.lingering(), server.endpoint.lingering()), (0, 0));
}

// [7296:2.8.2-1] [7296:2.8-3]
#[test]
fn a_rekey_keeps_the_children_and_deletes_the_old_one() {
    for by_client in [true, false] {
        let (mut client, mut server, _) = up();
        let before = agree(&client, &server);
        let node = if by_client { &mut client } else { &mut server };
        node.asked.clear();
        node.rekey_ike(Instant::ZERO);
        carry(Instant::ZERO, &mut client, &mut server);
        assert_eq!((client.rekeyed(), server.rekeyed()), (1, 1));
        assert_eq!(agree(&client, &server), before);
        let (asker, answerer) = if by_client { (&client, &server) } else { (&server, &client) };
        assert_eq!(asker.asked, ["Generate", "Agree"]);
        assert!(answerer.asked.ends_with(&["Encapsulate".into()]));
        well(Instant::ZERO, &mut client, &mut server);
    }
}

#[test]
fn many_rekeys_in_a_row_from_both_ends() {
    let (mut client, mut server, _) = up();
    let before = agree(&client, &server);
    for n in 0..20 {
        let node = if n % 3 == 0 { &mut client } else { &mut server };
        node.rekey_ike(at(n * 30));
        carry(at(n * 30), &mut client, &mut server);
        live(&mut client, &mut server, at(n * 30 + 29));
    }
    assert_eq!((client.rekeyed(), server.rekeyed()), (20, 20));
    assert_eq!(agree(&client, &server), before);
    well(at(600), &mut client, &mut server);
}

#[test]
fn the_guess_is_what_is_in_use_and_another_is_followed_once() {
    let (mut client, mut server) = (Node::client(), Node::server());
    let both = "aes256gcm16-prfsha256-x25519-ecp256".parse().unwrap();
    client.dial(Instant::ZERO, InitiatorConfig { ike: vec![both], ..config() });
    carry(Instant::ZERO, &mut client, &mut server);
    // The server wants another one now; what is in use it still takes.
    client.rekey_ike(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!((client.rekeyed(), server.rekeyed()), (1, 1));
    well(Instant::ZERO, &mut client, &mut server);
}

// [7296:2.8.2-1]
#[test]
fn rfc_2_8_2_both_rekey_at_once_and_the_lowest_nonce_loses() {
    let (mut won, mut lost) = (0, 0);
    for seed in 3..23 {
        let (mut client, mut server) = (Node::new(CLIENT, seed, None), Node::server());
        client.dial(Instant::ZERO, config());
        carry(Instant::ZERO, &mut client, &mut server);
        client.rekey_ike(Instant::ZERO);
        server.rekey_ike(Instant::ZERO);
        carry(Instant::ZERO, &mut client, &mut server);
        assert_eq!((client.rekeyed(), server.rekeyed()), (1, 1));
        // Who began the one that stays is its original initiator, which its messages show.
        client.rekey(Instant::ZERO);
        let flags = client.sent[0].payload[19];
        if flags & 0x08 != 0 {
            won += 1
        } else {
            lost += 1
        }
        carry(Instant::ZERO, &mut client, &mut server);
        well(Instant::ZERO, &mut client, &mut server);
    }
    assert!(won > 0 && lost > 0, "{won} {lost}");
}

#[test]
fn whose_ike_sa_has_lost_asks_whether_the_peer_still_has_the_children() {
    let (mut client, mut server, _) = up();
    let before = agree(&client, &server);
    client.rekey_ike(Instant::ZERO);
    server.rekey_ike(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(agree(&client, &server), before);
    live(&mut client, &mut server, at(15));
    assert_eq!((client.ups().len(), server.ups().len()), (1, 1));
    assert_ne!(agree(&client, &server), before);
    well(at(15), &mut client, &mut server);
}

#[test]
fn rfc_2_25_2_a_peer_that_did_not_notice_wins() {
    let (mut client, mut server, _) = up();
    client.rekey_ike(Instant::ZERO);
    // Ours is under way for a long time.
    let late = client.one();
    server.rekey_ike(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    // The server has asked, got its answer, and deleted the old one: ours is forgotten.
    assert_eq!((client.rekeyed(), server.rekeyed()), (1, 1));
    server.give(Instant::ZERO, arrives(&late));
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!((client.rekeyed(), server.rekeyed()), (1, 1));
    well(Instant::ZERO, &mut client, &mut server);
}

#[test]
fn rfc_2_25_2_a_child_is_not_rekeyed_while_the_ike_sa_is() {
    for child_first in [true, false] {
        let (mut client, mut server, _) = up();
        let (a, b) = if child_first { (&mut client, &mut server) } else { (&mut server, &mut client) };
        a.rekey(Instant::ZERO);
        b.rekey_ike(Instant::ZERO);
        carry(Instant::ZERO, &mut client, &mut server);
        assert_eq!((client.rekeyed(), client.ups().len()), (0, 0), "both were put off");
        live(&mut client, &mut server, at(60));
        assert_eq!((client.rekeyed(), server.rekeyed()), (1, 1));
        assert_eq!((client.ups().len(), server.ups().len()), (1, 1));
        well(at(60), &mut client, &mut server);
    }
}

#[test]
fn the_old_one_answers_the_same_request_again_after_its_end() {
    let (mut client, mut server, _) = up();
    client.rekey_ike(Instant::ZERO);
    let request = client.one();
    server.give(Instant::ZERO, arrives(&request));
    let response = server.one();
    // It was lost: the same answer to the same request.
    server.give(at(1), arrives(&request));
    assert_eq!(server.one(), response);
    client.give(at(1), arrives(&response));
    let delete = client.one();
    server.give(at(1), arrives(&delete));
    let deleted = server.one();
    server.give(at(2), arrives(&delete));
    assert_eq!(server.one(), deleted);
    client.give(at(2), arrives(&deleted));
    well(at(2), &mut client, &mut server);
}

#[test]
fn what_the_peer_has_granted_is_closed_too() {
    for (who, before) in [("client", true), ("client", false), ("server", true), ("server", false)] {
        let (mut client, mut server, _) = up();
        let (a, b) = if who == "client" { (&mut client, &mut server) } else { (&mut server, &mut client) };
        let sa = a.sa();
        a.silent = "Agree";
        a.rekey_ike(Instant::ZERO);
        // The peer has another IKE_SA from here on, and all that it carries belongs to that one.
        let request = a.one();
        b.give(Instant::ZERO, arrives(&request));
        let response = b.one();
        assert_eq!(b.rekeyed(), 1);
        if before {
            a.give(Instant::ZERO, Input::Close { sa });
            a.give(Instant::ZERO, arrives(&response));
        } else {
            a.give(Instant::ZERO, arrives(&response));
            a.give(Instant::ZERO, Input::Close { sa });
        }
        assert_eq!(a.sent(), [], "{who}, {before}: nothing is deleted before it is there");
        let (id, answer) = a.held.take().unwrap();
        a.give(Instant::ZERO, Input::Answer { id, answer });
        carry(Instant::ZERO, &mut client, &mut server);
        for node in [&client, &server] {
            assert!(node.closed().is_some() && node.endpoint.is_empty(), "{who}, {before}");
            assert_eq!(node.up(), []);
        }
    }
}

#[test]
fn a_driver_that_never_answers_delays_the_end_and_no_more() {
    let (mut client, mut server, sa) = up();
    client.silent = "Agree";
    client.rekey_ike(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    client.give(Instant::ZERO, Input::Close { sa });
    live(&mut client, &mut server, at(30));
    assert_eq!(client.closed(), Some(&Ok(())));
    assert_eq!((client.up().len(), client.endpoint.spis()), (0, 0));
}

#[test]
fn time_brings_rekeys_of_both() {
    let (mut client, mut server, _) = up();
    let until = Instant::ZERO + Duration::from_hours(24);
    live(&mut client, &mut server, until);
    assert!(client.rekeyed() >= 6, "{}", client.rekeyed());
    assert!(client.ups().len() >= 24, "{}", client.ups().len());
    well(until, &mut client, &mut server);
}
