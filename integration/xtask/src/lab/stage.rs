//! What a run takes along: our programs, the scenarios, the packaged files; and where its results go.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use adit_lab::scenario::Scenario;

use super::{lab_folder, machine, network_manager};
use crate::package::{self, Pressed};
use crate::shell::{cargo, output, root, run, target};

/// A folder of one run: `bin`, `scenarios`, `packaging`, `results`.
pub(crate) struct Stage {
    pub(crate) folder: PathBuf,
    names: Vec<String>,
    /// Those of them that suspend the machine.
    asleep: Vec<String>,
}

impl Stage {
    /// Builds our programs and lays everything out.
    ///
    /// # Errors
    /// Cargo's exit code, or the file that can't be written.
    pub(crate) fn make(scenarios: &[Scenario], release: bool) -> Result<Self, String> {
        let programs = build(scenarios, release)?;
        let folder = lab_folder().join("runs").join(std::process::id().to_string());
        for part in ["bin", "scenarios", "packaging", "results"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).map_err(|e| format!("{}: {e}", part.display()))?;
        }
        for program in programs {
            copy(&program, &folder.join("bin"))?;
        }
        for (name, package, test) in TESTS {
            if needed(scenarios, name) {
                copy(&built_test(package, test)?, &folder.join("bin").join(name))?;
            }
        }
        if needed(scenarios, "adit-dbus-up") {
            examples(&folder.join("bin"))?;
        }
        for script in ["machine", "in-machine", "as-user", "persons"] {
            copy(&root().join("integration/lab/programs").join(script), &folder.join("bin"))?;
        }
        let packages: Vec<&str> =
            package::names().filter(|name| needed(scenarios, &format!("{name}.deb"))).collect();
        if !packages.is_empty() {
            packed(&folder, release, &packages)?;
        }
        for scenario in scenarios {
            copy(&scenario.folder, &folder.join("scenarios"))?;
            rewritten(&folder.join("scenarios").join(&scenario.name).join("scenario.toml"), scenario)?;
        }
        let packaging = root().join("packaging");
        if packaging.is_dir() {
            copy(&packaging, &folder)?;
        }
        let (asleep, awake): (Vec<&Scenario>, Vec<&Scenario>) = scenarios.iter().partition(|s| s.needs.sleep);
        let names = |of: Vec<&Scenario>| of.iter().map(|scenario| scenario.name.clone()).collect();
        Ok(Self { folder, names: names(awake), asleep: names(asleep) })
    }

    /// The runner's arguments for what leaves the machine awake, with this folder as the runner sees it.
    pub(crate) fn arguments(&self, seen: &Path, options: &[&str]) -> Option<Vec<String>> {
        Self::told(seen, options, &self.names)
    }

    /// The same for what suspends it.
    pub(crate) fn sleeping(&self, seen: &Path, options: &[&str]) -> Option<Vec<String>> {
        Self::told(seen, options, &self.asleep)
    }

    fn told(seen: &Path, options: &[&str], names: &[String]) -> Option<Vec<String>> {
        if names.is_empty() {
            return None;
        }
        let shown = lab_folder().join("results");
        let shown = shown.strip_prefix(root()).unwrap_or(&shown).display().to_string();
        let mut arguments =
            vec!["--stage".to_owned(), seen.display().to_string(), "--shown".to_owned(), shown];
        arguments.extend(options.iter().map(|option| (*option).to_owned()));
        arguments.extend_from_slice(names);
        Some(arguments)
    }

    /// Moves what the run left to `target/lab/results`, with the console, and removes the folder.
    ///
    /// # Errors
    /// The file that can't be moved.
    pub(crate) fn results(&self) -> Result<(), String> {
        let results = lab_folder().join("results");
        fs::create_dir_all(&results).map_err(|e| format!("{}: {e}", results.display()))?;
        let console = results.join("console.log");
        let _ = fs::copy(self.folder.join("console.log"), &console);
        for name in self.names.iter().chain(&self.asleep) {
            let to = results.join(name);
            let _ = fs::remove_dir_all(&to);
            let from = self.folder.join("results").join(name);
            if from.is_dir() {
                fs::rename(&from, &to).map_err(|e| format!("{}: {e}", to.display()))?;
                let _ = fs::copy(&console, to.join("console.log"));
            }
        }
        fs::remove_dir_all(&self.folder).map_err(|e| format!("{}: {e}", self.folder.display()))
    }
}

