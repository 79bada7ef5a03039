//! Whether this host is in a network that a profile trusts.

use core::net::IpAddr;

/// A way out of this host, as its routes have it: where packets go that nothing else is known for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    /// The link.
    pub link: String,
    /// Of IPv4, or of IPv6.
    pub ipv4: bool,
    /// The route's metric: the lowest is taken.
    pub metric: u32,
    /// The router there. `None`: whatever is at the other end of the link.
    pub router: Option<Router>,
}

/// The next host of an [`Exit`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Router {
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address (EUI-48). `None`: it has not said it.
    pub hardware: Option<[u8; 6]>,
}

/// Which of these networks, told by their routers, the host is in: all that it sends anywhere leaves by a link that leads to
/// one of them. `None`: in none of them, or it is not known.
///
/// A link is known by any of its routers, so that a network with IPv4 and IPv6 is named once.
#[must_use]
pub fn trusted<'a>(exits: &'a [Exit], networks: &[(IpAddr, [u8; 6])]) -> Option<(&'a str, IpAddr)> {
    let known = |exit: &Exit| {
        let router = exit.router?;
        networks.contains(&(router.address, router.hardware?)).then_some(router.address)
    };
    let mut found = None;
    for taken in exits.iter().filter(|exit| is_taken(exit, exits)) {
        let of_link = exits.iter().filter(|other| other.link == taken.link);
        let router = of_link.filter_map(known).next()?;
        found = found.or(Some((taken.link.as_str(), router)));
    }
    found
}

/// Whether no other way of its family goes before it. Of several that are as good each may be taken.
fn is_taken(exit: &Exit, all: &[Exit]) -> bool {
    all.iter().all(|other| other.ipv4 != exit.ipv4 || other.metric >= exit.metric)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OFFICE: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const CAFE: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn v4() -> IpAddr {
        IpAddr::from([192, 168, 1, 1])
    }

    fn v6() -> IpAddr {
        "fe80::1".parse().unwrap()
    }

    fn exit(link: &str, address: IpAddr, metric: u32, hardware: impl Into<Option<[u8; 6]>>) -> Exit {
        let router = Some(Router { address, hardware: hardware.into() });
        Exit { link: link.into(), ipv4: address.is_ipv4(), metric, router }
    }

    fn is_trusted(exits: &[Exit]) -> bool {
        trusted(exits, &[(v4(), OFFICE)]).is_some()
    }

    #[test]
    fn the_same_address_in_another_network_is_another_router() {
        assert_eq!(trusted(&[exit("wlan0", v4(), 600, OFFICE)], &[(v4(), OFFICE)]), Some(("wlan0", v4())));
        assert!(!is_trusted(&[exit("wlan0", v4(), 600, CAFE)]));
        assert!(!is_trusted(&[exit("wlan0", v4(), 600, None)]), "it has not said who it is");
        assert!(!is_trusted(&[exit("wlan0", [192, 168, 1, 2].into(), 600, OFFICE)]));
        assert!(!is_trusted(&[]), "no network is none");
    }

    #[test]
    fn what_goes_another_way_is_not_in_the_network() {
        let office = exit("eth0", v4(), 100, OFFICE);
        assert!(is_trusted(&[office.clone(), exit("wlan0", v4(), 600, CAFE)]));
        assert!(!is_trusted(&[office.clone(), exit("wlan0", v4(), 50, CAFE)]));
        assert!(!is_trusted(&[office.clone(), exit("wlan0", v4(), 100, CAFE)]), "as good");
        assert!(!is_trusted(&[office.clone(), exit("wlan0", v6(), 1024, CAFE)]), "IPv6 beside it");
        assert!(is_trusted(&[office.clone(), exit("eth0", v6(), 1024, CAFE)]), "IPv6 of the same link");
        let ppp = Exit { link: "ppp0".into(), ipv4: true, metric: 1, router: None };
        assert!(!is_trusted(&[office, ppp]));
    }

    fn any_exit() -> impl Strategy<Value = Exit> {
        let router = (any::<bool>(), prop_oneof![Just(None), Just(Some(OFFICE)), Just(Some(CAFE))]);
        (0..3_u8, 0..4_u32, proptest::option::of(router), any::<bool>()).prop_map(
            |(link, metric, router, ipv4)| {
                let router = router.map(|(named, hardware)| {
                    let address = if named { v4() } else { IpAddr::from([192, 168, 1, 2]) };
                    Router { address: if ipv4 { address } else { v6() }, hardware }
                });
                Exit { link: format!("eth{link}"), ipv4, metric, router }
            },
        )
    }

    proptest! {
        /// However many ways there are: it is trusted only if each that may be taken leaves by a link with that router.
        #[test]
        fn nothing_leaves_by_a_link_that_is_not_known(exits in proptest::collection::vec(any_exit(), 0..6)) {
            if is_trusted(&exits) {
                for ipv4 in [true, false] {
                    let best = exits.iter().filter(|e| e.ipv4 == ipv4).map(|e| e.metric).min();
                    for taken in exits.iter().filter(|e| e.ipv4 == ipv4 && Some(e.metric) == best) {
                        let known = Some(Router { address: v4(), hardware: Some(OFFICE) });
                        prop_assert!(exits.iter().any(|e| e.link == taken.link && e.router == known));
                    }
                }
                prop_assert!(!exits.is_empty());
            }
        }

        #[test]
        fn the_order_does_not_matter(exits in proptest::collection::vec(any_exit(), 0..6)) {
            let reversed: Vec<Exit> = exits.iter().rev().cloned().collect();
            prop_assert_eq!(is_trusted(&exits), is_trusted(&reversed));
        }
    }
}
