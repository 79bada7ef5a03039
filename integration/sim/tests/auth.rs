//! EAP and RADIUS in the simulation.

use adit_sim::auth::run;

/// Seeds that once failed, and what was wrong.
const REGRESSIONS: &[(u64, &str)] = &[
    (73, "what a peer sent again went to the TLS engine twice"),
    (575, "a success of somebody else kept back what the peer had still to say"),
];

#[test]
fn seeds_that_once_failed() {
    for (seed, what) in REGRESSIONS {
        if let Err(violation) = run(*seed) {
            panic!("{violation} (once: {what})");
        }
    }
}

#[test]
fn a_range_of_seeds() {
    let (mut talks, mut let_in, mut faults, mut forged) = (0, 0, 0, 0);
    for seed in 0..600 {
        match run(seed) {
            Ok(one) => {
                talks += one.talks;
                let_in += one.let_in;
                faults += one.faults;
                forged += one.forged;
            }
            Err(violation) => panic!("{violation}"),
        }
    }
    // The runs would prove nothing if nobody ever came in, or everybody; or if nothing went wrong, or nobody forged.
    assert!(let_in * 10 > talks * 3 && let_in * 10 < talks * 7, "{let_in} of {talks}");
    assert!(faults > 5000 && forged > 5000, "{faults} faults, {forged} forged");
}

#[test]
fn a_seed_makes_the_same_run_twice() {
    for seed in [1, 77, 4242] {
        assert_eq!(run(seed).unwrap(), run(seed).unwrap());
    }
}
