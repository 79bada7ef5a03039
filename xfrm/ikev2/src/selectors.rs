//! Traffic selectors: what is proposed, what is narrowed, what is taken (RFC 7296 §2.9).

use core::net::IpAddr;

use adit_core::{Prefix, TrafficSelector};

use crate::api::Lease;

/// A TS payload can hold no more.
const MAX: usize = 255;

/// Everything, of both families.
pub(crate) fn everything() -> [TrafficSelector; 2] {
    [Prefix::ANY_V4.into(), Prefix::ANY_V6.into()]
}

/// What is proposed for one side: the list, or everything where it says nothing.
pub(crate) fn or_everything(list: &[TrafficSelector]) -> Vec<TrafficSelector> {
    if list.is_empty() { everything().to_vec() } else { list.to_vec() }
}

/// What `proposed` and `allowed` have in common, in the order of `proposed`, nothing twice.
pub(crate) fn narrow(proposed: &[TrafficSelector], allowed: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let mut out: Vec<TrafficSelector> = Vec::new();
    // [7296:2.9-1]
    let common = proposed.iter().flat_map(|p| allowed.iter().filter_map(|a| p.intersection(*a)));
    for ts in common {
        if out.iter().any(|o| o.covers(ts)) {
            continue;
        }
        out.retain(|o| !ts.covers(*o));
        if out.len() == MAX {
            break;
        }
        out.push(ts);
    }
    out
}

/// Whether the peer's answer `got` is a subset of what we `proposed`, and not empty.
pub(crate) fn is_subset(got: &[TrafficSelector], proposed: &[TrafficSelector]) -> bool {
    !got.is_empty() && got.iter().all(|g| proposed.iter().any(|p| p.covers(*g)))
}

/// The leased addresses as selectors.
pub(crate) fn of_lease(lease: &Lease) -> Vec<TrafficSelector> {
    let v4 = lease.v4.map(IpAddr::V4);
    let v6 = lease.v6.map(|(a, _)| IpAddr::V6(a));
    v4.into_iter().chain(v6).map(|a| Prefix::host(a).into()).collect()
}

/// An initiator's own side: where it is everything, the addresses that were got, in the families in which one was.
pub(crate) fn narrow_to_lease(got: Vec<TrafficSelector>, lease: &Lease) -> Vec<TrafficSelector> {
    let addresses = of_lease(lease);
    if addresses.is_empty() {
        return got;
    }
    narrow(&got, &addresses)
}

/// For transport mode, whose packets have the outer addresses: protocols and ports as they are, for one address.
pub(crate) fn at(list: &[TrafficSelector], address: IpAddr) -> Vec<TrafficSelector> {
    let addresses = Prefix::host(address).range();
    let mut out: Vec<TrafficSelector> = Vec::new();
    for ts in list.iter().map(|ts| TrafficSelector { addresses, ..*ts }) {
        if !out.contains(&ts) {
            out.push(ts);
        }
    }
    out
}

/// Transport mode's selectors as they are on this side of a NAT (RFC 7296 §2.23.1): the peer names `address`, the end of
/// the IKE_SA here, by what it is there. `None`: it names several.
pub(crate) fn translated(list: &[TrafficSelector], address: IpAddr) -> Option<Vec<TrafficSelector>> {
    let first = list.first()?.addresses;
    // [7296:2.23-10] [7296:2.23.1-1]
    let one = first.first == first.last && list.iter().all(|ts| ts.addresses == first);
    one.then(|| at(list, address))
}

/// As people read it: `10.0.0.0/8, ::/0`.
pub(crate) fn describe(list: &[TrafficSelector]) -> String {
    let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(text: &str) -> TrafficSelector {
        text.parse::<Prefix>().unwrap().into()
    }

    #[test]
    fn narrowing_keeps_the_common_part_once() {
        let proposed = [ts("10.1.0.0/16"), ts("0.0.0.0/0"), ts("::/0")];
        let allowed = [ts("10.0.0.0/8"), ts("192.0.2.0/24")];
        assert_eq!(narrow(&proposed, &allowed), [ts("10.0.0.0/8"), ts("192.0.2.0/24")]);
        assert_eq!(narrow(&[ts("::/0")], &allowed), []);
    }

    #[test]
    fn a_wider_answer_is_no_subset() {
        assert!(is_subset(&[ts("10.0.0.0/9")], &[ts("10.0.0.0/8")]));
        assert!(!is_subset(&[ts("0.0.0.0/0")], &[ts("10.0.0.0/8")]));
        assert!(!is_subset(&[ts("10.0.0.0/9"), ts("::/0")], &[ts("10.0.0.0/8")]));
        assert!(!is_subset(&[], &[ts("10.0.0.0/8")]));
    }

    #[test]
    fn transport_mode_keeps_ports_and_has_one_address() {
        let l2tp = |address: &str| TrafficSelector {
            protocol: 17,
            first_port: 1701,
            last_port: 1701,
            ..ts(address)
        };
        let here = "198.51.100.7".parse().unwrap();
        assert_eq!(at(&everything(), here), [ts("198.51.100.7/32")]);
        let there = [l2tp("10.0.0.2/32"), ts("10.0.0.2/32")];
        // [7296:2.23-10] [7296:2.23.1-1]
        assert_eq!(translated(&there, here), Some(vec![l2tp("198.51.100.7/32"), ts("198.51.100.7/32")]));
        assert_eq!(translated(&[ts("10.0.0.2/32"), ts("10.0.0.3/32")], here), None);
        assert_eq!(translated(&[ts("10.0.0.0/24")], here), None);
        assert_eq!(translated(&[], here), None);
    }

    #[test]
    fn everything_becomes_the_address_that_was_got() {
        let lease = Lease { v4: Some("10.9.0.7".parse().unwrap()), ..Lease::default() };
        assert_eq!(narrow_to_lease(vec![ts("0.0.0.0/0"), ts("::/0")], &lease), [ts("10.9.0.7/32")]);
        assert_eq!(narrow_to_lease(vec![ts("10.0.0.0/8")], &Lease::default()), [ts("10.0.0.0/8")]);
    }
}