/// Builds the runner, and those of our programs that a scenario needs; the paths of what was built.
///
/// The development profile is what the tests have built already (dependencies fully optimised, checks on).
fn build(scenarios: &[Scenario], release: bool) -> Result<Vec<PathBuf>, String> {
    let mut packages = vec![("adit-lab", "adit-lab")];
    for (package, binary) in [
        ("adit-service", "aditd"),
        ("ctl", "ctl"),
        ("adit-ppp-scripts", "adit-ppp-scripts"),
        ("adit-names", "adit-names"),
        ("adit-nm", "nm-adit-service"),
        ("adit-nm", "nm-adit-auth-dialog"),
        ("adit-peer", "adit-peer"),
        ("adit-ppp-line", "adit-ppp-line"),
        ("adit-bench", "adit-bench"),
    ] {
        // `ctl` always: its dependencies' features are more than the service's, which would be built for each kind of run.
        if binary == "ctl" || needed(scenarios, binary) {
            packages.push((package, binary));
        }
    }
    let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    packages.retain(|(package, _)| metadata.contains(&format!("\"name\":\"{package}\"")));
    let mut command = cargo();
    command.arg("build").arg("--quiet");
    if release {
        command.arg("--release");
    }
    for (package, binary) in &packages {
        command.args(["-p", package, "--bin", binary]);
    }
    println!("lab: building {}", packages.iter().map(|(_, binary)| *binary).collect::<Vec<_>>().join(", "));
    run(&mut command)?;
    let built = target().join(if release { "release" } else { "debug" });
    Ok(packages.iter().map(|(_, binary)| built.join(binary)).collect())
}

/// Tests that ask the kernel for what this machine's may not have: what a scenario calls them, their package, their target.
const TESTS: [(&str, &str, &str); 1] = [("adit-xfrm-kernel-tests", "adit-xfrm-kernel", "kernel")];

/// A staged scenario as the options have changed it.
fn rewritten(file: &Path, scenario: &Scenario) -> Result<(), String> {
    let at = |e: std::io::Error| format!("{}: {e}", file.display());
    let text = fs::read_to_string(file).map_err(at)?;
    let text = network_manager::written(&text, scenario);
    fs::write(file, machine::written(&text, scenario)).map_err(at)
}

fn needed(scenarios: &[Scenario], binary: &str) -> bool {
    scenarios.iter().any(|scenario| scenario.needs.binaries.iter().any(|needed| needed == binary))
}

/// Packs what was built: `NAME.deb`, for scenarios that need it beside the programs that are in it.
fn packed(stage: &Path, release: bool, names: &[&str]) -> Result<(), String> {
    let built = target().join(if release { "release" } else { "debug" });
    let made = stage.join("packages");
    for package in package::packages(&built, &made, names, Pressed::Soon)? {
        let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.split('_').next().unwrap_or_default().to_owned();
        let to = stage.join("bin").join(format!("{name}.deb"));
        fs::rename(&package, &to).map_err(|e| format!("{}: {e}", to.display()))?;
    }
    fs::remove_dir_all(&made).map_err(|e| format!("{}: {e}", made.display()))
}

/// Builds a target's tests; where the program is that runs them.
fn built_test(package: &str, test: &str) -> Result<PathBuf, String> {
    println!("lab: building the tests of {package}");
    let mut command = cargo();
    command.args(["test", "--quiet", "--no-run", "-p", package, "--test", test, "--message-format=json"]);
    let told = output(&mut command)?;
    let lines = told.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs = lines.filter_map(|line| Some(PathBuf::from(line.get("executable")?.as_str()?)));
    programs.next_back().ok_or_else(|| format!("cargo names no program for the tests of {package}"))
}

/// Builds and lays out the examples of docs/dbus.md: `adit-dbus-up`, `up.py`.
fn examples(bin: &Path) -> Result<(), String> {
    println!("lab: building the example up");
    run(cargo().args(["build", "--quiet", "-p", "adit-dbus-api", "--example", "up"]))?;
    copy(&target().join("debug/examples/up"), &bin.join("adit-dbus-up"))?;
    copy(&root().join("dbus/api/examples/up.py"), bin)
}

fn copy(from: &Path, into: &Path) -> Result<(), String> {
    run(Command::new("cp").args(["-R", "--preserve=mode"]).arg(from).arg(into))
}
