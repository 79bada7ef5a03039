//! Clients that move, in the simulation.

use adit_sim::world::{Roamed, run_roaming};

/// Seeds that once failed, and what was wrong.
const REGRESSIONS: &[(u64, &str)] = &[
    (
        273,
        "a server that had taken another copy of an update than the one whose answer came was left where it was",
    ),
    (150, "a request that had been given up was never asked again, and the keys of a CHILD_SA ran out"),
    (18, "likewise, and the IKE_SA's did"),
    (1344, "a client went without end between paths that answered at the same time"),
    (609, "a server gave up a client whose requests came, since its own answers had got lost"),
];

#[test]
fn seeds_that_once_failed() {
    for (seed, what) in REGRESSIONS {
        if let Err(violation) = run_roaming(*seed, false) {
            panic!("{violation} (once: {what})");
        }
    }
}

#[test]
fn a_range_of_seeds() {
    let mut all = Roamed::default();
    for seed in 0..200 {
        match run_roaming(seed, false) {
            Ok(one) => all += one,
            Err(violation) => panic!("{violation}"),
        }
    }
    // The runs would prove nothing if nobody ever moved.
    let enough = all.moves > 1000 && all.followed > 1000 && all.connected > 2000 && all.lost >= 200;
    assert!(enough && all.unreachable > 20, "{all:?}");
}

#[test]
fn a_seed_makes_the_same_run_twice() {
    for seed in [1, 77] {
        assert_eq!(run_roaming(seed, false).unwrap(), run_roaming(seed, false).unwrap());
    }
}
