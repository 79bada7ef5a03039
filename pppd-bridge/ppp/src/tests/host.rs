use core::net::Ipv6Addr;
use core::time::Duration;

use adit_core::Instant;
use proptest::collection::vec;
use proptest::prelude::{any, proptest};

use crate::wire::{PrefixInformation, ROUTER_SOLICITATION, RouterAdvertisement, is_router_solicitation};
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
    host.handle(now, HostInput::Icmp(what.emit()));
    std::iter::from_fn(|| host.poll()).collect()
}

fn wake(host: &mut Host, now: Instant) -> Vec<HostOutput> {
    host.handle(now, HostInput::Wake);
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
            host.handle(now, HostInput::Icmp(octets));
            while host.poll().is_some() {}
        }
    }
}
