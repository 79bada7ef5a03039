//! CHILD_SAs in place of others (RFC 7296 §1.3.3, §2.8, §2.25.1), ours against ours.

use super::*;

/// What both ends have, and that it is the same.
pub(super) fn agree(a: &Node, b: &Node) -> Vec<(u32, u32)> {
    let (ours, theirs) = (a.up(), b.up());
    let crossed: Vec<_> = theirs.iter().map(|(i, o)| (*o, *i)).collect();
    let (mut left, mut right) = (ours.clone(), crossed);
    left.sort_unstable();
    right.sort_unstable();
    assert_eq!(left, right, "both have the same");
    for child in a.children.iter().filter(|c| ours.contains(&(c.inbound_spi, c.outbound_spi))) {
        let other = b.children.iter().find(|c| c.inbound_spi == child.outbound_spi).unwrap();
        assert!(child.inbound.encryption.equals(other.outbound.as_ref().unwrap().encryption.expose()));
        assert!(child.outbound.as_ref().unwrap().encryption.equals(other.inbound.encryption.expose()));
        assert_eq!((&child.local_ts, &child.remote_ts), (&other.remote_ts, &other.local_ts));
    }
    ours
}

// [7296:2.8.1-1] [7296:2.9.2-1]
#[test]
fn a_rekey_makes_a_new_pair_and_deletes_the_old_one() {
    for by_client in [true, false] {
        let (mut client, mut server, _) = up();
        let before = agree(&client, &server);
        let node = if by_client { &mut client } else { &mut server };
        node.asked.clear();
        node.rekey(Instant::ZERO);
        carry(Instant::ZERO, &mut client, &mut server);
        let after = agree(&client, &server);
        assert_eq!(after.len(), 1);
        assert_ne!(after, before);
        for node in [&client, &server] {
            let (old, new) = (node.children[0].child, node.children[1].child);
            assert_eq!(node.children[1].replaces, Some(old));
            assert_eq!(node.ups(), [(new, Some(old))]);
            assert_eq!(node.closed_children(), [(old, Some(new))]);
            assert_eq!(node.children[0].local_ts, node.children[1].local_ts);
            assert_eq!(node.children[1].lease, lease());
        }
        let (asker, answerer) = if by_client { (&client, &server) } else { (&server, &client) };
        assert_eq!(asker.asked, ["AllocateSpi", "Install"]);
        assert!(answerer.asked.ends_with(&[
            "AllocateSpi".into(),
            "Install".into(),
            "InstallOutbound".into()
        ]));
        assert!(client.closed().is_none() && server.closed().is_none());
    }
}

pub(super) fn pair(ours: &'static str, theirs: fn() -> ResponderConfig) -> (Node, Node) {
    let (mut client, mut server) = (Node::client(), Node::server());
    server.connection = theirs;
    let esp = ours.split(", ").map(|p| p.parse().unwrap()).collect();
    client.dial(Instant::ZERO, InitiatorConfig { esp, ..config() });
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.established().is_some() && server.established().is_some());
    (client, server)
}

