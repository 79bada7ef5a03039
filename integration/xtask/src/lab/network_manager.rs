//! `--debian12-networkmanager`: scenarios as they are, with Debian 12's NetworkManager instead of 13's. Hosts that start it get its root, which is
//! a peer's like others.

use adit_lab::scenario::Scenario;

/// The root that has it.
pub(crate) const ROOT: &str = "debian12-nm";

/// Has those hosts use it.
///
/// # Errors
/// No host of a scenario starts NetworkManager, or one has a root of its own.
pub(crate) fn older(scenarios: &mut [Scenario]) -> Result<(), String> {
    for scenario in scenarios {
        let named = hosts(scenario);
        if named.is_empty() {
            return Err(format!("{}: no host of it starts NetworkManager", scenario.name));
        }
        for name in named {
            let Some(host) = scenario.host.get_mut(&name) else { continue };
            if host.root.as_deref().is_some_and(|root| root != ROOT) {
                return Err(format!("{}: {name} has a root of its own", scenario.name));
            }
            host.root = Some(ROOT.to_owned());
        }
    }
    Ok(())
}

/// The scenario's text with what [`older`] has changed.
pub(crate) fn written(text: &str, scenario: &Scenario) -> String {
    let changed = scenario.host.iter().filter(|(_, host)| host.root.as_deref() == Some(ROOT));
    changed.fold(text.to_owned(), |text, (name, _)| {
        let section = format!("[host.{name}]\n");
        text.replacen(&section, &format!("{section}root = \"{ROOT}\"\n"), 1)
    })
}

fn hosts(scenario: &Scenario) -> Vec<String> {
    let starts = scenario.step.iter().filter(|step| step.start.as_deref() == Some("NetworkManager"));
    let mut names: Vec<String> = starts.filter_map(|step| step.on.clone()).collect();
    names.sort();
    names.dedup();
    names
}
