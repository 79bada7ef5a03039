use core::net::Ipv6Addr;
use core::time::Duration;

use adit_core::Instant;
use proptest::collection::vec;
use proptest::prelude::{any, proptest};

use super::pair::Dice;
use crate::wire::{
    Dhcpv6Message, PrefixInformation, ROUTER_SOLICITATION, RouterAdvertisement, is_router_solicitation,
};
use crate::{Host, HostInput, HostOutput};

const ID: [u8; 8] = [2, 0, 0, 0, 0, 0, 0, 7];

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn prefix(text: &str, valid: u32) -> PrefixInformation {
    let prefix = text.parse().unwrap();
    PrefixInformation {
        prefix,
        length: 64,
        on_link: true,
        autonomous: true,
        valid,
        preferred: valid.min(600),
    }
}

fn says(prefixes: &[PrefixInformation]) -> RouterAdvertisement {
    let prefixes = prefixes.to_vec();
    RouterAdvertisement { hop_limit: 64, other: false, lifetime: 1800, prefixes, dns: None }
}

fn tell(host: &mut Host, now: Instant, what: &RouterAdvertisement) -> Vec<HostOutput> {
    host.handle(now, &mut Dice(1), HostInput::Icmp(what.emit()));
    std::iter::from_fn(|| host.poll()).collect()
}

fn wake(host: &mut Host, now: Instant) -> Vec<HostOutput> {
    host.handle(now, &mut Dice(1), HostInput::Wake);
    std::iter::from_fn(|| host.poll()).collect()
}

fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// [4861:6.3.7-1]
#[test]
fn it_asks_ever_more_rarely_until_a_router_answers() {
    let mut host = Host::new(at(0), ID);
    let asked = [HostOutput::Icmp(ROUTER_SOLICITATION.to_vec())];
    assert!(is_router_solicitation(&ROUTER_SOLICITATION));
    for now in [0, 4, 12, 28] {
        assert_eq!(host.deadline(), Some(at(now)));
        assert_eq!(wake(&mut host, at(now)), asked);
        assert!(wake(&mut host, at(now)).is_empty());
    }
    // One that is no default router may not be the only one.
    tell(&mut host, at(29), &RouterAdvertisement { lifetime: 0, ..says(&[]) });
    assert!(host.deadline().is_some());
    tell(&mut host, at(29), &says(&[]));
    assert_eq!(host.deadline(), None);
}

#[test]
fn each_prefix_makes_an_address_once_as_long_as_it_is_valid() {
    let mut host = Host::new(at(0), ID);
    wake(&mut host, at(0));
    let both = says(&[prefix("fd00:9::", 3600), prefix("2001:db8:9::", u32::MAX)]);
    let ours = [address("fd00:9::200:0:0:7"), address("2001:db8:9::200:0:0:7")];
    assert_eq!(tell(&mut host, at(1), &both), ours.map(HostOutput::Add));
    assert!(tell(&mut host, at(10), &both).is_empty());
    assert_eq!(host.deadline(), Some(at(3610)));
    assert_eq!(wake(&mut host, at(3610)), [HostOutput::Remove(ours[0])]);
    assert_eq!(host.deadline(), None);
}

/// [4862:5.5.3-1] [4862:5.5.3-2] [4862:5.5.3-3] [4862:5.5.3-4]
#[test]
fn what_can_be_no_address_makes_none() {
    let good = prefix("fd00:9::", 3600);
    for odd in [
        PrefixInformation { autonomous: false, ..good },
        PrefixInformation { prefix: address("fe80::"), ..good },
        PrefixInformation { preferred: 3601, ..good },
        PrefixInformation { length: 63, ..good },
        PrefixInformation { length: 0, ..good },
        PrefixInformation { valid: 0, preferred: 0, ..good },
        PrefixInformation { prefix: address("::"), ..good },
        PrefixInformation { prefix: address("ff02::"), ..good },
    ] {
        let mut host = Host::new(at(0), ID);
        wake(&mut host, at(0));
        assert!(tell(&mut host, at(1), &says(&[odd])).is_empty(), "{odd:?}");
    }
}

