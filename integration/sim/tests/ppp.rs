//! The PPP core in the simulation.

use adit_sim::ppp::run;

/// Seeds that once failed, and what was wrong.
const REGRESSIONS: &[(u64, &str)] = &[
    (105, "what was proven, and the keys of it, outlived a link that was negotiated anew"),
    (315, "one end went on in clear where the other encrypted"),
    (2889, "an end that could not have its peer prove itself offered it a link without that first"),
    (2968, "a request that came again stopped what was sent, and nothing began it again"),
    (2982, "a key that two Acks had begun was taken"),
    (9010, "what a peer had asked for of encryption counted when it asked for nothing any more"),
    (3156, "a family that came late was never said to be up"),
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
    let (mut up, mut faults) = (0_u64, 0);
    for seed in 0..1000 {
        match run(seed) {
            Ok(summary) => {
                up += u64::from(summary.up);
                faults += summary.faults;
            }
            Err(violation) => panic!("{violation}"),
        }
    }
    // The runs would prove nothing if nobody ever got up, or nothing ever went wrong.
    assert!(up > 400 && up < 950 && faults > 3000, "{up} up, {faults} faults");
}

#[test]
fn a_seed_makes_the_same_run_twice() {
    for seed in [1, 77, 4242] {
        assert_eq!(run(seed).unwrap(), run(seed).unwrap());
    }
}
