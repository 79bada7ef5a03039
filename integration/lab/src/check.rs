//! Whether a scenario holds together, before anything is set up for it.

use crate::scenario::{Scenario, Step};

/// Checks names and verbs.
///
/// # Errors
/// The first thing that is wrong, for its author.
pub(crate) fn holds_together(scenario: &Scenario) -> Result<(), String> {
    if !["ci", "full", "bench", "demo"].contains(&scenario.set.as_str()) {
        return Err(format!("set = {:?}: one of \"ci\", \"full\", \"bench\", \"demo\"", scenario.set));
    }
    hosts(scenario)?;
    steps(scenario)?;
    expectations(scenario)?;
    sabotages(scenario)
}

fn hosts(scenario: &Scenario) -> Result<(), String> {
    for (name, host) in &scenario.host {
        for interface in &host.interfaces {
            if !scenario.network.contains_key(&interface.network) {
                return Err(format!("host {name}: no network {:?}", interface.network));
            }
            if interface.name.len() > 15 {
                return Err(format!("host {name}: interface name {:?} is longer than 15", interface.name));
            }
        }
        if let Some(nat) = &host.nat {
            port(scenario, &format!("{name}:{}", nat.out))?;
        }
    }
    for certificate in &scenario.certificate {
        for target in certificate.certificate_to.iter().chain(&certificate.key_to) {
            let (name, _) = target.split_once(':').ok_or_else(|| format!("{target:?} is not HOST:/path"))?;
            host(scenario, name)?;
        }
    }
    Ok(())
}

fn steps(scenario: &Scenario) -> Result<(), String> {
    for (index, step) in scenario.step.iter().enumerate() {
        let at = |why: String| format!("step {}: {why}", index + 1);
        let verbs = verbs(step);
        if verbs.len() != 1 {
            return Err(at(format!("exactly one verb, but it has {verbs:?}")));
        }
        let link = step.link_down.as_ref().or(step.link_up.as_ref());
        match (link, &step.on) {
            (Some(link), _) => port(scenario, link).map_err(at)?,
            (None, Some(name)) => host(scenario, name).map_err(at)?,
            (None, None) => return Err(at("no host: on = …".to_owned())),
        }
        for name in step.send.iter().flat_map(|send| &send.carried_by) {
            host(scenario, name).map_err(at)?;
        }
    }
    Ok(())
}

fn verbs(step: &Step) -> Vec<&'static str> {
    let given = [
        ("run", step.run.is_some()),
        ("until", step.until.is_some()),
        ("start", step.start.is_some()),
        ("stop", step.stop.is_some()),
        ("kill", step.kill.is_some()),
        ("send", step.send.is_some()),
        ("link_down", step.link_down.is_some()),
        ("link_up", step.link_up.is_some()),
    ];
    given.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect()
}

fn expectations(scenario: &Scenario) -> Result<(), String> {
    for wire in &scenario.expect.wire {
        wire.on.iter().try_for_each(|name| port(scenario, name))?;
        label(scenario, wire.from.as_ref())?;
        label(scenario, wire.to.as_ref())?;
        if !["esp-only", "marker"].contains(&wire.allow.as_str()) {
            return Err(format!("expect.wire: allow = {:?}: \"esp-only\" or \"marker\"", wire.allow));
        }
        if !["esp", "udp", "any", "none"].contains(&wire.esp.as_str()) {
            return Err(format!("expect.wire: esp = {:?}: \"esp\", \"udp\", \"any\" or \"none\"", wire.esp));
        }
    }
    for left in &scenario.expect.nothing_left {
        left.on.iter().try_for_each(|name| host(scenario, name))?;
        label(scenario, left.since.as_ref())?;
        label(scenario, left.at.as_ref())?;
    }
    Ok(())
}

fn sabotages(scenario: &Scenario) -> Result<(), String> {
    if scenario.sabotage.is_empty() {
        return Err("no [[sabotage]]: each scenario says how its claim can be broken".to_owned());
    }
    for sabotage in &scenario.sabotage {
        host(scenario, &sabotage.on)?;
        label(scenario, sabotage.before.as_ref())?;
        label(scenario, sabotage.after.as_ref())?;
        if sabotage.before.is_some() == sabotage.after.is_some() {
            return Err(format!("sabotage {}: either before or after a step", sabotage.name));
        }
    }
    Ok(())
}

fn host(scenario: &Scenario, name: &str) -> Result<(), String> {
    scenario.host.contains_key(name).then_some(()).ok_or_else(|| format!("no host {name:?}"))
}

/// `HOST:INTERFACE`.
fn port(scenario: &Scenario, text: &str) -> Result<(), String> {
    let (name, interface) = text.split_once(':').ok_or_else(|| format!("{text:?} is not HOST:INTERFACE"))?;
    let host = scenario.host.get(name).ok_or_else(|| format!("no host {name:?}"))?;
    let known = host.interfaces.iter().any(|known| known.name == interface);
    known.then_some(()).ok_or_else(|| format!("host {name} has no interface {interface:?}"))
}

fn label(scenario: &Scenario, label: Option<&String>) -> Result<(), String> {
    match label {
        Some(label) if scenario.step_at(label).is_none() => Err(format!("no step with label {label:?}")),
        _ => Ok(()),
    }
}