/// [4862:5.5.3-5]
#[test]
fn nobody_takes_an_address_away_at_once() {
    let mut host = Host::new(at(0), ID);
    wake(&mut host, at(0));
    tell(&mut host, at(0), &says(&[prefix("fd00:9::", 86_400)]));
    tell(&mut host, at(10), &says(&[prefix("fd00:9::", 0)]));
    assert_eq!(host.deadline(), Some(at(7210)));
    tell(&mut host, at(20), &says(&[prefix("fd00:9::", 60)]));
    assert_eq!(host.deadline(), Some(at(7210)));
    tell(&mut host, at(20), &says(&[prefix("fd00:9::", 7300)]));
    assert_eq!(host.deadline(), Some(at(7320)));
}

#[test]
fn a_flood_of_prefixes_ends() {
    let mut host = Host::new(at(0), ID);
    let many: Vec<_> = (0..200).map(|n| prefix(&format!("fd00:{n:x}::"), 3600)).collect();
    let told: Vec<_> = many.chunks(20).flat_map(|some| tell(&mut host, at(0), &says(some))).collect();
    assert_eq!(told.iter().filter(|o| matches!(o, HostOutput::Add(_))).count(), 16);
}

#[test]
fn dns_servers_are_told_when_they_change() {
    let mut host = Host::new(at(0), ID);
    wake(&mut host, at(0));
    let dns = vec![address("fd00:1::53")];
    let with = |lifetime| RouterAdvertisement { dns: Some((lifetime, dns.clone())), ..says(&[]) };
    assert_eq!(tell(&mut host, at(1), &with(600)), [HostOutput::Dns(dns.clone())]);
    assert!(tell(&mut host, at(2), &with(600)).is_empty());
    assert_eq!(tell(&mut host, at(3), &with(0)), [HostOutput::Dns(Vec::new())]);
}

/// A host that knows of a router that knows more, and when it asks.
fn curious() -> (Host, Instant) {
    let mut host = Host::new(at(0), ID);
    wake(&mut host, at(0));
    tell(&mut host, at(1), &RouterAdvertisement { other: true, ..says(&[]) });
    let due = host.deadline().unwrap();
    assert!(due >= at(1) && due < at(2), "{due:?}");
    (host, due)
}

fn question(host: &mut Host, now: Instant) -> Vec<u8> {
    match &wake(host, now)[..] {
        [HostOutput::Dhcp(octets)] => octets.clone(),
        other => panic!("{other:?}"),
    }
}

fn answer(host: &mut Host, now: Instant, message: &Dhcpv6Message<'_>) -> Vec<HostOutput> {
    host.handle(now, &mut Dice(1), HostInput::Dhcp(message.emit()));
    std::iter::from_fn(|| host.poll()).collect()
}

fn reply<'a>(transaction: [u8; 3], dns: &'a [u8]) -> Dhcpv6Message<'a> {
    let options = vec![(Dhcpv6Message::SERVER_ID, &[0, 4, 7][..]), (Dhcpv6Message::DNS_SERVERS, dns)];
    Dhcpv6Message { kind: Dhcpv6Message::REPLY, transaction, options }
}

/// [8415:15-1] [8415:18.2.6-1] [8415:18.2.6-2] [8415:18.2.6-3]
#[test]
fn it_asks_by_dhcp_where_a_router_says_so_ever_more_rarely() {
    let (mut host, due) = curious();
    let first = question(&mut host, due);
    let said = Dhcpv6Message::parse(&first).unwrap();
    assert_eq!(said.kind, Dhcpv6Message::INFORMATION_REQUEST);
    assert_eq!(said.option(Dhcpv6Message::OPTION_REQUEST), Some(&[0, 23, 0, 32, 0, 83][..]));
    assert_eq!(said.option(Dhcpv6Message::ELAPSED_TIME), Some(&[0, 0][..]));
    assert_eq!(said.option(Dhcpv6Message::CLIENT_ID), None, "it does not say who it is");
    let mut now = due;
    for wait in [1000, 2000, 4000] {
        let next = host.deadline().unwrap();
        let waited = next.since(now).as_millis();
        assert!(waited >= wait * 8 / 10 && waited <= wait * 12 / 10, "{waited} for {wait}");
        now = next;
        let again = question(&mut host, now);
        assert_eq!(again[..4], first[..4], "the same question");
        let hundredths = u16::try_from(now.since(due).as_millis() / 10).unwrap().to_be_bytes();
        let said = Dhcpv6Message::parse(&again).unwrap();
        assert_eq!(said.option(Dhcpv6Message::ELAPSED_TIME), Some(&hundredths[..]));
    }
}

