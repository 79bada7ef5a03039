use core::net::Ipv6Addr;
use core::time::Duration;

use adit_core::{Entropy, Instant};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert_eq, proptest};

use crate::wire::{Dhcpv6Message, PrefixInformation, RouterAdvertisement, is_router_solicitation};
use crate::{Router, RouterConfig, RouterInput, RouterOutput};

struct Half;

impl Entropy for Half {
    fn public(&mut self, out: &mut [u8]) {
        out.fill(0x80);
    }

    fn secret(&mut self, out: &mut [u8]) {
        out.fill(0x80);
    }
}

const SOLICITATION: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];

fn at(milliseconds: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(milliseconds)
}

fn router() -> Router {
    let dns = vec!["fd00:1::53".parse().unwrap()];
    let prefix = "fd00:9:0:7::".parse().unwrap();
    Router::new(at(0), RouterConfig { prefix, dns, server: [9; 16] })
}

fn hear(router: &mut Router, now: Instant, input: RouterInput) -> Option<RouterOutput> {
    router.handle(now, &mut Half, input);
    router.poll()
}

fn advertised(output: Option<RouterOutput>) -> RouterAdvertisement {
    let Some(RouterOutput::Icmp(octets)) = output else { panic!("no advertisement: {output:?}") };
    RouterAdvertisement::parse(&octets).unwrap()
}

#[test]
fn a_host_is_told_its_network_and_where_names_come_from() {
    let mut router = router();
    let told = advertised(hear(&mut router, at(0), RouterInput::Wake));
    let prefix = told.prefixes[0];
    assert_eq!((prefix.prefix, prefix.length), ("fd00:9:0:7::".parse::<Ipv6Addr>().unwrap(), 64));
    assert!(prefix.autonomous && !prefix.on_link && told.other && told.lifetime > 0);
    assert_eq!(told.dns.unwrap().1, ["fd00:1::53".parse::<Ipv6Addr>().unwrap()]);
    // Three come fast, then one in some minutes.
    assert_eq!(router.deadline(), at(3_000));
    hear(&mut router, at(3_000), RouterInput::Wake);
    hear(&mut router, at(6_000), RouterInput::Wake);
    assert!(router.deadline() >= at(206_000) && router.deadline() <= at(606_000));
}

/// [4861:6.2.6-1] [4861:6.2.6-2]
#[test]
fn who_asks_is_answered_soon_and_never_more_often_than_every_three_seconds() {
    let mut router = router();
    for now in [0, 3_000, 6_000] {
        advertised(hear(&mut router, at(now), RouterInput::Wake));
    }
    assert!(hear(&mut router, at(60_000), RouterInput::Icmp(SOLICITATION.to_vec())).is_none());
    let soon = router.deadline();
    assert!(soon > at(60_000) && soon <= at(60_500));
    advertised(hear(&mut router, soon, RouterInput::Wake));
    for _ in 0..100 {
        assert!(hear(&mut router, soon, RouterInput::Icmp(SOLICITATION.to_vec())).is_none());
    }
    assert_eq!(router.deadline(), soon + Duration::from_secs(3));
}

