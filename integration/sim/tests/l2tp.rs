//! The L2TP core in the simulation.

use adit_sim::l2tp::{run, run_restarted};

#[test]
fn a_range_of_seeds() {
    let (mut up, mut faults) = (0_u64, 0);
    for seed in 0..1000 {
        match run(seed) {
            Ok(summary) => {
                up += u64::from(summary.up > 0);
                faults += summary.faults;
            }
            Err(violation) => panic!("{violation}"),
        }
    }
    // The runs would prove nothing if nobody ever got up, or nothing ever went wrong.
    assert!(up > 300 && up < 950 && faults > 3000, "{up} up, {faults} faults");
}

#[test]
fn a_range_of_seeds_of_many_processes() {
    let (mut up, mut restarts) = (0_u64, 0);
    for seed in 0..1000 {
        match run_restarted(seed) {
            Ok(summary) => {
                up += u64::from(summary.up > 0);
                restarts += summary.restarts;
            }
            Err(violation) => panic!("{violation}"),
        }
    }
    assert!(up > 300 && restarts > 2000, "{up} up, {restarts} restarts");
}

#[test]
fn a_seed_makes_the_same_run_twice() {
    for seed in [1, 77, 4242] {
        assert_eq!(run(seed).unwrap(), run(seed).unwrap());
    }
}