#[test]
fn who_is_told_nothing_of_dhcp_does_not_ask() {
    let mut host = Host::new(at(0), ID);
    wake(&mut host, at(0));
    tell(&mut host, at(1), &says(&[]));
    assert_eq!(host.deadline(), None);
}

#[test]
fn what_dhcp_names_stands_behind_what_is_advertised() {
    let (mut host, due) = curious();
    let asked = question(&mut host, due);
    let transaction = [asked[1], asked[2], asked[3]];
    let named = address("fd00:1::53");
    let said = answer(&mut host, due, &reply(transaction, &named.octets()));
    assert_eq!(said, [HostOutput::Dns(vec![named])]);
    assert_eq!(host.deadline(), Some(due + Duration::from_secs(86_400)));
    let advertised = address("fd00:1::54");
    let both = RouterAdvertisement { other: true, dns: Some((600, vec![advertised, named])), ..says(&[]) };
    assert_eq!(tell(&mut host, at(5), &both), [HostOutput::Dns(vec![advertised, named])]);
    // A day later it asks anew, and what is not named any more is gone.
    let due = host.deadline().unwrap();
    let again = question(&mut host, due);
    let transaction = [again[1], again[2], again[3]];
    let refresh = [0, 0, 0, 5];
    let mut gone = reply(transaction, &[]);
    gone.options.push((Dhcpv6Message::REFRESH_TIME, &refresh));
    assert!(answer(&mut host, due, &gone).is_empty(), "it is still advertised");
    assert_eq!(host.deadline(), Some(due + Duration::from_secs(600)), "not more often than that");
    assert_eq!(
        tell(&mut host, due, &RouterAdvertisement { dns: Some((0, vec![named])), ..says(&[]) }),
        [HostOutput::Dns(Vec::new())]
    );
}

/// [8415:16.10-1]
#[test]
fn an_answer_to_something_else_counts_for_nothing() {
    let (mut host, due) = curious();
    let named = address("fd00:1::53").octets();
    assert!(answer(&mut host, at(1), &reply([0; 3], &named)).is_empty(), "nothing has been asked");
    let asked = question(&mut host, due);
    let transaction = [asked[1], asked[2], asked[3]];
    let good = reply(transaction, &named);
    let anonymous = Dhcpv6Message { options: good.options[1..].to_vec(), ..good.clone() };
    let mut of_another = good.clone();
    of_another.options.push((Dhcpv6Message::CLIENT_ID, &[1, 2, 3]));
    for odd in [
        reply([transaction[0], transaction[1], !transaction[2]], &named),
        Dhcpv6Message { kind: 2, ..good.clone() },
        anonymous,
        of_another,
    ] {
        assert!(answer(&mut host, due, &odd).is_empty(), "{odd:?}");
    }
    assert_eq!(answer(&mut host, due, &good).len(), 1);
    assert!(answer(&mut host, due, &reply(transaction, &[])).is_empty(), "once");
}

proptest! {
    #[test]
    fn nothing_that_comes_panics(all in vec((vec(any::<u8>(), 0..120), 0_u64..100_000), 0..4)) {
        let mut host = Host::new(at(0), ID);
        let mut now = at(0);
        for (mut octets, later) in all {
            if let Some(first) = octets.get_mut(..2) {
                first.copy_from_slice(&[134, 0]);
            }
            now = now + Duration::from_secs(later);
            host.handle(now, &mut Dice(1), HostInput::Dhcp(octets.clone()));
            host.handle(now, &mut Dice(1), HostInput::Icmp(octets));
            while host.poll().is_some() {}
        }
    }
}