// [7296:1.3-1]
#[test]
fn with_perfect_forward_secrecy_there_is_a_key_exchange() {
    let (mut client, mut server) = pair("aes256gcm16-x25519", || ResponderConfig {
        esp: vec!["aes256gcm16-x25519".parse().unwrap()],
        ..connection()
    });
    client.asked.clear();
    server.asked.clear();
    client.rekey(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(agree(&client, &server).len(), 1);
    assert_eq!(client.asked, ["AllocateSpi", "Generate", "Agree", "Install"]);
    assert_eq!(server.asked, ["AllocateSpi", "Encapsulate", "Install", "InstallOutbound"]);
    assert_eq!(client.children[1].suite.ke, Some(adit_isakmp::KeMethod::Curve25519));
}

// [7296:1.3-2] [7296:1.3-3]
#[test]
fn another_key_exchange_that_we_offered_is_followed_once() {
    let (mut client, mut server) = pair("aes256gcm16-ecp256-ecp384", || ResponderConfig {
        esp: vec!["aes256gcm16-ecp384".parse().unwrap()],
        ..connection()
    });
    client.asked.clear();
    client.rekey(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(agree(&client, &server).len(), 1);
    assert_eq!(client.asked, ["AllocateSpi", "Generate", "Generate", "Agree", "Install"]);
    assert_eq!(server.children[1].suite.ke, Some(adit_isakmp::KeMethod::Ecp384));
}

#[test]
fn a_refused_rekey_leaves_the_old_one_and_is_tried_again() {
    let (mut client, mut server) = pair("aes256gcm16-x25519", connection);
    let before = agree(&client, &server);
    client.rekey(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(agree(&client, &server), before);
    assert!(client.closed().is_none() && client.closed_children().is_empty());
    // Whoever has a key exchange at one end only learns it now, and not when the tunnel is gone.
    let why = client.events.iter().find_map(|(_, e)| match e {
        Event::RekeyRefused { child: Some(_), why } => Some(why),
        _ => None,
    });
    let why = why.expect("told");
    assert!(why.text.contains("aes256gcm16-x25519"), "{why}");
    assert_eq!(why.peer.as_deref(), Some("NO_PROPOSAL_CHOSEN"));
    // Half an hour of quiet, then again.
    let asked = client.asked.len();
    let mut now = Instant::ZERO;
    while client.asked.len() == asked {
        let (at, _) = client.endpoint.deadline().unwrap();
        now = now.max(at);
        client.give(now, Input::Wake);
        carry(now, &mut client, &mut server);
    }
    assert!(now >= Instant::ZERO + seconds(300), "{now:?}");
    assert!(client.closed().is_none());
}

#[test]
fn a_peer_without_pfs_is_asked_again_without() {
    let (mut client, mut server) = pair("aes256gcm16-x25519, aes256gcm16", connection);
    client.rekey(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(agree(&client, &server).len(), 1);
    assert_eq!(client.children[1].suite.ke, None);
}

/// Both ask before either hears of the other.
fn collide(seed: u64) -> (Node, Node) {
    let (mut client, mut server) = (Node::new(CLIENT, seed, None), Node::server());
    client.dial(Instant::ZERO, config());
    carry(Instant::ZERO, &mut client, &mut server);
    client.rekey(Instant::ZERO);
    server.rekey(Instant::ZERO);
    (client, server)
}

#[test]
fn rfc_2_8_1_both_rekey_at_once_and_the_lowest_nonce_loses() {
    let (mut won, mut lost) = (0, 0);
    for seed in 3..23 {
        let (mut client, mut server) = collide(seed);
        carry(Instant::ZERO, &mut client, &mut server);
        assert_eq!(agree(&client, &server).len(), 1);
        assert_eq!((client.children.len(), server.children.len()), (3, 3));
        assert_eq!((client.closed_children().len(), server.closed_children().len()), (2, 2));
        // What was closed names what is still up.
        for node in [&client, &server] {
            let up = node.up()[0];
            let up = node.children.iter().find(|c| c.inbound_spi == up.0).unwrap().child;
            assert!(node.closed_children().iter().all(|(_, by)| *by == Some(up)), "{:?}", node.events);
        }
        // One end made it, the other was given it: only there is the outbound SA a second step.
        let asked = client.asked.iter().filter(|a| *a == "InstallOutbound").count();
        if asked == 0 {
            won += 1
        } else {
            lost += 1
        }
        assert!(client.closed().is_none() && server.closed().is_none());
    }
    assert!(won > 0 && lost > 0, "{won} {lost}");
}

#[test]
fn what_the_peer_made_carries_before_it_deletes_the_old_one() {
    let (mut client, mut server, _) = up();
    client.rekey(Instant::ZERO);
    // Which of both stays is not certain to the client, nor will it ever be: its own request is lost for long.
    let late = client.one();
    server.rekey(Instant::ZERO);
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!((client.closed_children().len(), server.closed_children().len()), (1, 1));
    assert_eq!(agree(&client, &server).len(), 1);
    server.give(Instant::ZERO, arrives(&late));
    carry(Instant::ZERO, &mut client, &mut server);
    live(&mut client, &mut server, Instant::ZERO + seconds(60));
    assert_eq!(agree(&client, &server).len(), 1);
}

#[test]
fn nothing_comes_up_on_what_is_being_closed() {
    for esp in ["aes256gcm16", "aes256gcm16-x25519", "aes256gcm16-x25519-ke1_mlkem512"] {
        let (mut client, mut server) = pair(esp, || ResponderConfig {
            esp: ["aes256gcm16-x25519-ke1_mlkem512", "aes256gcm16-x25519", "aes256gcm16"]
                .map(|p| p.parse().unwrap())
                .to_vec(),
            ..connection()
        });
        client.rekey(Instant::ZERO);
        let request = client.one();
        server.give(Instant::ZERO, arrives(&request));
        let sa = client.sa();
        client.give(Instant::ZERO, Input::Close { sa });
        assert!(client.sent().is_empty(), "the window is taken");
        client.asked.clear();
        carry(Instant::ZERO, &mut client, &mut server);
        assert_eq!(client.asked, Vec::<String>::new(), "{esp}");
        assert_eq!(client.closed(), Some(&Ok(())));
        assert!(server.closed().is_some());
        assert_eq!((client.up().len(), server.up().len()), (0, 0));
    }
}

#[test]
fn what_the_peer_was_given_is_not_sent_on_while_it_is_being_closed() {
    let (mut client, mut server, sa) = up();
    server.rekey(Instant::ZERO);
    let request = server.one();
    client.give(Instant::ZERO, arrives(&request));
    let granted = client.one();
    client.give(Instant::ZERO, Input::Close { sa });
    let closing = client.one();
    // The server has it, and deletes the old one, which says so: too late.
    server.give(Instant::ZERO, arrives(&granted));
    let delete = server.one();
    client.asked.clear();
    client.give(Instant::ZERO, arrives(&delete));
    assert_eq!(client.asked, Vec::<String>::new());
    server.give(Instant::ZERO, arrives(&closing));
    carry(Instant::ZERO, &mut client, &mut server);
    assert!(client.closed().is_some() && server.closed().is_some());
    assert_eq!((client.up().len(), server.up().len()), (0, 0));
}
