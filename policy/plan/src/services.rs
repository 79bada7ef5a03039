//! Servers that SRV records name (RFC 2782), and the order in which they are dialled.

/// An SRV record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Lower is dialled first.
    pub priority: u16,
    /// Of those of one priority, how often it is the first, beside the others.
    pub weight: u16,
    /// Where it listens.
    pub port: u16,
    /// Its name, in small letters, without a dot at its end. Empty: there is decidedly no such service.
    pub target: String,
}

/// The order in which a client dials them: by priority; of one priority at random, by weight, as RFC 2782 has it. `draw` gives an
/// unpredictable number each time.
#[must_use]
pub fn order(mut services: Vec<Service>, mut draw: impl FnMut() -> u64) -> Vec<Service> {
    // Those of weight 0 come first: they are taken where 0 is drawn, and so seldom.
    services.sort_by_key(|service| (service.priority, service.weight != 0));
    let mut out = Vec::with_capacity(services.len());
    while let Some(priority) = services.first().map(|first| first.priority) {
        let same = services.iter().take_while(|service| service.priority == priority);
        let sum: u64 = same.clone().map(|service| u64::from(service.weight)).sum();
        let drawn = draw() % (sum + 1);
        let mut running = 0;
        let taken = same.into_iter().position(|service| {
            running += u64::from(service.weight);
            running >= drawn
        });
        out.push(services.remove(taken.unwrap_or(0)));
    }
    out
}

/// Whether a name is a domain's own, or one of a host in it.
#[must_use]
pub fn is_within(domain: &str, name: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn service(priority: u16, weight: u16, target: &str) -> Service {
        Service { priority, weight, port: 500, target: target.into() }
    }

    fn names(services: &[Service]) -> Vec<&str> {
        services.iter().map(|service| service.target.as_str()).collect()
    }

    #[test]
    fn a_lower_priority_goes_first_whatever_the_weights_are() {
        let all = vec![service(20, 65535, "c"), service(10, 0, "a"), service(20, 0, "b")];
        assert_eq!(names(&order(all.clone(), || 0)), ["a", "b", "c"]);
        assert_eq!(names(&order(all, || 1)), ["a", "c", "b"]);
        assert!(order(Vec::new(), || 0).is_empty());
    }

    /// RFC 2782: the running sums are 0, 1, 3 and 6, and the first that is at least the number drawn is taken.
    #[test]
    fn of_one_priority_the_weights_say_how_often_each_is_first() {
        let all = ["one", "two", "three"].into_iter().zip(1..).map(|(name, weight)| service(1, weight, name));
        let all: Vec<Service> = all.chain([service(1, 0, "none")]).collect();
        let first = |drawn: u64| {
            let mut draws = std::iter::once(drawn).chain(std::iter::repeat(0));
            order(all.clone(), || draws.next().unwrap()).remove(0).target
        };
        let firsts: Vec<String> = (0..7).map(first).collect();
        assert_eq!(firsts, ["none", "one", "two", "two", "three", "three", "three"]);
    }

    #[test]
    fn a_domain_has_its_hosts_and_no_other() {
        assert!(is_within("example.com", "example.com") && is_within("example.com", "vpn.eu.example.com"));
        for other in ["badexample.com", "example.com.evil.net", "com", "example.org", ""] {
            assert!(!is_within("example.com", other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn each_is_dialled_once_and_by_priority(
            all in proptest::collection::vec((0..4_u16, any::<u16>()), 0..12),
            draws in proptest::collection::vec(any::<u64>(), 12),
        ) {
            let all: Vec<Service> =
                all.iter().enumerate().map(|(at, (p, w))| service(*p, *w, &at.to_string())).collect();
            let mut draws = draws.into_iter();
            let ordered = order(all.clone(), || draws.next().unwrap());
            prop_assert!(ordered.is_sorted_by_key(|service| service.priority));
            let (mut before, mut after) = (names(&all), names(&ordered));
            before.sort_unstable();
            after.sort_unstable();
            prop_assert_eq!(before, after);
        }
    }
}
