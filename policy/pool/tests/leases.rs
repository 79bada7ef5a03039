//! What clients get, and a model that no sequence of calls may contradict.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use adit_core::{AddressRange, Failure, FailureCode, Identity};
use adit_pool::{Lease, Pool, PoolConfig, PoolError, PoolRange, Request};
use proptest::prelude::*;

const V4: Request = Request { v4: true, v6: false, wanted_v4: None, wanted_v6: None };
const V6: Request = Request { v4: false, v6: true, wanted_v4: None, wanted_v6: None };
const BOTH: Request = Request { v4: true, v6: true, wanted_v4: None, wanted_v6: None };

fn prefix(text: &str) -> PoolRange {
    PoolRange::Prefix(text.parse().unwrap())
}

fn range(first: &str, last: &str) -> PoolRange {
    PoolRange::Range(AddressRange { first: first.parse().unwrap(), last: last.parse().unwrap() })
}

fn pool(ranges: &[PoolRange]) -> Pool {
    Pool::new("office", &PoolConfig::new(ranges.to_vec())).unwrap()
}

fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

fn v4(text: &str) -> Lease {
    Lease { v4: Some(text.parse().unwrap()), v6: None }
}

#[test]
fn a_networks_own_addresses_and_the_servers_are_not_given_away() {
    let mut config = PoolConfig::new(vec![prefix("10.0.0.0/29"), prefix("2001:db8::/126")]);
    config.exclude = ["10.0.0.1", "2001:db8::1", "192.0.2.1"].map(|a| a.parse().unwrap()).to_vec();
    let mut pool = Pool::new("office", &config).unwrap();
    assert_eq!(pool.size(), (5, 2));
    let all: Vec<Lease> = (0..5).map(|n| pool.lease(n, &id(&format!("u{n}")), BOTH).unwrap()).collect();
    let v4s: Vec<String> = all.iter().map(|l| l.v4.unwrap().to_string()).collect();
    assert_eq!(v4s, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    let v6s: Vec<Ipv6Addr> = all.iter().filter_map(|l| l.v6.map(|(a, _)| a)).collect();
    assert_eq!(v6s, ["2001:db8::2", "2001:db8::3"].map(|a| a.parse::<Ipv6Addr>().unwrap()));
    assert_eq!(all.first().unwrap().v6.unwrap().1, 128);
    assert_eq!(self::pool(&[prefix("10.0.0.0/31")]).size().0, 2);
    assert_eq!(self::pool(&[prefix("10.0.0.1")]).size().0, 1);
    assert_eq!(self::pool(&[prefix("2001:db8::/127")]).size().1, 2);
}

#[test]
fn who_comes_in_again_has_the_address_of_before_until_both_are_gone() {
    let mut pool = pool(&[range("10.0.0.1", "10.0.0.3")]);
    let ann = id("ann");
    assert_eq!(pool.lease_again(1, &ann, V4).unwrap(), v4("10.0.0.1"));
    assert_eq!(pool.lease_again(2, &ann, V4).unwrap(), v4("10.0.0.1"));
    assert_eq!(pool.lease_again(2, &ann, V4).unwrap(), v4("10.0.0.1"), "asked twice");
    assert_eq!(pool.lease_again(3, &ann, V4).unwrap(), v4("10.0.0.1"));
    assert_eq!(pool.lease_again(4, &id("bob"), V4).unwrap(), v4("10.0.0.2"));
    let at = "10.0.0.1".parse().unwrap();
    assert_eq!((pool.owner_of(at), pool.leased().0), (Some(3), 2));
    pool.release(3);
    pool.release(1);
    assert_eq!((pool.owner_of(at), pool.leased().0), (Some(2), 2));
    assert_eq!(pool.lease_again(5, &ann, V4).unwrap(), v4("10.0.0.1"), "the newest that is left");
    pool.release(2);
    pool.release(5);
    assert_eq!((pool.owner_of(at), pool.leased().0), (None, 1));
    // Who does not take another's place gets an address of its own.
    assert_eq!(pool.lease(6, &ann, V4).unwrap(), v4("10.0.0.1"));
    assert_eq!(pool.lease(7, &ann, V4).unwrap(), v4("10.0.0.3"));
}

#[test]
fn who_comes_in_again_may_ask_for_a_family_that_the_pool_has_not() {
    let mut pool = pool(&[range("10.0.0.1", "10.0.0.3")]);
    let both = Request { v4: true, v6: true, ..Request::default() };
    assert_eq!(pool.lease_again(1, &id("ann"), both).unwrap(), v4("10.0.0.1"));
    assert_eq!(pool.lease_again(2, &id("ann"), both).unwrap(), v4("10.0.0.1"));
}

#[test]
fn an_exhausted_pool_says_its_name_and_size() {
    let mut pool = pool(&[range("10.0.0.1", "10.0.0.2"), range("10.0.1.1", "10.0.1.1")]);
    for owner in 0..3 {
        pool.lease(owner, &id("ann"), V4).unwrap();
    }
    let error = pool.lease(3, &id("ann"), V4).unwrap_err();
    assert_eq!(error.to_string(), "the pool \"office\" has no free address: all 3 are leased");
    assert_eq!(Failure::from(error).code, FailureCode::NoAddress);
    assert_eq!(
        pool.lease(3, &id("ann"), V6).unwrap_err().to_string(),
        "the pool \"office\" has no IPv6 addresses"
    );
    assert_eq!(pool.leased(), (3, 0));
    pool.release(1).unwrap();
    assert_eq!(pool.lease(3, &id("bob"), V4), Ok(v4("10.0.0.2")));
}

#[test]
fn one_family_is_enough() {
    let mut pool = pool(&[range("10.0.0.1", "10.0.0.1"), prefix("2001:db8::/64")]);
    assert!(pool.lease(1, &id("ann"), BOTH).unwrap().v4.is_some());
    let second = pool.lease(2, &id("bob"), BOTH).unwrap();
    assert!(second.v4.is_none() && second.v6.is_some());
    assert_eq!(pool.size(), (1, u128::from(u64::MAX)));
}

#[test]
fn an_identity_gets_its_address_again() {
    let mut pool = pool(&[prefix("10.0.0.0/24")]);
    let anns = pool.lease(1, &id("ann"), V4).unwrap();
    let bobs = pool.lease(2, &id("bob"), V4).unwrap();
    assert_ne!(anns, bobs);
    assert_eq!(pool.release(1), Some(anns));
    assert_eq!(pool.release(2), Some(bobs));
    let carols = pool.lease(3, &id("carol"), V4).unwrap();
    assert!(carols != anns && carols != bobs, "what is remembered is taken last");
    assert_eq!(pool.lease(4, &id("bob"), V4), Ok(bobs));
    assert_eq!(pool.lease(5, &id("ann"), V4), Ok(anns));
    assert!(pool.lease(6, &id("ann"), V4).is_ok_and(|l| l != anns), "a second device gets another");
}

#[test]
fn the_longest_free_is_given_to_another_when_nothing_else_is_left() {
    let mut pool = pool(&[range("10.0.0.1", "10.0.0.3")]);
    for (owner, name) in [(1, "ann"), (2, "bob"), (3, "carol")] {
        pool.lease(owner, &id(name), V4).unwrap();
    }
    for owner in [2, 1, 3] {
        pool.release(owner).unwrap();
    }
    assert_eq!(pool.lease(4, &id("dave"), V4), Ok(v4("10.0.0.2")));
    assert_eq!(pool.lease(5, &id("ann"), V4), Ok(v4("10.0.0.1")));
    assert_eq!(pool.lease(6, &id("bob"), V4), Ok(v4("10.0.0.3")));
}

#[test]
fn memory_of_identities_has_a_bound() {
    let mut config = PoolConfig::new(vec![prefix("10.0.0.0/8")]);
    config.remember = 2;
    let mut pool = Pool::new("office", &config).unwrap();
    let first: Vec<Lease> = (0..3).map(|n| pool.lease(n, &id(&format!("u{n}")), V4).unwrap()).collect();
    for owner in 0..3 {
        pool.release(owner).unwrap();
    }
    let again: Vec<bool> =
        (0..3).map(|n| Ok(first[n as usize]) == pool.lease(10 + n, &id(&format!("u{n}")), V4)).collect();
    assert_eq!(again, [false, true, true]);
    config.remember = 0;
    let mut pool = Pool::new("office", &config).unwrap();
    let first = pool.lease(1, &id("ann"), V4).unwrap();
    pool.release(1);
    assert_ne!(pool.lease(2, &id("ann"), V4), Ok(first));
}

#[test]
fn a_wanted_address_is_given_if_it_is_free_and_the_pools() {
    let mut pool = pool(&[prefix("10.0.0.0/24")]);
    let want = |a: &str| Request { wanted_v4: Some(a.parse().unwrap()), ..V4 };
    assert_eq!(pool.lease(1, &id("ann"), want("10.0.0.77")), Ok(v4("10.0.0.77")));
    for not in ["10.0.0.77", "10.0.1.1", "10.0.0.0", "10.0.0.255", "0.0.0.0"] {
        let owner = u64::from(not.parse::<Ipv4Addr>().unwrap().to_bits()) + 100;
        assert!(pool.lease(owner, &id("bob"), want(not)).is_ok_and(|l| l != v4(not)), "{not}");
    }
}

#[test]
fn an_owner_has_one_lease() {
    let mut pool = pool(&[prefix("10.0.0.0/24")]);
    let lease = pool.lease(1, &id("ann"), V4).unwrap();
    assert_eq!(pool.lease(1, &id("ann"), V4), Ok(lease));
    assert_eq!((pool.leased(), pool.lease_of(1)), ((1, 0), Some(lease)));
    assert_eq!(pool.owner_of(lease.v4.unwrap().into()), Some(1));
    assert_eq!((pool.release(2), pool.release(1), pool.release(1)), (None, Some(lease), None));
    assert_eq!(pool.owner_of(lease.v4.unwrap().into()), None);
}

#[test]
fn mistakes_in_a_configuration() {
    let make = |ranges: &[PoolRange]| Pool::new("p", &PoolConfig::new(ranges.to_vec())).map(|_| ());
    let overlap = make(&[prefix("10.0.0.0/24"), range("10.0.0.200", "10.0.1.10")]);
    assert_eq!(overlap.unwrap_err().to_string(), "the ranges of the pool \"p\" overlap at 10.0.0.200");
    assert!(matches!(make(&[prefix("::/0"), prefix("2001:db8::/64")]), Err(PoolError::Overlap { .. })));
    assert!(matches!(make(&[range("10.0.0.2", "10.0.0.1")]), Err(PoolError::Range { .. })));
    assert!(matches!(make(&[range("10.0.0.2", "::3")]), Err(PoolError::Range { .. })));
    assert!(matches!(make(&[]), Err(PoolError::Empty(_))));
    assert_eq!(make(&[prefix("10.0.0.0/24"), prefix("10.0.1.0/24"), prefix("::/0")]), Ok(()));
    let mut config = PoolConfig::new(vec![range("10.0.0.1", "10.0.0.1")]);
    config.exclude = vec!["10.0.0.1".parse().unwrap()];
    assert!(matches!(Pool::new("p", &config), Err(PoolError::Empty(_))));
    config.v6_prefix = 0;
    assert_eq!(Pool::new("p", &config).map(|_| ()), Err(PoolError::PrefixLength(0)));
}

#[test]
fn twenty_thousand_clients() {
    let mut pool = pool(&[prefix("10.0.0.0/16"), prefix("2001:db8::/64")]);
    let lease_all = |pool: &mut Pool, from: u64| -> Vec<Lease> {
        (0..20_000).map(|n| pool.lease(from + n, &id(&format!("user{n}")), BOTH).unwrap()).collect()
    };
    let first = lease_all(&mut pool, 0);
    let different: BTreeSet<Ipv4Addr> = first.iter().filter_map(|l| l.v4).collect();
    assert_eq!((different.len(), pool.leased()), (20_000, (20_000, 20_000)));
    for owner in 0..20_000 {
        pool.release(owner).unwrap();
    }
    assert_eq!(lease_all(&mut pool, 50_000), first);
}

#[derive(Clone, Debug)]
enum Op {
    Lease { owner: u64, identity: u8, v4: bool, v6: bool, wanted: Option<u8> },
    Release { owner: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (0_u64..24, 0_u8..10, any::<bool>(), any::<bool>(), proptest::option::of(0_u8..20))
            .prop_map(|(owner, identity, v4, v6, wanted)| Op::Lease { owner, identity, v4, v6, wanted }),
        2 => (0_u64..24).prop_map(|owner| Op::Release { owner }),
    ];
    proptest::collection::vec(op, 0..200)
}

fn tried() -> (PoolConfig, BTreeSet<IpAddr>) {
    let mut config = PoolConfig::new(vec![
        prefix("10.0.0.0/29"),
        range("10.0.0.9", "10.0.0.11"),
        range("2001:db8::1", "2001:db8::6"),
    ]);
    config.exclude = vec!["10.0.0.3".parse().unwrap()];
    config.remember = 4;
    let all =
        ["10.0.0.1", "10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.9", "10.0.0.10", "10.0.0.11"];
    let mut set: BTreeSet<IpAddr> = all.iter().map(|a| a.parse().unwrap()).collect();
    set.extend((1..=6).map(|n| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n))));
    (config, set)
}

