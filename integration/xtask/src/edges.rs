//! Which crate may depend on which (docs/ARCHITECTURE.md), proved from `cargo metadata`.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use crate::shell::{cargo, output, root};

/// Crates that do I/O; every other one is pure.
const DOORS: [&str; 6] =
    ["xfrm/kernel", "gre/kernel", "pppd-bridge/kernel", "pppd-bridge/scripts", "policy/signer", "policy/tls"];

/// What only doors, the service and the commands may use.
const OF_DOORS: [&str; 16] = [
    "tokio",
    "nix",
    "libc",
    "rustix",
    "mio",
    "socket2",
    "zbus",
    "rtnetlink",
    "netlink-sys",
    "netlink-proto",
    "rand",
    "getrandom",
    "reqwest",
    "hyper",
    "tempfile",
    "sd-notify",
];

/// Prints each dependency that the house does not allow.
///
/// # Errors
/// How many there are.
pub(crate) fn check() -> Result<(), String> {
    let text = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).map_err(|e| format!("cargo metadata: {e}"))?;
    let packages = packages(&metadata);
    let folders: BTreeMap<&str, &str> =
        packages.iter().map(|p| (p.name.as_str(), p.folder.as_str())).collect();
    let mut wrong = 0_usize;
    for package in &packages {
        for dependency in &package.dependencies {
            let why = match folders.get(dependency.name.as_str()) {
                Some(on) => ours(&package.folder, on, dependency.of_tests),
                None => foreign(&package.folder, &dependency.name, dependency.of_tests),
            };
            if let Err(why) = why {
                println!("{} ({}) depends on {}: {why}", package.name, package.folder, dependency.name);
                wrong += 1;
            }
        }
    }
    if wrong == 0 {
        println!("edges: {} packages depend on each other as the house allows", packages.len());
        Ok(())
    } else {
        Err(format!("{wrong} dependencies that the house does not allow"))
    }
}

struct Package {
    name: String,
    /// Folder below the root, as `xfrm/ikev2`.
    folder: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    of_tests: bool,
}

fn packages(metadata: &Value) -> Vec<Package> {
    let list =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    list(metadata, "packages")
        .iter()
        .map(|package| {
            let manifest = text(package, "manifest_path");
            let folder = Path::new(&manifest).parent().and_then(|path| path.strip_prefix(root()).ok());
            let dependencies = list(package, "dependencies").into_iter().map(|dependency| Dependency {
                name: text(&dependency, "name"),
                of_tests: text(&dependency, "kind") == "dev",
            });
            Package {
                name: text(package, "name"),
                folder: folder.unwrap_or(Path::new("")).display().to_string(),
                dependencies: dependencies.collect(),
            }
        })
        .collect()
}

/// Whether a crate in `from` may depend on the crate in `on`.
fn ours(from: &str, on: &str, of_tests: bool) -> Result<(), &'static str> {
    let (layer, on_layer) = (layer(from), layer(on));
    if of_tests && on == "integration/sim" {
        return Ok(());
    }
    match (layer, on_layer) {
        ("integration", _) => Ok(()),
        (_, "integration") => {
            Err("only integration/ sees integration/ (a core's tests may see integration/sim)")
        }
        (_, _) if on == "dbus/service" => Err("nobody sees the service, except integration/"),
        (_, "ctl") => Err("nobody sees the command"),
        ("policy", "policy") if from == "policy/core" => Err("policy/core depends on nobody"),
        ("policy", "policy") if is_door(on) && !of_tests => Err("a core never sees a door"),
        (_, "policy") => Ok(()),
        ("policy", _) => Err("policy sees only policy"),
        (_, _) if from == "dbus/service" => Ok(()),
        (_, _) if from == "dbus/api" => Err("dbus/api sees only policy"),
        ("ctl" | "dbus", _) if on == "dbus/api" => Ok(()),
        ("ctl" | "dbus", _) => Err("it sees only dbus/api and policy"),
        (_, _) if layer != on_layer => Err("carriers never see each other, nor dbus"),
        (_, _) if is_door(on) && !of_tests => Err("a core never sees a door"),
        (_, _) if is_door(from) => Err("a door sees only policy: the service joins it to the cores"),
        _ => Ok(()),
    }
}

/// Whether a crate in `from` may depend on the crate `name` of others.
fn foreign(from: &str, name: &str, of_tests: bool) -> Result<(), &'static str> {
    let is_core = ["policy", "xfrm", "gre", "pppd-bridge"].contains(&layer(from)) && !is_door(from);
    if is_core && !of_tests && OF_DOORS.contains(&name) { Err("a pure crate does no I/O") } else { Ok(()) }
}

fn layer(folder: &str) -> &str {
    folder.split('/').next().unwrap_or(folder)
}

fn is_door(folder: &str) -> bool {
    DOORS.contains(&folder)
}

#[cfg(test)]
mod tests {
    use super::{foreign, ours};

    #[test]
    fn what_the_house_allows() {
        for (from, on) in [
            ("policy/plan", "policy/core"),
            ("policy/profile", "policy/pki"),
            ("xfrm/ikev2", "xfrm/isakmp"),
            ("xfrm/ikev2", "policy/core"),
            ("xfrm/kernel", "policy/core"),
            ("dbus/service", "xfrm/kernel"),
            ("dbus/service", "pppd-bridge/l2tp"),
            ("dbus/service", "dbus/api"),
            ("dbus/nm", "dbus/api"),
            ("ctl", "dbus/api"),
            ("integration/lab", "dbus/service"),
        ] {
            assert_eq!(ours(from, on, false), Ok(()), "{from} -> {on}");
        }
        assert_eq!(ours("xfrm/ikev2", "integration/sim", true), Ok(()));
        assert_eq!(foreign("xfrm/kernel", "tokio", false), Ok(()));
        assert_eq!(foreign("xfrm/ikev2", "tempfile", true), Ok(()));
    }

    #[test]
    fn what_it_does_not() {
        for (from, on) in [
            ("policy/core", "policy/plan"),
            ("policy/plan", "xfrm/isakmp"),
            ("xfrm/ikev2", "xfrm/kernel"),
            ("xfrm/kernel", "xfrm/ikev2"),
            ("xfrm/ikev2", "pppd-bridge/ppp"),
            ("gre/pptp", "pppd-bridge/ppp"),
            ("xfrm/kernel", "dbus/api"),
            ("ctl", "dbus/service"),
            ("ctl", "xfrm/kernel"),
            ("dbus/api", "dbus/service"),
            ("dbus/nm", "dbus/service"),
            ("dbus/service", "ctl"),
            ("xfrm/ikev2", "integration/sim"),
        ] {
            assert!(ours(from, on, false).is_err(), "{from} -> {on}");
        }
        assert!(foreign("xfrm/ikev2", "tokio", false).is_err());
    }
}
