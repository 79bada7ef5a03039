//! Every scenario of the repository holds together, before a VM is booted for it.

use std::{fs, path::Path};

use adit_lab::scenario::Scenario;

#[test]
fn every_scenario_holds_together() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let all = Scenario::all(&folder).unwrap();
    assert!(all.iter().any(|scenario| scenario.set == "ci"));
    let folders = fs::read_dir(&folder).unwrap().count();
    assert_eq!(folders, all.len(), "a folder without scenario.toml");
}

/// Writes a scenario and reads it.
fn read(text: &str) -> Result<Scenario, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    fs::write(folder.path().join("scenario.toml"), text).map_err(|e| e.to_string())?;
    Scenario::read(folder.path())
}

const GOOD: &str = r#"
shows = "a"
set = "ci"
[network.n]
[host.h]
interfaces = [{ name = "wan", network = "n" }]
[[step]]
label = "s"
on = "h"
run = "true"
[[sabotage]]
name = "x"
before = "s"
on = "h"
run = "false"
"#;

#[test]
fn what_does_not_hold_together_is_refused_with_the_reason() {
    assert!(read(GOOD).is_ok());
    for (from, to, why) in [
        ("network = \"n\"", "network = \"m\"", "no network"),
        ("run = \"true\"", "run = \"true\"\nstop = \"x\"", "exactly one verb"),
        ("before = \"s\"", "before = \"t\"", "no step with label"),
        ("before = \"s\"\n", "", "either before or after"),
        ("set = \"ci\"", "set = \"often\"", "one of"),
        ("on = \"h\"\nrun = \"true\"", "on = \"g\"\nrun = \"true\"", "no host"),
        ("run = \"true\"", "run = \"true\"\nsleep = 3", "unknown field"),
    ] {
        let broken = GOOD.replacen(from, to, 1);
        assert_ne!(broken, GOOD);
        let said = read(&broken).unwrap_err();
        assert!(said.contains(why), "{said:?} does not say {why:?}");
    }
}