fn addresses(lease: Lease) -> Vec<IpAddr> {
    lease.v4.map(IpAddr::V4).into_iter().chain(lease.v6.map(|(a, _)| IpAddr::V6(a))).collect()
}

/// Seeds that failed are kept beside this file.
fn seeds() -> Option<Box<dyn proptest::test_runner::FailurePersistence>> {
    Some(Box::new(proptest::test_runner::FileFailurePersistence::WithSource("regressions")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: seeds(), ..ProptestConfig::default() })]

    /// The model knows only which addresses are free. No address is ever had by two or comes from elsewhere,
    /// none is refused while one is free, and in the end all are there again.
    #[test]
    fn no_address_twice_and_none_lost(ops in ops()) {
        let (config, all) = tried();
        let mut pool = Pool::new("model", &config).unwrap();
        let mut twin = Pool::new("model", &config).unwrap();
        let mut free = all.clone();
        let mut held: BTreeMap<u64, Lease> = BTreeMap::new();
        for op in &ops {
            match *op {
                Op::Lease { owner, identity, v4, v6, wanted } => {
                    let wanted_v4 = wanted.map(|n| Ipv4Addr::new(10, 0, 0, n));
                    let request = Request { v4, v6, wanted_v4, wanted_v6: None };
                    let who = id(&format!("u{identity}"));
                    let result = pool.lease(owner, &who, request);
                    prop_assert_eq!(&result, &twin.lease(owner, &who, request), "the same calls, the same answers");
                    if let Some(had) = held.get(&owner) {
                        prop_assert_eq!(result, Ok(*had));
                        continue;
                    }
                    let free_v4 = v4 && free.iter().any(IpAddr::is_ipv4);
                    let free_v6 = v6 && free.iter().any(IpAddr::is_ipv6);
                    prop_assert_eq!(result.is_ok(), free_v4 || free_v6);
                    let Ok(lease) = result else { continue };
                    prop_assert_eq!((lease.v4.is_some(), lease.v6.is_some()), (free_v4, free_v6));
                    if let Some(w) = wanted_v4.filter(|w| v4 && free.contains(&IpAddr::V4(*w))) {
                        prop_assert_eq!(lease.v4, Some(w));
                    }
                    for address in addresses(lease) {
                        prop_assert!(free.remove(&address), "{} was not free", address);
                        prop_assert_eq!(pool.owner_of(address), Some(owner));
                    }
                    held.insert(owner, lease);
                }
                Op::Release { owner } => {
                    let result = pool.release(owner);
                    prop_assert_eq!(result, twin.release(owner));
                    prop_assert_eq!(result, held.remove(&owner));
                    free.extend(result.map(addresses).into_iter().flatten());
                }
            }
        }
        prop_assert_eq!(pool.leases().map(|(o, _, l)| (o, l)).collect::<Vec<_>>(), held.clone().into_iter().collect::<Vec<_>>());
        for owner in held.into_keys() {
            pool.release(owner).unwrap();
        }
        let (v4s, v6s) = pool.size();
        prop_assert_eq!((v4s, v6s), (8, 6));
        let got: BTreeSet<IpAddr> = (100..108).flat_map(|o| addresses(pool.lease(o, &id("last"), BOTH).unwrap())).collect();
        prop_assert_eq!(got, all);
    }

    /// Whoever comes back before anybody else asks gets what they had.
    #[test]
    fn coming_back_at_once_gives_the_same(ops in ops(), owner in 0_u64..24) {
        let (config, _) = tried();
        let mut pool = Pool::new("model", &config).unwrap();
        for op in &ops {
            match *op {
                Op::Lease { owner, identity, v4, v6, .. } => {
                    let _ = pool.lease(owner, &id(&format!("u{identity}")), Request { v4, v6, ..Request::default() });
                }
                Op::Release { owner } => {
                    pool.release(owner);
                }
            }
        }
        let who = pool.leases().find(|(o, ..)| *o == owner).map(|(_, who, _)| who.clone());
        if let (Some(who), Some(had)) = (who, pool.release(owner)) {
            let again = Request { v4: had.v4.is_some(), v6: had.v6.is_some(), ..Request::default() };
            prop_assert_eq!(pool.lease(1000, &who, again), Ok(had));
        }
    }
}