/// [4861:6.1.1-1]
#[test]
fn what_is_no_solicitation_is_not_answered() {
    let mut router = router();
    advertised(hear(&mut router, at(0), RouterInput::Wake));
    let before = router.deadline();
    let odd: [&[u8]; 5] = [
        &[133, 1, 0, 0, 0, 0, 0, 0],
        &[133, 0, 0, 0, 0, 0, 0],
        &[134, 0, 0, 0, 0, 0, 0, 0],
        &[133, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        &[133, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0],
    ];
    for octets in odd {
        assert!(!is_router_solicitation(octets));
        assert!(hear(&mut router, at(1), RouterInput::Icmp(octets.to_vec())).is_none());
    }
    assert_eq!(router.deadline(), before);
}

type Message<'a> = Dhcpv6Message<'a>;

fn ask(options: Vec<(u16, &[u8])>) -> RouterInput {
    let kind = Message::INFORMATION_REQUEST;
    RouterInput::Dhcp(Message { kind, transaction: [1, 2, 3], options }.emit())
}

/// [8415:18.3.6-1]
#[test]
fn dhcpv6_tells_the_dns_servers_to_who_asks_for_them() {
    let mut router = router();
    hear(&mut router, at(0), RouterInput::Wake);
    let asked = [(Message::CLIENT_ID, &b"client"[..]), (Message::OPTION_REQUEST, &[0, 24, 0, 23])];
    let Some(RouterOutput::Dhcp(octets)) = hear(&mut router, at(1), ask(asked.to_vec())) else { panic!() };
    let reply = Message::parse(&octets).unwrap();
    assert_eq!((reply.kind, reply.transaction), (Message::REPLY, [1, 2, 3]));
    assert_eq!(reply.option(Message::CLIENT_ID), Some(&b"client"[..]));
    assert!(reply.option(Message::SERVER_ID).is_some());
    let dns: Ipv6Addr = "fd00:1::53".parse().unwrap();
    assert_eq!(reply.option(Message::DNS_SERVERS), Some(&dns.octets()[..]));
    let Some(RouterOutput::Dhcp(octets)) = hear(&mut router, at(2), ask(Vec::new())) else { panic!() };
    assert_eq!(Message::parse(&octets).unwrap().option(Message::DNS_SERVERS), None);
}

/// [8415:16.12-1] [8415:16.12-2]
#[test]
fn dhcpv6_keeps_no_state_and_answers_for_nobody_else() {
    let mut router = router();
    hear(&mut router, at(0), RouterInput::Wake);
    for option in
        [(Message::SERVER_ID, &b"another"[..]), (Message::IA_NA, &[0; 12]), (Message::IA_PD, &[0; 12])]
    {
        assert!(hear(&mut router, at(1), ask(vec![option])).is_none());
    }
    let solicit = Message { kind: 1, transaction: [0; 3], options: Vec::new() }.emit();
    assert!(hear(&mut router, at(1), RouterInput::Dhcp(solicit)).is_none());
}

proptest! {
    #[test]
    fn advertisements_round_trip(numbers in any::<(u8, bool, u16)>(),
        prefixes in vec(any::<(u128, bool, bool, u32, u32)>(), 0..4),
        dns in proptest::option::of((any::<u32>(), vec(any::<u128>(), 1..5))))
    {
        let (hop_limit, other, lifetime) = numbers;
        let prefixes = prefixes.into_iter().map(|(bits, on_link, autonomous, valid, preferred)| {
            let (prefix, length) = (Ipv6Addr::from_bits(bits), 64);
            PrefixInformation { prefix, length, on_link, autonomous, valid, preferred }
        });
        let prefixes = prefixes.collect();
        let dns = dns.map(|(lifetime, servers)| (lifetime, servers.into_iter().map(Ipv6Addr::from_bits).collect()));
        let message = RouterAdvertisement { hop_limit, other, lifetime, prefixes, dns };
        prop_assert_eq!(RouterAdvertisement::parse(&message.emit()), Ok(message));
    }

    #[test]
    fn dhcpv6_round_trips(kind in any::<u8>(), transaction in any::<[u8; 3]>(),
        options in vec((any::<u16>(), vec(any::<u8>(), 0..40)), 0..6))
    {
        let options = options.iter().map(|(code, data)| (*code, &**data)).collect();
        let message = Message { kind, transaction, options };
        let octets = message.emit();
        prop_assert_eq!(Message::parse(&octets), Ok(message));
    }

    #[test]
    fn nothing_that_comes_panics(octets in vec(any::<u8>(), 0..120)) {
        let _ = RouterAdvertisement::parse(&octets);
        let mut router = router();
        hear(&mut router, at(0), RouterInput::Icmp(octets.clone()));
        hear(&mut router, at(0), RouterInput::Dhcp(octets));
    }
}
