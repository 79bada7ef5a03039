//! Many peers, and peers that are none.

use super::*;

/// The first message of a client of its own at `address`.
fn first(seed: u64, address: &str) -> Transmit {
    let mut client = Node::new(address, seed, None);
    let mut config = config();
    config.path.local = address.parse().unwrap();
    client.dial(Instant::ZERO, config);
    client.one()
}

#[test]
fn half_open_ike_sas_are_limited_in_all_and_by_address() {
    let mut server = Node::server();
    for n in 0..10 {
        server.give(Instant::ZERO, arrives(&first(100 + n, "192.0.2.1:500")));
    }
    // The address has its five; for more it has to bring a cookie, and then is told nothing.
    assert_eq!(server.endpoint.half_open(), 5);
    assert_eq!(server.endpoint.counters().cookies, 5);
    for n in 0..40 {
        server.give(Instant::ZERO, arrives(&first(200 + n, &format!("192.0.2.{}:500", n + 10))));
    }
    assert_eq!(server.endpoint.half_open(), 10, "from the threshold on only with a cookie");
    server.sent();
    server.endpoint.set_responder(Some(ResponderDefaults { cookie_threshold: 1000, ..defaults() }));
    for n in 0..40 {
        server.give(Instant::ZERO, arrives(&first(300 + n, &format!("192.0.2.{}:500", n + 60))));
    }
    assert_eq!(server.endpoint.half_open(), 20);
    assert_eq!(server.endpoint.counters().refused, 30);
    while server.endpoint.half_open() > 0 {
        server.wake();
    }
    assert!(server.endpoint.is_empty());
}

#[test]
fn a_crowded_address_with_a_cookie_is_still_one_address() {
    let mut server = Node::server();
    let mut client = Node::client();
    for _ in 0..12 {
        client.dial(Instant::ZERO, config());
    }
    for _ in 0..3 {
        for t in client.sent() {
            server.give(Instant::ZERO, arrives(&t));
        }
        let answers = server.sent();
        // Only cookies go back: what is half-open stays so.
        for t in answers.iter().filter(|t| t.payload[16] == 41) {
            client.give(Instant::ZERO, arrives(t));
        }
    }
    // Five without a cookie, five with one.
    assert_eq!(server.endpoint.half_open(), 10);
    assert_eq!(server.endpoint.counters().refused, 2);
}

// [7296:2.6-4]
#[test]
fn cookies_are_bound_to_address_spi_and_nonce_and_grow_old() {
    let mut server = Node::server();
    server.endpoint.set_responder(Some(ResponderDefaults { cookie_threshold: 0, ..defaults() }));
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    server.give(Instant::ZERO, arrives(&client.one()));
    client.give(Instant::ZERO, arrives(&server.one()));
    let with_cookie = client.one();
    let mut elsewhere = with_cookie.clone();
    elsewhere.path.local = "192.0.2.99:500".parse().unwrap();
    let mut other_spi = with_cookie.clone();
    other_spi.payload[7] ^= 1;
    let mut other_cookie = with_cookie.clone();
    other_cookie.payload[40] ^= 1;
    for bad in [&elsewhere, &other_spi, &other_cookie] {
        server.give(Instant::ZERO, arrives(bad));
        assert_eq!(server.endpoint.half_open(), 0);
    }
    // One minute later the secret is the previous one, two minutes later it is forgotten.
    let later = |n| Instant::ZERO + seconds(n);
    server.give(later(125), arrives(&with_cookie));
    assert_eq!(server.endpoint.half_open(), 0);
    server.sent();
    let mut server = Node::server();
    server.endpoint.set_responder(Some(ResponderDefaults { cookie_threshold: 0, ..defaults() }));
    server.give(Instant::ZERO, arrives(&first(1, CLIENT)));
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    client.sent();
    client.give(Instant::ZERO, arrives(&server.one()));
    server.give(later(90), arrives(&client.one()));
    assert_eq!(server.endpoint.half_open(), 1);
}

#[test]
fn without_a_responder_nobody_is_answered() {
    let mut node = Node::new(SERVER, 2, None);
    let first = first(100, CLIENT);
    node.give(Instant::ZERO, arrives(&first));
    let mut later = first;
    later.payload[17] = 0x30;
    node.give(Instant::ZERO, arrives(&later));
    assert!(node.sent().is_empty() && node.events.is_empty());
    assert_eq!(node.endpoint.counters().stray, 2);
}

#[test]
fn no_more_than_the_limit_are_up() {
    let mut server = Node::server();
    server.endpoint.set_responder(Some(ResponderDefaults { limit: 1, ..defaults() }));
    let mut client = Node::client();
    client.dial(Instant::ZERO, config());
    carry(Instant::ZERO, &mut client, &mut server);
    assert_eq!(server.endpoint.established(), 1);
    server.give(Instant::ZERO, arrives(&first(100, "192.0.2.1:500")));
    assert!(server.sent().is_empty());
}

#[test]
fn a_thousand_are_up_at_once() {
    let mut server = Node::server();
    server.endpoint.set_responder(Some(ResponderDefaults { limit: 2000, ..defaults() }));
    server.connection = || ResponderConfig { uniqueness: Uniqueness::Keep, ..connection() };
    let mut client = Node::client();
    for _ in 0..1000 {
        client.dial(Instant::ZERO, config());
        carry(Instant::ZERO, &mut client, &mut server);
    }
    assert_eq!((client.endpoint.established(), server.endpoint.established()), (1000, 1000));
    let mut now = Instant::ZERO;
    for _ in 0..20 {
        let Some((at, _)) = client.endpoint.deadline() else { break };
        now = now.max(at);
        client.give(now, Input::Wake);
        carry(now, &mut client, &mut server);
    }
    assert_eq!((client.endpoint.established(), server.endpoint.established()), (1000, 1000));
}
